"""Readings: the features of photos by the explorer's recipes, read once and kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from shiftless.amalgamate.layout import Layout
from shiftless.backbones.base import Backbone
from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.explore.album import Album
from shiftless.features import FeatureMaps
from shiftless.image import Frame, Photo
from shiftless.presets import Preset
from shiftless.reading import extract
from shiftless.reading.counted import Counted
from shiftless.reading.loop import check
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe
from shiftless.tasks.dense import interpolated_norm

Recipes = tuple[Recipe, ...]


@dataclass(frozen=True, eq=False)
class Read:
    """One photo as one column of the explorer read it: one reading, or a bucket of several.

    >>> from shiftless.taps.names import Tap
    >>> maps = FeatureMaps({"up1": torch.ones(1, 8, 4, 4)}, {"up1": Tap("up1", 8, 16, "")}, Frame((60, 80), (64, 64)))
    >>> read = Read((maps,))
    >>> read.dense.shape, read.norm.shape
    (torch.Size([1, 8, 4, 4]), torch.Size([64, 64]))
    """

    bucket: tuple[FeatureMaps, ...]

    @property
    def frame(self) -> Frame:
        """The way between the photo's pixels and those that the model saw."""
        return self.bucket[0].frame

    @cached_property
    def dense(self) -> torch.Tensor:
        """What points are compared by, 1 C H W: of one reading its taps as `shiftless.match` joins them, of several
        the mean of those that are merged, and the joined ones beside it."""
        if len(self.bucket) == 1:
            return self.bucket[0].dense()
        merged, joined = Layout.of(self.bucket).tensors(self.bucket)
        return torch.cat([merged.mean(0), joined])[None]

    @cached_property
    def norm(self) -> torch.Tensor:
        """The length of each of its vectors, once enlarged to the image as the model saw it: H W."""
        return interpolated_norm(self.dense.float(), self.frame.fed)

    def bytes(self) -> int:
        """Return how much memory it takes once `dense` and `norm` are made."""
        own = sum(value.numel() * value.element_size() for maps in self.bucket for value in maps.values())
        return own + self.dense.numel() * 4 + self.norm.numel() * 4


@dataclass
class FeatureMemory:
    """Reads by their keys, at most so many bytes; those that were used longest ago are forgotten first.

    >>> memory = FeatureMemory(100)
    >>> memory.get("a") is None
    True
    """

    most: int
    held: int = 0
    _reads: OrderedDict[str, tuple[Read, int]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: str) -> Read | None:
        """Return what is kept under a key, or None."""
        with self._lock:
            if key not in self._reads:
                return None
            self._reads.move_to_end(key)
            return self._reads[key][0]

    def put(self, key: str, read: Read) -> None:
        """Keep a read; one that is larger than all the memory is not kept."""
        size = read.bytes()
        with self._lock:
            if key in self._reads or size > self.most:
                return
            self._reads[key] = read, size
            self.held += size
            while self.held > self.most:
                _, (_, freed) = self._reads.popitem(last=False)
                self.held -= freed


@dataclass(frozen=True)
class Column:
    """One way to read, shown under its name: one recipe, or those of a bucket."""

    name: str
    recipes: Recipes


class Readings:
    """The columns that a model reads an album's photos by.

    model    loaded
    presets  one for each column; at most four
    fill     values for the fields of prompts, as `shiftless.extract` takes them

    Raises BadInput for no recipe or too many, and for one that the model cannot be read by.
    """

    def __init__(self, model: Backbone, album: Album, presets: Sequence[Preset], fill: Fill | None = None) -> None:
        most = album.limits.recipes
        if not 1 <= len(presets) <= most:
            raise BadInput(f"{len(presets)} recipes: give 1 to {most}, to be shown side by side")
        self.model, self.album, self.fill = model, album, fill
        self.columns = tuple(Column(one.name or one.recipes[0].label or "recipe", one.recipes) for one in presets)
        for column in self.columns:
            check(model, column.recipes, None)
        self.memory = FeatureMemory(album.limits.feature_bytes)
        self._fingerprint = model.fingerprint  # once: asking waits for a denoiser call that runs

    def column(self, number: int) -> Column:
        """Return a column; raises BadInput for a number that none has."""
        if not 0 <= number < len(self.columns):
            raise BadInput(f"no recipe has the number {number}; reload the page")
        return self.columns[number]

    def held(self, photo: int, recipes: Recipes) -> Read | None:
        """Return a photo's read if it is in memory; no denoiser call is made, and any thread may ask."""
        return self.memory.get(self._key(self.album.digest(photo), recipes))

    def read(self, photo: int, recipes: Recipes, stop: Callable[..., object] = lambda *_: None) -> Read:
        """Return a photo's read, from memory or from the model. Only the thread that owns the model may ask.

        stop  called after every denoiser call; what it raises ends the reading
        """
        opened: Photo = self.album.photo(photo)
        key = self._key(opened.digest, recipes)
        known = self.memory.get(key)
        if known is not None:
            return known
        model: Any = Counted(self.model, stop)
        bucket = extract(model, opened, list(recipes), fill=self.fill)
        read = Read(tuple(bucket))
        self.memory.put(key, read)
        return read

    def _key(self, digest: str, recipes: Recipes) -> str:
        """What makes a read: the photo's pixels, the model's weights, and the recipes in their order."""
        return digest_of(digest, self._fingerprint, [(one.key(), one.joined) for one in recipes])
