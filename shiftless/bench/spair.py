"""bench spair --data DIR: matching on SPair-71k in its published layout."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import by_category, run_pairs
from shiftless.bench.published import published_rows
from shiftless.bench.table import Table
from shiftless.data.photopair import spread
from shiftless.data.spair import read_spair
from shiftless.presets import preset
from shiftless.recipe import Recipe

FINER = (0.05,)
"""Thresholds beside the usual one."""


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
    batch: int | None = None,
    progress: bool = True,
    flip: bool = False,
) -> Table:
    """Score a model on SPair-71k, beside the trivial baseline and the same network untrained.

    split         "trn", "val" or "test"
    category      only this one
    per_category  how many pairs of each, evenly spaced; 20 of "val" are 360, as many as the papers validate on
    n             how many pairs in all, divided among the categories
    flip          add rows that may match the mirrored source, as in `run_pairs`; the published evaluation of that
                  (GeoAware-SC) also swaps the annotated points that mirroring makes each other's counterpart

    Raises BadInput naming the missing or malformed file.
    """
    chosen = recipe or Recipe()
    pairs = spread(read_spair(data, split, category=category, per_category=per_category), n)
    options: dict[str, Any] = {"alpha": alpha, "refine": refine, "controls": controls, "finer": FINER}
    options |= {"groups": by_category(pairs), "flip": flip}
    table = run_pairs(f"spair {split}", model, pairs, chosen, batch=batch, progress=progress, **options)
    rows = published(chosen)
    notes = [
        f"published for {row['preset']}: {row['metric']} {row['value']:.3f} ({row['source']}; measured by others "
        "on the test split, not here)"
        for row in rows
    ]
    return replace(table, notes=[*table.notes, *notes], about={**table.about, "published": rows})


def published(recipe: Recipe) -> list[dict[str, Any]]:
    """Return what was published for a preset that was not changed: its metric, its value and its source.

    >>> from shiftless.presets import preset
    >>> [row["value"] for row in published(preset("dift-spair").recipes[0])], published(Recipe())
    ([0.529, 0.596], [])
    """
    return [row for row in published_rows("published.json") if preset(row["preset"]).recipes == (recipe,)]
