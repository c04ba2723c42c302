"""Observation: what an audit computes for one photo, and the loop that yields one for each photo."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from shiftless.auditing.measures import FINISHED, of_features, of_latents, of_pictures, pixels
from shiftless.backbones.base import Backbone
from shiftless.backbones.fixed_batch import FixedBatch
from shiftless.errors import BadInput
from shiftless.image import to_pixels
from shiftless.metrics import content_shift
from shiftless.reading.counted import Counted
from shiftless.reading.predicted import Prediction, predictions
from shiftless.reading.words import Fill, check_predicts
from shiftless.recipe import Recipe

if TYPE_CHECKING:
    from shiftless.backbones.perceptual import PerceptualModel

CLEANEST = 20
"""The timestep of the nearly clean reading that features are compared with; without noise they carry no meaning."""
DRAWS = 2
FINISH = 8
_BLUR = 1.5  # smoothing of the map that is shown, in percent of the longer side


@dataclass(frozen=True, eq=False)
class Observation:
    """The pictures, maps and scores of one photo for K recipes.

    name      the photo's name
    given     H W 3 uint8, the photo as the model is fed it (by the first recipe)
    kept      H W 3 uint8, the autoencoder's own reconstruction: what the others are compared with
    once      K, H W 3 uint8, the predicted clean image where features are read (x0 prediction of one step)
    finished  K, H W 3 uint8, the image after denoising from there to the end; empty if `finish` is 0
    where     K, H W float32, where content shifted: CIEDE2000 between `once` and `kept`, smoothed
    scores    measure -> K float64, 0 where nothing shifted
    floor     picture measure -> what the autoencoder alone does to the photo
    """

    name: str
    given: np.ndarray
    kept: np.ndarray
    once: list[np.ndarray]
    finished: list[np.ndarray]
    where: list[np.ndarray]
    scores: dict[str, np.ndarray]
    floor: dict[str, float]


def observe(
    model: Backbone,
    images: Iterable[Any],
    recipes: Sequence[Recipe],
    *,
    fill: Fill | None = None,
    draws: int = DRAWS,
    finish: int = FINISH,
    cleanest: int = CLEANEST,
    perceptual: PerceptualModel | None = None,
    batch: int | None = None,
    skipped: list[str] | None = None,
    report: Callable[[int], object] | None = None,
) -> Iterator[Observation]:
    """Yield for each photo the clean images predicted by the recipes, and how far they have shifted.

    draws     how many noise draws each recipe is read with, from its own seed on; "spread" and "seeds" compare them
    finish    in how many steps to denoise to the end; 0 leaves it out
    cleanest  the timestep of the nearly clean reading, steered alike, that features are compared with
    perceptual  another vision model for the measure of that name (`shiftless.backbones.perceptual`)
    batch     how many photos are held at once; the numbers do not depend on it
    report    called with the number of noisy latents of each denoiser call, to say how far the work is

    Predictions are compared with the autoencoder's own reconstruction, so that its errors are not counted as shift.
    Raises BadInput for arguments out of range, and as `shiftless.stream` does.

    >>> from shiftless.backbones.registry import load
    >>> picture = np.zeros((64, 64, 3), np.uint8)
    >>> observation = next(observe(load("twin:sd15"), [picture], [Recipe(timestep=300)], finish=2))
    >>> observation.once[0].shape, sorted(observation.scores)[:3]
    ((128, 128, 3), ['colour', 'colour, finished', 'edges'])
    """
    _check(model, draws, finish, cleanest)
    fixed = cast(Backbone, FixedBatch(model) if report is None else Counted(cast(Backbone, FixedBatch(model)), report))
    k = len(recipes)
    clean = [_nearly_clean(recipe, cleanest) for recipe in recipes]
    plan, steps = planned(recipes, draws, finish, cleanest)
    anchors = plan[k * draws :]
    options: dict[str, Any] = {"fill": fill, "batch": batch, "skipped": skipped}
    for readings in predictions(fixed, images, plan, finish=steps, maps=True, **options):
        firsts, others, nearly = readings[:k], readings[k : k * draws], readings[k * draws :]
        by_draw = [others[i::k] for i in range(k)]
        yield _observation(fixed, firsts, by_draw, [nearly[anchors.index(one)] for one in clean], perceptual)


def planned(
    recipes: Sequence[Recipe], draws: int = DRAWS, finish: int = FINISH, cleanest: int = CLEANEST
) -> tuple[list[Recipe], list[int]]:
    """Return every reading that an audit takes of a photo, and in how many steps each is denoised to the end.

    First the recipes, then the recipes with further noise draws, then their nearly clean readings without repeats.

    >>> plan, steps = planned([Recipe(timestep=300)], draws=2, finish=8, cleanest=20)
    >>> [(one.timestep, one.seed) for one in plan], steps
    ([(300, 0), (300, 1), (20, 0)], [8, 0, 0])
    """
    again = [recipe.but(seed=recipe.seed + draw) for draw in range(1, draws) for recipe in recipes]
    plan = [*recipes, *again, *dict.fromkeys(_nearly_clean(recipe, cleanest) for recipe in recipes)]
    return plan, [finish] * len(recipes) + [0] * (len(plan) - len(recipes))


def _nearly_clean(recipe: Recipe, cleanest: int) -> Recipe:
    return recipe.but(timestep=cleanest, start=None, steps=None, noise="draw", label="")


def _observation(
    model: Backbone,
    firsts: list[Prediction],
    others: list[list[Prediction]],
    anchors: list[Prediction],
    perceptual: PerceptualModel | None,
) -> Observation:
    kept, once, finished = (
        _decoded(model, latents)
        for latents in (
            [prediction.clean for prediction in firsts],
            [prediction.once for prediction in firsts],
            [prediction.finished for prediction in firsts if prediction.finished is not None],
        )
    )
    rows, where = [], []
    given = pixels(to_pixels(firsts[0].photo, firsts[0].frame)[0])
    blur = _BLUR / 100 * max(given.shape[:2])
    for i, prediction in enumerate(firsts):
        compared = of_pictures(kept[i], once[i], perceptual)
        where.append(content_shift.smoothed(compared["colour"].where, blur))
        if finished:
            ends = of_pictures(kept[i], finished[i], perceptual)
            compared |= {name + FINISHED: shift for name, shift in ends.items()}
        row = {name: shift.value for name, shift in compared.items()}
        rows.append(row | of_latents(prediction, others[i]) | of_features(prediction, anchors[i], others[i]))
    return Observation(
        firsts[0].photo.name,
        _uint8(given),
        _uint8(kept[0]),
        [_uint8(picture) for picture in once],
        [_uint8(picture) for picture in finished],
        where,
        {name: np.array([row[name] for row in rows]) for name in rows[0]},
        {name: shift.value for name, shift in of_pictures(given, kept[0], perceptual).items()},
    )


def _decoded(model: Backbone, latents: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """Decode latents 1 c h w, equal ones once, those of one size in one call."""
    different: list[torch.Tensor] = []
    place = []
    for latent in latents:
        same = (i for i, one in enumerate(different) if one.shape == latent.shape and torch.equal(one, latent))
        place.append(next(same, len(different)))
        if place[-1] == len(different):
            different.append(latent)
    pictures: dict[int, np.ndarray] = {}
    for shape in {latent.shape for latent in different}:
        rows = [i for i, latent in enumerate(different) if latent.shape == shape]
        decoded = model.decode(torch.cat([different[i] for i in rows]))
        pictures |= {i: pixels(picture) for i, picture in zip(rows, decoded)}
    return [pictures[i] for i in place]


def _uint8(picture: np.ndarray) -> np.ndarray:
    return (picture * 255).round().astype(np.uint8)


def _check(model: Backbone, draws: int, finish: int, cleanest: int) -> None:
    check_predicts(model)
    if draws < 1:
        raise BadInput(f"draws={draws}: give at least one noise draw; two show what the noise made up")
    if finish < 0:
        raise BadInput(f"finish={finish}: give a number of steps, or 0 to leave the full denoising out")
    if not 0 <= cleanest < len(model.schedule):
        raise BadInput(f"cleanest={cleanest}: give a timestep from 0 to {len(model.schedule) - 1}")
