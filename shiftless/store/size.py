"""The disk space that features of photos take, computed before reading, and refused if the disk lacks it."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.image import FORMATS, plan
from shiftless.recipe import Recipe
from shiftless.store.folder import FeatureFolder
from shiftless.taps.names import Tap, select

_SAMPLE = 64  # photos whose sizes are looked up; the others are taken to be like them
_HEADER = 4096  # bytes of a file's header, about
_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}


@dataclass(frozen=True)
class Size:
    """The disk space that a folder of features will take.

    photos  how many             maps   how many of each photo, over all recipes
    each    bytes of a photo     total  bytes of all
    there   bytes of them that are there already
    free    bytes that are free where they go
    """

    photos: int
    maps: int
    each: int
    total: int
    there: int
    free: int
    dtype: str

    def __str__(self) -> str:
        there = f", {in_bytes(self.there)} of it there already" if self.there else ""
        return (
            f"features: {in_bytes(self.total)} for {self.photos:,} photos ({self.maps} maps of each in {self.dtype}, "
            f"{in_bytes(self.each)}){there}; {in_bytes(self.free)} are free"
        )

    def check(self, path: Path) -> None:
        """Raise BadInput if the disk lacks the space for the features."""
        if self.total - self.there > self.free:
            raise BadInput(
                f"{path}: {self}; take fewer taps, --pool 2 (a quarter of it), fewer photos, or a larger disk"
            )


def size_of(folder: FeatureFolder, photos: Sequence[Path]) -> Size:
    """Estimate the disk space of the features of photos in a folder; nothing is read but the headers of some photos.

    >>> from shiftless.backbones.registry import load
    >>> size = size_of(FeatureFolder("nowhere", load("twin:sd15"), [Recipe()]), [])
    >>> size.total, size.maps
    (0, 1)
    """
    model = folder.model
    taps = [select(recipe.taps, model.taps, model.spec.name) for recipe in folder.recipes]
    step = max(1, len(photos) // _SAMPLE)
    sides = [hw for hw in map(_hw, photos[::step]) if hw is not None] or [(1, 1)]
    bytes_each = [
        sum(
            _HEADER + sum(_cells(model, recipe, tap, hw, folder.pool) for tap in chosen) * _BYTES[folder.dtype]
            for recipe, chosen in zip(folder.recipes, taps)
        )
        for hw in sides
    ]
    each = round(sum(bytes_each) / len(bytes_each))
    place = folder.path.absolute()
    while not place.exists():
        place = place.parent
    return Size(
        len(photos),
        sum(map(len, taps)),
        each,
        each * len(photos),
        _there(folder, photos),
        shutil.disk_usage(place).free,
        folder.dtype,
    )


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


def _cells(model: Backbone, recipe: Recipe, tap: Tap, hw: tuple[int, int], pool: int) -> int:
    """How many numbers one saved map of a photo of (h, w) pixels holds."""
    channels, rows, columns = map_shape(model, recipe, tap, hw)
    return channels * -(-rows // pool) * -(-columns // pool)


def _hw(photo: Path) -> tuple[int, int] | None:
    """A photo's sides, from its header; None if it is no photo, which reading reports."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(photo, formats=FORMATS) as image:
                return image.height, image.width
    except Exception:
        return None


def _there(folder: FeatureFolder, photos: Sequence[Path]) -> int:
    """Bytes of these photos' features, by this model and these recipes, that the index names."""
    names, recipes = set(map(str, photos)), {recipe.key() for recipe in folder.recipes}
    made = (folder.model.fingerprint, folder.pool)
    return sum(
        int(row.get("bytes", 0))
        for row in folder.index.rows()
        if row["photo"] in names and row.get("recipe") in recipes and (row.get("fingerprint"), row.get("pool")) == made
    )
