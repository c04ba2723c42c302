"""StoredBuckets: the readings of photos on disk, each opened when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shiftless.features import Bucket, FeatureMaps
from shiftless.image import Photo, open_photo
from shiftless.progress import Progress, count, reporting
from shiftless.reading.counted import Counted, calls
from shiftless.reading.extraction import stream
from shiftless.reading.together import Reader
from shiftless.reading.words import Fill
from shiftless.store.folder import FeatureFolder


class StoredBuckets(Sequence[Bucket]):
    """Buckets in files: one Bucket a photo, read from disk at every access, so that any number of photos fits.

    files  of each photo, one a reading
    """

    def __init__(self, files: Sequence[Sequence[Path]]) -> None:
        self.files = [tuple(one) for one in files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # the two overloads say no more than Sequence does
        if isinstance(index, slice):
            return StoredBuckets(self.files[index])
        return Bucket(tuple(FeatureMaps.open(file) for file in self.files[index]))


def store_buckets(
    folder: str | os.PathLike[str],
    reader: Reader,
    photos: Sequence[Any],
    *,
    fill: Fill | None = None,
    batch: int | None = None,
    dtype: str = "fp16",
    progress: bool | Progress = False,
) -> StoredBuckets:
    """Read photos into a folder, but for those that are there already, and return what is there of each.

    photos  what `open_photo` takes; two photos have two names, or the same pixels
    dtype   that maps are saved in

    The folder is one that `shiftless extract` writes too. Raises BadInput as `stream` and `FeatureFolder` do.

    >>> import tempfile
    >>> import numpy as np
    >>> from shiftless.backbones.registry import load
    >>> from shiftless.recipe import Recipe
    >>> reader = Reader(load("twin:sd15"), (Recipe(taps=("up1",)),))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     buckets = store_buckets(folder, reader, [open_photo(np.zeros((64, 64, 3), np.uint8), "a")])
    ...     len(buckets), buckets[0][0].describe()
    (1, 'up1 64x8x8 stride 16')
    """
    model, recipes = reader.model, list(reader.recipes)
    kept = FeatureFolder(Path(folder), model, recipes, fill=fill, dtype=dtype)
    each = calls(recipes, model.spec)
    names: list[str] = []

    def unread(report: Any) -> Iterator[Photo]:
        for one in photos:
            photo = open_photo(one)
            names.append(photo.name)
            if kept.claim(photo):
                yield photo
            else:
                report(each)

    doing = f"reading {count(len(photos), 'photo')} into {Path(folder).name}"
    with reporting(progress, doing, each * len(photos), "denoiser call") as report:
        counted: Any = Counted(model, report) if progress else model
        for bucket in stream(counted, unread(report), recipes, fill=fill, batch=batch, dtype=None):
            kept.write(bucket)
    return StoredBuckets([kept.files[name] for name in names])
