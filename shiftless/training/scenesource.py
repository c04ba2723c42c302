"""Where a scene head's features come from: photos read once and kept, or read anew for every view."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch

from shiftless.errors import BadInput
from shiftless.features import Bucket
from shiftless.header import stored
from shiftless.image import Photo, open_photo
from shiftless.metrics.segmentation import IGNORE, Confusion
from shiftless.progress import Progress, count, reporting
from shiftless.reading.extraction import stream
from shiftless.reading.together import Reader
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe
from shiftless.tasks.levels import Levels
from shiftless.tasks.parts import Parts
from shiftless.tasks.pixels import Source
from shiftless.tasks.scenehead import SceneHead
from shiftless.tasks.windows import slide
from shiftless.training.network import Labelled
from shiftless.training.scenesettings import SceneSettings
from shiftless.training.view import View, recoloured

Features = list[torch.Tensor]
"""Levels of some photos, K B C h w each, the finest first."""


class SceneSource(Protocol):
    """Labelled photos with their features: what a head is trained on, and what it is validated on."""

    levels: Levels
    source: Source
    recipes: tuple[Recipe, ...]
    window: int
    """Of the photos that are read in views: pixels of one, 0 where photos are read whole."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the photos."""

    def check(self, settings: SceneSettings) -> None:
        """Raise BadInput if no view of these settings can be had."""

    def view(self, index: int, rng: np.random.Generator, settings: SceneSettings) -> Any:
        """Prepare a random view of a photo; called in several threads."""

    def batch(self, views: Sequence[Any]) -> tuple[Features, torch.Tensor]:
        """Return the features of views, and their labels B S S uint8."""

    def score(self, head: SceneHead, part: range | None = None) -> list[Confusion]:
        """Segment every photo, or those of some numbers, and count the pixels of each."""


class KeptScenes:
    """Photos that were read once, as a whole; views are cut out of their features, resized and mirrored.

    labelled  photos with their masks
    buckets   the readings of each, in the same order: a list, or anything that opens them from files when asked
    classes   how many there are, L; `unscored` the numbers of those that are not scored

    A mirrored view holds mirrored features, which differ a little from those of a mirrored photo. Raises BadInput for
    no photos, and for buckets of another number.
    """

    window = 0

    def __init__(
        self, labelled: Sequence[Labelled], buckets: Sequence[Bucket], classes: int, unscored: Sequence[int] = ()
    ) -> None:
        if not len(labelled) or len(labelled) != len(buckets):
            raise BadInput(f"{len(labelled)} labelled photos and the readings of {len(buckets)}: give one for each")
        self.labelled, self.buckets = labelled, buckets
        self.classes, self.unscored = classes, tuple(unscored)
        first = buckets[0]
        self.levels, self.source = Levels.of(first), source_in(first)
        self.recipes = tuple(maps.recipe for maps in first)
        self.fed = first[0].frame.fed

    @property
    def names(self) -> tuple[str, ...]:
        """Of the photos."""
        return tuple(str(one.name) for one in self.labelled)

    def check(self, settings: SceneSettings) -> None:
        """Raise BadInput for views of more pixels than the photos were read at, or of less than one cell."""
        if settings.side > max(self.fed):
            raise BadInput(
                f"side={settings.side}: views are larger than the photos, which were read at {self.fed[1]}x"
                f"{self.fed[0]} pixels; give at most {max(self.fed)}"
            )
        if settings.side < self.levels.strides[-1]:
            raise BadInput(f"side={settings.side}: less than a cell of {self.levels.strides[-1]} pixels; give more")

    def view(self, index: int, rng: np.random.Generator, settings: SceneSettings) -> tuple[Features, np.ndarray]:
        """Cut out a random view: its levels K C h w, and its labels side side."""
        bucket, mask = self.buckets[index], checked(self.labelled[index], self.classes)
        seen = View.balanced(mask, rng, settings.scales, settings.flip, settings.most, bucket[0].frame.fed)
        cells = [max(1, round(settings.side / stride)) for stride in self.levels.strides]
        levels = [seen.features(one, n) for one, n in zip(self.levels.tensors(bucket), cells)]
        return levels, seen.labels(mask, settings.side)

    def batch(self, views: Sequence[tuple[Features, np.ndarray]]) -> tuple[Features, torch.Tensor]:
        """Stack views."""
        levels, labels = zip(*views)
        return [torch.stack(one, 1) for one in zip(*levels)], torch.from_numpy(np.stack(labels))

    def score(self, head: SceneHead, part: range | None = None) -> list[Confusion]:
        """Segment every photo, or those of some numbers, as a whole, and count the pixels of each."""
        counted = []
        for i in range(len(self.labelled)) if part is None else part:
            mask = self.labelled[i].mask()
            found = head.predict(self.buckets[i], size=(mask.shape[0], mask.shape[1])).mask
            counted.append(Confusion(self.classes, self.unscored).add(mask, found))
        return counted


