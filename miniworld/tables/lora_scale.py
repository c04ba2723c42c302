"""bench mini-lora-scale: scores of the embedded LoRAs by strength; `LORA_SCALE` was picked by it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from miniworld.tables.correspondence import LOOKS
from miniworld.tables.methods import CONVOLUTIONAL, LORA_SCALE, readings_of
from miniworld.tables.pairs import mini_pairs
from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import Choice, Scores, evaluate, pair_calls, reader
from shiftless.bench.table import Row, Table, machine
from shiftless.metrics.pck import pooled
from shiftless.progress import count, reporting
from shiftless.recipe import Recipe

SCALES = (0.2, 0.4, 0.6, 0.8, 1.0)
PAIRS = 180
"""Validation pairs of each look: all there are."""


def run(
    model: Backbone,
    *,
    looks: Sequence[str] = LOOKS,
    scales: Sequence[float] = SCALES,
    n: int = PAIRS,
    batch: int | None = None,
    progress: bool = True,
) -> Table:
    """Score each look's first LoRA at each strength on n validation pairs of that look, and pick one for all looks.

    Raises BadInput for a LoRA that the model does not have.
    """
    began = time.perf_counter()
    rows: list[Row] = []
    each: dict[float, list[Scores]] = {scale: [] for scale in scales}
    for look in looks:
        pairs = mini_pairs("val", n, look)
        recipes: list[Recipe] = [readings_of(look)["lora0"].but(lora_scale=scale) for scale in scales]
        choices: dict[str, Choice] = {f"{scale:g}": (k, CONVOLUTIONAL) for k, scale in enumerate(scales)}
        doing = f"mini-lora-scale: {count(len(pairs), 'pair')} of {look} by {count(len(recipes), 'strength')}"
        with reporting(progress, doing, pair_calls(pairs, recipes), "denoiser call") as report:
            by_scale = evaluate(pairs, reader(model, recipes, batch, report), choices)
        for scale in scales:
            scores = by_scale[f"{scale:g}"]
            each[scale].append(scores)
            value = pooled(scores.bbox, scores.totals)
            rows.append(Row(f"LoRA x{scale:g}", f"PCK@0.1 bbox, {look}", value, scores.interval()))
    all_looks = {scale: _together(scores) for scale, scores in each.items()}
    picked = most_hits({scale: float(scores.bbox.sum()) for scale, scores in all_looks.items()})
    alike = [scale for scale, scores in all_looks.items() if not all_looks[picked].gain(scores).clear]
    notes = [
        f"{n} validation pairs of each look; {all_looks[picked].resampling()}",
        f"most points found in all looks together: at {picked:g}; not clearly fewer (paired, over pairs): at "
        f"{', '.join(f'{scale:g}' for scale in alike)}; the tables read LoRAs at {LORA_SCALE:g}",
        f"{time.perf_counter() - began:.0f} s",
    ]
    return Table("mini-lora-scale", model.spec.name, rows, machine(), notes)


def _together(scores: Sequence[Scores]) -> Scores:
    """The same pairs in several looks as one observation a pair: their points together."""
    img, bbox, totals = (np.sum([getattr(one, name) for one in scores], axis=0) for name in ("img", "bbox", "totals"))
    return Scores(img, bbox, totals, scores[0].alpha)


def most_hits(hits: Mapping[float, float]) -> float:
    """Return the strength at which most points are found; of equals, the smallest, which changes the model least.

    >>> most_hits({0.2: 90, 0.4: 95, 0.6: 95})
    0.4
    """
    return max(sorted(hits), key=lambda scale: hits[scale])
