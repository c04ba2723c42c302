"""bench pairs --data DIR: matching on a user's own annotated pairs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import run_pairs
from shiftless.bench.table import Table
from shiftless.data.pairs import read_pairs
from shiftless.data.photopair import spread
from shiftless.recipe import Recipe


def run(
    model: Backbone,
    data: str | os.PathLike[str],
    recipe: Recipe | None = None,
    *,
    n: int | None = None,
    alpha: float = 0.1,
    refine: str = "upsample",
    controls: bool = True,
    batch: int | None = None,
    progress: bool = True,
    flip: bool = False,
) -> Table:
    """Score a model on a folder of annotated pairs (layout in docs/pairs.md), beside both controls.

    n     how many pairs, divided among the categories; None is all
    flip  add a row that may match the mirrored source, as in `run_pairs`

    Raises BadInput naming the file and entry that cannot be used.
    """
    pairs = spread(read_pairs(data), n)
    options: dict[str, Any] = {"alpha": alpha, "refine": refine, "controls": controls, "flip": flip}
    return run_pairs(
        f"pairs {Path(data).resolve().name}",
        model,
        pairs,
        recipe or Recipe(),
        batch=batch,
        progress=progress,
        **options,
    )