class ReadScenes:
    """Photos that a model reads anew for every view: what is cut out, resized, mirrored and recoloured is the photo.

    reader    the model with its recipes
    labelled  photos with their masks
    classes   how many there are, L; `unscored` the numbers of those that are not scored
    side      pixels of a view
    stride    pixels between the windows by which photos are segmented; None segments them as a whole
    fill, batch  as `shiftless.stream` takes them

    The first photo is read at once, to know the levels. Raises BadInput as `stream` does, and for no photos.
    """

    def __init__(
        self,
        reader: Reader,
        labelled: Sequence[Labelled],
        classes: int,
        side: int,
        unscored: Sequence[int] = (),
        *,
        stride: int | None = None,
        fill: Fill | None = None,
        batch: int | None = None,
    ) -> None:
        if not len(labelled):
            raise BadInput("no labelled photos; give at least one")
        self.reader, self.labelled, self.window, self.stride = reader, labelled, side, stride
        self.classes, self.unscored = classes, tuple(unscored)
        self.options: dict[str, Any] = {"fill": fill, "batch": batch}
        (first,) = self._read([picture_of(labelled[0])])
        self.levels, self.source, self.recipes = Levels.of(first), source_in(first), tuple(reader.recipes)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the photos."""
        return tuple(str(one.name) for one in self.labelled)

    def check(self, settings: SceneSettings) -> None:
        """Raise BadInput for views of another size than the photos are segmented by."""
        if settings.side != self.window:
            raise BadInput(f"side={settings.side}: these photos are read in views of {self.window} pixels")

    def view(self, index: int, rng: np.random.Generator, settings: SceneSettings) -> tuple[Photo, np.ndarray]:
        """Cut a random view out of a photo."""
        one = self.labelled[index]
        mask, photo = checked(one, self.classes), open_photo(picture_of(one))
        seen = View.balanced(mask, rng, settings.scales, settings.flip, settings.most)
        picture = seen.picture(photo.array, settings.side)
        if settings.colour:
            picture = recoloured(picture, rng)
        return open_photo(picture, photo.name), seen.labels(mask, settings.side)

    def batch(self, views: Sequence[tuple[Photo, np.ndarray]]) -> tuple[Features, torch.Tensor]:
        """Read views, and stack their levels."""
        photos, labels = zip(*views)
        levels = [self.levels.tensors(bucket) for bucket in self._read(photos)]
        return [torch.stack(one, 1) for one in zip(*levels)], torch.from_numpy(np.stack(labels))

    def score(self, head: SceneHead, part: range | None = None) -> list[Confusion]:
        """Segment every photo, or those of some numbers, by windows or as a whole, and count the pixels of each."""
        some = self.labelled if part is None else [self.labelled[i] for i in part]
        pictures = [picture_of(one) for one in some]
        found = segmented(head, self.reader, pictures, stride=self.stride, **self.options)
        return [
            Confusion(self.classes, self.unscored).add(one.mask(), parts.mask)
            for one, parts in zip(some, found, strict=True)
        ]

    def _read(self, photos: Sequence[Photo]) -> Iterator[Bucket]:
        return stream(self.reader.model, photos, list(self.reader.recipes), dtype=None, **self.options)


def segmented(
    head: SceneHead,
    reader: Reader,
    photos: Sequence[Any],
    *,
    stride: int | None = None,
    fill: Fill | None = None,
    batch: int | None = None,
    skipped: list[str] | None = None,
    progress: bool | Progress = False,
) -> Iterator[Parts]:
    """Yield what a head says of each photo, in order.

    photos   what `shiftless.stream` takes
    stride   pixels between windows of the head's own size; None reads each photo as a whole
    skipped  if given, a photo that cannot be read is left out and its message is added here instead of raised

    Raises BadInput for windows of a head that was trained on photos read as a whole, and as `stream` does.
    """
    if stride is not None and not head.window:
        raise BadInput("this head was trained on features of whole photos; leave the windows' stride out")
    options: dict[str, Any] = {"fill": fill, "batch": batch, "dtype": None}
    recipes = list(reader.recipes)
    with reporting(progress, f"segmenting {count(len(photos), 'photo')}", len(photos), "photo") as report:
        if stride is None:
            for bucket in stream(reader.model, photos, recipes, skipped=skipped, **options):
                yield head.predict(bucket)
                report(1)
            return
        for one in photos:
            try:
                photo = open_photo(one)
            except BadInput as error:
                if skipped is None:
                    raise
                skipped.append(str(error))
                continue
            yield slide(
                head, photo, lambda views: stream(reader.model, views, recipes, **options), side=head.window,
                stride=stride,
            )  # fmt: skip
            report(1)


def in_memory(buckets: Iterable[Bucket], photos: int, most_bytes: int) -> list[Bucket]:
    """Keep the readings of photos in half precision, in main memory; values beyond its range stay in single.

    photos  how many there will be; raises BadInput after the first one if all would take more than `most_bytes`
    """
    kept: list[Bucket] = []
    for bucket in buckets:
        readings = []
        for maps in bucket:
            small = {name: stored(value, "fp16") for name, value in maps.items()}
            readings.append(replace(maps, maps=small))
        kept.append(Bucket(tuple(readings)))
        if len(kept) == 1:
            each = sum(one.element_size() * one.nelement() for maps in readings for one in maps.values())
            if each * photos > most_bytes:
                raise BadInput(
                    f"features of {count(photos, 'photo')} take {each * photos / 2**30:.1f} GiB in memory, over the "
                    f"limit of {most_bytes / 2**30:.1f}; keep them on disk, or read photos for every view"
                )
    return kept


def picture_of(one: Labelled) -> Any:
    """Return a labelled photo as `stream` takes it: its file, which captions are found by, or a Photo of its name."""
    return one.photo if isinstance(one.photo, str | os.PathLike) else open_photo(one.photo, str(one.name))


def source_in(bucket: Bucket) -> Source:
    """Return the model that read a bucket, with the adapters of all its readings."""
    adapters = dict(pair for maps in bucket for pair in maps.origin.adapters)
    first = bucket[0].origin
    return Source(first.model, first.fingerprint, tuple(adapters.items()))


def checked(one: Labelled, classes: int) -> np.ndarray:
    """Return a photo's mask; raises BadInput naming the photo for a number that is no class."""
    mask = one.mask()
    highest = int(mask[mask != IGNORE].max(initial=0))
    if highest >= classes:
        raise BadInput(f"{one.name}: its mask holds {highest}, and there are {classes} classes, 0 to {classes - 1}")
    return mask
