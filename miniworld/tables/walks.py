"""bench mini-walks: what a ControlNet gains over several denoising steps, and how fewer steps trade scores for time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from miniworld.tables.pairs import mini_pairs
from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import evaluate, pair_calls, reader
from shiftless.bench.table import Row, Table, machine
from shiftless.data.photopair import PhotoPair
from shiftless.progress import count, reporting
from shiftless.reading import extract
from shiftless.reading.counted import Counted, calls
from shiftless.recipe import Recipe

BASELINE = "baseline: not steered"
ABOVE = (10, 40)
STEPS = (1, 2, 5, None)
TIMED, RUNS = 16, 3


def ways(recipe: Recipe, above: Sequence[int] = ABOVE, steps: Sequence[int | None] = STEPS) -> dict[str, Recipe]:
    """Return the baseline, the ControlNet read at once, and walks from `above` timesteps higher in so many steps.

    >>> list(ways(Recipe(timestep=50), above=(10,), steps=(1, None)))[2:]
    ['from t + 10 in 1 step', 'from t + 10 in 10 steps']
    """
    steered = recipe.but(control=recipe.control or "canny", start=None, steps=None)
    recipes = {BASELINE: recipe.but(control=(), start=None, steps=None), "read at once": steered}
    for more in above:
        for n in steps:
            if n is not None and n >= more:
                continue
            name = f"from t + {more} in {n or more} step{'s' if n != 1 else ''}"
            recipes[name] = steered.but(start=recipe.timestep + more, steps=n)
    return recipes


def run(
    model: Backbone,
    recipe: Recipe,
    *,
    n: int = 60,
    split: str = "val",
    look: str = "photo",
    batch: int | None = None,
    progress: bool = True,
) -> Table:
    """Score each way on n pairs of the embedded world, with its paired gain and its time a photo."""
    pairs = mini_pairs(split, n, look)
    recipes = ways(recipe)
    choices: dict[str, Any] = {name: (k, None) for k, name in enumerate(recipes)}
    every = list(recipes.values())
    timed = RUNS * min(TIMED, len(pairs)) * sum(calls([one]) for one in every)
    doing = f"mini-walks: {count(len(pairs), 'pair')} by {count(len(every), 'recipe')}, timed apart"
    with reporting(progress, doing, pair_calls(pairs, every) + timed, "denoiser call") as report:
        results = evaluate(pairs, reader(model, every, batch, report), choices)
        spent = seconds(Counted(model, report), pairs, recipes, batch)
    rows = []
    for name, scores in results.items():
        share = scores.bbox.sum() / scores.totals.sum()
        rows.append(Row(name, "PCK@0.1 bbox", float(share), scores.interval()))
        if name != BASELINE:
            gain = scores.gain(results[BASELINE])
            rows.append(Row(name, "gain, paired", gain.value, (gain.low, gain.high)))
    notes = [f"{n} pairs of {split}, {look}; t = {recipe.timestep}; {results[BASELINE].resampling()}"]
    ratios = ", ".join(f"{name} {spent[name] / spent[BASELINE]:.1f}" for name in recipes if name != BASELINE)
    notes.append(f"time against the baseline's {1000 * spent[BASELINE]:.1f} ms a photo, least of three runs: {ratios}")
    return Table("mini-walks", model.spec.name, rows, machine(), notes)


def seconds(
    model: Backbone, pairs: Sequence[PhotoPair], recipes: Mapping[str, Recipe], batch: int | None
) -> dict[str, float]:
    """Time each recipe on a few photos: seconds a photo, the least of three runs."""
    photos = [pair.source for pair in pairs[:TIMED]]
    spent = {}
    for name, recipe in recipes.items():
        runs = []
        for _ in range(RUNS):
            began = time.perf_counter()
            extract(model, photos, recipe, batch=batch)
            runs.append((time.perf_counter() - began) / len(photos))
        spent[name] = min(runs)
    return spent
