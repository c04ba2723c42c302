"""bench mini-shift: content shift of each technique, before anything is matched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from miniworld.tables.correspondence import LOOKS
from miniworld.tables.methods import readings_of
from shiftless.backbones.base import Backbone
from shiftless.bench.table import Row, Table, machine
from shiftless.metrics.bootstrap import interval, saving
from shiftless.metrics.content_shift import latent
from shiftless.progress import count, reporting
from shiftless.reading.available import available
from shiftless.reading.counted import Counted, calls
from shiftless.reading.predicted import predict_latents
from shiftless.recipe import Recipe

NAMES = {
    "base0": "baseline",
    "fine0": "+ fine prompts",
    "control0": "+ ControlNet",
    "lora0": "+ LoRA",
    "image0": "+ image prompt",
    "all0": "all techniques in one reading",
}
TIMESTEPS = (100, 300, 500)


def run(
    model: Backbone,
    *,
    n: int = 96,
    looks: Sequence[str] = LOOKS,
    timesteps: Sequence[int] = TIMESTEPS,
    batch: int | None = None,
    progress: bool = True,
) -> Table:
    """Measure content shift on n unseen pictures of each look: each technique's, and what it saves, paired.

    The measure is the squared error of the clean latent that the model predicts where features are read, over
    the box of the thing shown, as a share of the latent's variance there. Techniques that are not at hand are left out.
    """
    from miniworld.datasets import photos, seeds

    rows: list[Row] = []
    recipes = {(look, t): at(available(model, readings_of(look)), t) for look in looks for t in timesteps}
    total = n * sum(calls(some.values()) for some in recipes.values())
    doing = f"measuring content shift on {n} pictures of {count(len(looks), 'look')}"
    with reporting(progress, doing, total, "denoiser call") as report:
        counted = Counted(model, report)
        for look in looks:
            pictures = list(photos(seeds("shift", n).start, n, look))
            for t in timesteps:
                rows += _rows(counted, pictures, recipes[look, t], look, t, batch)
    notes = [
        f"{n} unseen pictures a look; saved: share of the baseline's shift; 95% bootstrap intervals over pictures, the "
        "two sums of a saving taken from the same resampled pictures"
    ]
    return Table("mini-shift", model.spec.name, rows, machine(), notes)


def _rows(
    model: Any, pictures: Sequence[Any], recipes: dict[str, Recipe], look: str, t: int, batch: int | None
) -> list[Row]:
    """The table's rows of one look at one timestep."""
    rows: list[Row] = []
    clean, predicted = predict_latents(model, [p.image for p in pictures], list(recipes.values()), batch=batch)
    errors = {
        key: np.array([shift(c, f[k], p.box) for c, f, p in zip(clean, predicted, pictures)])
        for k, key in enumerate(recipes)
    }
    for key, values in errors.items():
        name = f"{NAMES[key]}, {look}"
        rows.append(Row(name, f"shift, t = {t}", float(values.mean()), interval(values)))
        if key != "base0":
            saved = saving(errors["base0"], values)
            rows.append(Row(name, f"saved, t = {t}", saved.value, (saved.low, saved.high)))
    return rows


def at(recipes: dict[str, Recipe], timestep: int) -> dict[str, Recipe]:
    """Return the table's readings at another timestep, with walks of the same length."""
    return {key: recipes[key].at(timestep) for key in NAMES if key in recipes}


def shift(clean: torch.Tensor, predicted: torch.Tensor, box: Sequence[float], size: int = 128) -> float:
    """Return the squared error of a predicted latent 1 c h w inside a box (x0, y0, x1, y1) in pixels, in variances.

    >>> one = torch.arange(64.0).view(1, 1, 8, 8)
    >>> shift(one, one, (0, 0, 128, 128)), round(shift(one, torch.full_like(one, 31.5), (0, 0, 128, 128)), 2)
    (0.0, 1.0)
    """
    h, w = clean.shape[-2:]
    x0, y0, x1, y1 = (round(v * side / size) for v, side in zip(box, (w, h, w, h)))
    part = (..., slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1)))
    return latent(clean[part], predicted[part]).value
