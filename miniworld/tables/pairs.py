"""bench mini-pairs: matching on the embedded world, with exact ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import run_pairs
from shiftless.bench.table import Table
from shiftless.data.photopair import PhotoPair
from shiftless.image import open_photo
from shiftless.recipe import Recipe

QUICK = 60


def mini_pairs(split: str = "test", n: int | None = None, look: str = "photo") -> list[PhotoPair]:
    """Draw the world's fixed pairs of a split: the first n (kinds alternate), or all 360 of "test" if n is None.

    Raises BadInput for an unknown split or look.

    >>> mini_pairs("val", 2)
    [PhotoPair(val-000: val-000-a -> val-000-b, ... points, horse), PhotoPair(val-001: ... points, cow)]
    """
    from miniworld import datasets

    return photo_pairs(datasets.pairs(split, n, look), split)


def photo_pairs(drawn: Sequence[Any], split: str) -> list[PhotoPair]:
    """Turn the world's pairs of a split, in their order, into annotated pairs of photos with names of their own.

    >>> from miniworld import datasets
    >>> photo_pairs(datasets.pairs("val", 1), "val")[0].source.name
    'val-000-a'
    """
    return [_photo_pair(pair, f"{split}-{i:03d}") for i, pair in enumerate(drawn)]


def run(
    model: Backbone,
    recipe: Recipe | None = None,
    *,
    split: str = "test",
    quick: bool = False,
    n: int | None = None,
    look: str = "photo",
    alpha: float = 0.1,
    refine: str = "upsample",
    controls: bool = True,
    batch: int | None = None,
    progress: bool = True,
    flip: bool = True,
    facing: bool = True,
) -> Table:
    """Score a model on the world's pairs, beside the trivial baseline and the same network untrained.

    recipe  how to read; None is Recipe(): the defaults
    quick   60 pairs in place of all 360
    n       so many pairs, in place of either
    look    "photo", or a look that the embedded denoiser was not trained on
    refine  how matches are refined, as in `shiftless.match`
    flip    add a row that may match the mirrored source, which half of the pairs need
    facing  add rows of the pairs that face the same way, and opposite ways

    Raises BadInput for an unknown split, look or tap.
    """
    from miniworld import datasets

    drawn = datasets.pairs(split, n if n is not None else QUICK if quick else None, look)
    pairs = photo_pairs(drawn, split)
    name = "mini-pairs" + ("" if split == "test" else f" {split}") + ("" if look == "photo" else f" {look}")
    options: dict[str, Any] = {"alpha": alpha, "refine": refine, "controls": controls, "flip": flip}
    options["groups"] = by_facing(drawn) if facing else None
    return run_pairs(name, model, pairs, recipe or Recipe(), batch=batch, progress=progress, **options)


def by_facing(drawn: Sequence[Any]) -> dict[str, list[int]]:
    """Return which of the world's pairs face the same way, and which opposite ways.

    >>> from miniworld import datasets
    >>> by_facing(datasets.pairs("val", 4))
    {'facing the same way': [1, 3], 'facing opposite ways': [0, 2]}
    """
    same = [pair.source.facing == pair.target.facing for pair in drawn]
    groups = {"facing the same way": True, "facing opposite ways": False}
    return {name: rows for name, way in groups.items() if (rows := [i for i, one in enumerate(same) if one == way])}


def _photo_pair(pair: Any, name: str) -> PhotoPair:
    source, target = (
        open_photo(p.image, name=f"{name}-{side}") for p, side in ((pair.source, "a"), (pair.target, "b"))
    )
    points = (pair.source_points.astype(float), pair.target_points.astype(float))
    return PhotoPair(source, target, *points, source.hw, target.hw, pair.target.box, pair.source.kind, name)
