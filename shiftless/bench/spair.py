"""bench spair --data DIR: matching on SPair-71k in its published layout."""

from __future__ import annotations

import os
from typing import Any

from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import run_pairs
from shiftless.bench.table import Table
from shiftless.data.photopair import spread
from shiftless.data.spair import read_spair
from shiftless.recipe import Recipe


def run(
    model: Backbone,
    data: str | os.PathLike[str],
    recipe: Recipe | None = None,
    *,
    split: str = "test",
    category: str | None = None,
    per_category: int | None = None,
    n: int | None = None,
    alpha: float = 0.1,
    refine: str = "upsample",
    controls: bool = True,
    batch: int = 4,
    progress: bool = True,
) -> Table:
    """Score a model on SPair-71k, beside the trivial baseline and the same network untrained.

    split         "trn", "val" or "test"
    category      only this one
    per_category  so many pairs of each, evenly spaced; 20 of "val" are 360, as many as the papers validate on
    n             so many pairs in all, shared out over the categories

    Raises BadInput naming the missing or malformed file.
    """
    pairs = spread(read_spair(data, split, category=category, per_category=per_category), n)
    options: dict[str, Any] = {"alpha": alpha, "refine": refine, "controls": controls}
    return run_pairs(f"spair {split}", model, pairs, recipe or Recipe(), batch=batch, progress=progress, **options)
