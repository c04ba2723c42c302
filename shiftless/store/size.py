"""The disk space that features of photos take, computed before reading, and refused if the disk lacks it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.image import FORMATS, plan, quiet_pillow
from shiftless.progress import count
from shiftless.recipe import Recipe
from shiftless.store.folder import FeatureFolder
from shiftless.store.transform import NONE
from shiftless.store.writer import StoreWriter
from shiftless.taps.names import Tap, select

_SAMPLE = 64  # photos whose sizes are looked up; the others are taken to be like them
_HEADER = 4096  # bytes of a file's header, about
_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}


@dataclass(frozen=True)
class Size:
    """The disk space that features will take.

    photos  how many             maps   how many of each photo, over all recipes
    each    bytes of a photo     total  bytes of all
    there   bytes of them that are there already
    free    bytes that are free where they go; None where nobody knows, as in a bucket of S3
    taps    for each map its name and the mean number of its bytes

    >>> print(Size(photos=1, maps=1, each=2048, total=2048, there=0, free=None, dtype="fp16"))
    features: 2.05 kB for 1 photo (1 map of each in fp16, 2.05 kB)
    """

    photos: int
    maps: int
    each: int
    total: int
    there: int
    free: int | None
    dtype: str
    taps: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        there = f", {in_bytes(self.there)} of it there already" if self.there else ""
        free = "" if self.free is None else f"; {in_bytes(self.free)} are free"
        return (
            f"features: {in_bytes(self.total)} for {count(self.photos, 'photo')} ({count(self.maps, 'map')} of each in "
            f"{self.dtype}, {in_bytes(self.each)}){there}{free}"
        )

    def check(self, path: object) -> None:
        """Raise BadInput if the disk lacks the space for the features."""
        if self.free is not None and self.total - self.there > self.free:
            raise BadInput(
                f"{path}: {self}; take fewer taps, --pool 2 (a quarter of it), fewer photos, or a larger disk"
            )


def size_of(target: FeatureFolder | StoreWriter, photos: Sequence[Any]) -> Size:
    """Estimate the disk space of the features of photos; nothing is read but the headers of some photos.

    photos  paths, or what says its own size as `hw` and its name as its text, such as a video's frames

    >>> from shiftless.backbones.registry import load
    >>> size = size_of(FeatureFolder("nowhere", load("twin:sd15"), [Recipe()]), [])
    >>> size.total, size.maps
    (0, 1)
    """
    model = target.model
    taps = [(recipe, tap) for recipe in target.recipes for tap in select(recipe.taps, model.taps, model.spec.name)]
    step = max(1, len(photos) // _SAMPLE)
    sides = [hw for hw in map(_hw, photos[::step]) if hw is not None] or [(1, 1)]
    each_map = [sum(_bytes(model, recipe, tap, hw, target) for hw in sides) / len(sides) for recipe, tap in taps]
    headers = _HEADER * len(target.recipes) if isinstance(target, FeatureFolder) else 0
    each = round(sum(each_map) + headers)
    place = target.path if isinstance(target, FeatureFolder) else target.place.path
    return Size(
        len(photos),
        len(taps),
        each,
        each * len(photos),
        target.bytes_there(set(map(str, photos))),
        None if place is None else free_at(place),
        _how(target),
        tuple((_title(recipe, tap, target.recipes), size) for (recipe, tap), size in zip(taps, each_map)),
    )


def free_at(path: Path) -> int:
    """Return how many bytes are free on the disk where a path lies or will lie."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def in_bytes(count: float) -> str:
    """Write a number of bytes in a readable unit.

    >>> [in_bytes(n) for n in (0, 999, 11_300_000, 1.13e12)]
    ['0 B', '999 B', '11.3 MB', '1.13 TB']
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def map_shape(model: Backbone, recipe: Recipe, tap: Tap, hw: tuple[int, int]) -> tuple[int, int, int]:
    """Return the shape C H W of one map of a photo of (h, w) pixels, from what is known before reading.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:sd15")
    >>> map_shape(model, Recipe(size=128), select(["up1"], model.taps)[0], (96, 128))
    (64, 8, 8)
    """
    fed = plan(hw, recipe.size or model.spec.size, model.spec.multiple, recipe.fit).fed
    grid = fed[0] // tap.stride, fed[1] // tap.stride
    channels = tap.channels
    if not channels:  # an attention map: a channel for each token of the prompt, or for each cell it looks at
        words = model.encode_prompt([recipe.prompt]).words
        tokens = len(words[0]) if words else 0
        channels = tokens if tap.over_words else grid[0] * grid[1]
        if tap.kind == "heads":
            channels *= int(model.denoiser.get_submodule(tap.module).heads)  # type: ignore[attr-defined]
    return channels, *grid


def _bytes(model: Backbone, recipe: Recipe, tap: Tap, hw: tuple[int, int], target: FeatureFolder | StoreWriter) -> int:
    """How many bytes one saved map of a photo of (h, w) pixels takes."""
    channels, rows, columns = map_shape(model, recipe, tap, hw)
    each = channels * _BYTES[target.dtype]
    if isinstance(target, StoreWriter):
        each = target.compression.width(channels) * (1 if target.compression.in_bytes else _BYTES[target.dtype])
    return each * -(-rows // target.pool) * -(-columns // target.pool)


def _how(target: FeatureFolder | StoreWriter) -> str:
    """What maps are saved in."""
    if isinstance(target, FeatureFolder) or target.compress == NONE:
        return target.dtype
    return target.compress if target.compression.in_bytes else f"{target.compress} in {target.dtype}"


def _hw(photo: Any) -> tuple[int, int] | None:
    """A photo's sides, from its header; None if it is no photo, which reading reports."""
    if (known := getattr(photo, "hw", None)) is not None:
        return int(known[0]), int(known[1])
    try:
        quiet_pillow()
        with Image.open(photo, formats=FORMATS) as image:
            return image.height, image.width
    except Exception:
        return None


def _title(recipe: Recipe, tap: Tap, recipes: Sequence[Recipe]) -> str:
    return tap.name if len(recipes) == 1 else f"{recipe.label or recipe.key()}: {tap.name}"
