"""The memory that kept features of pairs take, computed before reading, and refused if the machine lacks it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from shiftless.backbones.base import Backbone
from shiftless.backbones.batch import memory_of
from shiftless.data.photopair import PhotoPair, photo_key
from shiftless.errors import BadInput
from shiftless.recipe import Recipe
from shiftless.store.size import in_bytes, map_shape
from shiftless.taps.names import select

_BYTES = 2  # of a number: PairFeatures keeps bfloat16


@dataclass(frozen=True)
class Memory:
    """The memory that the features of pairs will take while a head trains.

    photos  how many         side   cells along the longer side of the largest kept map
    total   bytes of all     there  bytes that the machine has, free or not; None where the system does not tell
    """

    photos: int
    side: int
    total: int
    there: int | None

    def __str__(self) -> str:
        each = in_bytes(self.total / max(1, self.photos))
        there = "" if self.there is None else f"; this machine has {in_bytes(self.there)}"
        return f"features kept in memory: {in_bytes(self.total)} for {self.photos:,} photos ({each} each){there}"

    def check(self) -> None:
        """Raise BadInput if the machine lacks the memory for the features."""
        if self.there is not None and self.total > self.there:
            fewer = f"--side {self.side // 2} (a quarter of it), " if self.side > 1 else ""
            raise BadInput(f"{self}; give {fewer}fewer pairs with --pairs and --val-pairs, or fewer readings")


def memory_of_kept(
    model: Backbone, pairs: Sequence[PhotoPair], recipes: Sequence[Recipe], *, side: int | None = None
) -> Memory:
    """Return the memory that PairFeatures of pairs will take; no photo is opened.

    recipes  of all readings, those that are joined too
    side     cells along the longer side of what is kept; None is the finest tap's own

    >>> from shiftless.backbones.registry import load
    >>> from shiftless.bench.heads import annotated_pairs
    >>> pairs = annotated_pairs("mini", "train", 1).pairs
    >>> str(memory_of_kept(load("twin:sd15"), pairs, [Recipe(size=128)])).partition(";")[0]
    'features kept in memory: 16.4 kB for 2 photos (8.19 kB each)'
    """
    by_category = any("{category}" in recipe.prompt for recipe in recipes)
    sizes: dict[tuple[str, str], tuple[int, int]] = {}
    for pair in pairs:
        kind = pair.category if by_category else ""
        sizes[kind, photo_key(pair.source)] = pair.source_size
        sizes[kind, photo_key(pair.target)] = pair.target_size
    taps = [select(recipe.taps, model.taps, model.spec.name) for recipe in recipes]
    kept = {}
    for hw in set(sizes.values()):
        shapes = [[map_shape(model, recipe, tap, hw) for tap in chosen] for recipe, chosen in zip(recipes, taps)]
        _, rows, columns = max(shapes[0], key=lambda chw: chw[1] * chw[2])  # all are brought to the first's finest grid
        if side is not None:
            rows, columns = (max(1, round(n * side / max(rows, columns))) for n in (rows, columns))
        kept[hw] = (sum(chw[0] for one in shapes for chw in one) * rows * columns * _BYTES, max(rows, columns))
    total = sum(kept[hw][0] for hw in sizes.values())
    there = memory_of(torch.device("cpu")) if hasattr(os, "sysconf") else None
    return Memory(len(sizes), max((longer for _, longer in kept.values()), default=1), total, there)
