"""LabelledPhoto: a photo and the class of each of its pixels; LabelledPhotos: a set of these with its classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
from PIL import Image

from shiftless.errors import BadInput
from shiftless.image import FORMATS, open_photo
from shiftless.metrics.segmentation import IGNORE

Labels = np.ndarray | Callable[[tuple[int, int]], np.ndarray]


@dataclass(frozen=True, eq=False)
class LabelledPhoto:
    """One photo with its mask, which is read when it is asked for.

    name     unique in its set, such as "train/0001"
    photo    a path, or anything else that `shiftless.open_photo` takes
    where    the file that holds its labels, for messages
    labels   H W whole numbers, or a function from the photo's size (h, w) to them
    classes  how many classes there are, L

    >>> photo = np.zeros((8, 8, 3), np.uint8)
    >>> LabelledPhoto("a", photo, "a.npy", np.ones((8, 8), int), 2).mask().dtype
    dtype('uint8')
    >>> LabelledPhoto("a", photo, "a.npy", np.full((8, 8), 7), 2).mask()
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: a.npy: unknown label values 7; there are 2 classes, 0 to 1, and 255 is no label
    """

    name: str
    photo: Any
    where: str
    labels: Labels = field(repr=False)
    classes: int

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width of the upright photo in pixels; raises BadInput if it cannot be opened."""
        return photo_hw(self.photo)

    def mask(self) -> np.ndarray:
        """Return the class of each pixel of the upright photo, H W uint8, with IGNORE (255) where it has no label.

        Raises BadInput naming the file: it cannot be read, has another size than the photo, or holds a number that
        is no class.
        """
        hw = self.hw
        values = np.asarray(self.labels(hw) if callable(self.labels) else self.labels)
        if values.ndim != 2 or values.dtype.kind not in "biu":
            raise BadInput(f"{self.where}: labels of shape {values.shape}, {values.dtype}; give H W whole numbers")
        check_size((values.shape[0], values.shape[1]), hw, self.where)
        known = np.flatnonzero(np.bincount(values.ravel())) if values.dtype == np.uint8 else np.unique(values)
        wrong = known[((known < 0) | (known >= self.classes)) & (known != IGNORE)]
        if len(wrong):
            shown = ", ".join(str(int(value)) for value in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
            raise BadInput(
                f"{self.where}: unknown label values {shown}; there are {self.classes} classes, 0 to "
                f"{self.classes - 1}, and {IGNORE} is no label"
            )
        return values.astype(np.uint8)


@dataclass(frozen=True, eq=False)
class LabelledPhotos(Sequence[LabelledPhoto]):
    """Labelled photos that share their classes; an index gives one of them, a slice a smaller set.

    photos    in order
    classes   L names, class 0 first
    palette   L 3 uint8, their colours
    unscored  numbers of classes that exist and are not scored, such as Bedroom-28's 0

    >>> one = LabelledPhoto("a", np.zeros((8, 8, 3), np.uint8), "a.npy", np.zeros((8, 8), int), 2)
    >>> some = LabelledPhotos((one, one, one), ("background", "leg"), np.zeros((2, 3), np.uint8))
    >>> len(some), len(some[1:]), some[1:].classes, len(some.but([one]))
    (3, 2, ('background', 'leg'), 1)
    """

    photos: tuple[LabelledPhoto, ...]
    classes: tuple[str, ...]
    palette: np.ndarray = field(repr=False)
    unscored: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.photos)

    @overload
    def __getitem__(self, index: int) -> LabelledPhoto: ...
    @overload
    def __getitem__(self, index: slice) -> LabelledPhotos: ...
    def __getitem__(self, index: int | slice) -> LabelledPhoto | LabelledPhotos:
        return self.but(self.photos[index]) if isinstance(index, slice) else self.photos[index]

    def but(self, photos: Sequence[LabelledPhoto]) -> LabelledPhotos:
        """Return a set of other photos with these classes and colours."""
        return replace(self, photos=tuple(photos))


def never_labelled(labelled: LabelledPhotos) -> tuple[str, ...]:
    """Return the scored classes that no pixel of any photo is labelled as; reads every mask once.

    Raises BadInput if fewer than two classes are labelled at all, and whatever `LabelledPhoto.mask` raises.

    >>> half = np.repeat([[0, 1]], 8, 0).repeat(4, 1)
    >>> one = LabelledPhoto("a", np.zeros((8, 8, 3), np.uint8), "a.npy", half, 3)
    >>> never_labelled(LabelledPhotos((one,), ("background", "leg", "ear"), np.zeros((3, 3), np.uint8)))
    ('ear',)
    """
    counts = np.zeros(256, np.int64)
    for one in labelled:
        counts += np.bincount(one.mask().ravel(), minlength=256)
    there = [name for name, count in zip(labelled.classes, counts) if count]
    if len(there) < 2:
        where = labelled[0].where if labelled else "no photos"
        hint = "; classes are numbered 0, 1, 2, ..., and 255 is no label" if counts[IGNORE] else ""
        raise BadInput(
            f"{where}: {'only ' + repr(there[0]) if there else 'no class'} is labelled in these {len(labelled)} "
            f"photos; label at least two classes{hint}"
        )
    scored = (n for n in range(len(labelled.classes)) if n not in labelled.unscored)
    return tuple(labelled.classes[n] for n in scored if not counts[n])


def photo_hw(photo: Any) -> tuple[int, int]:
    """Return (h, w) of a photo as `open_photo` would give it; of a file, only the header is read.

    >>> photo_hw(np.zeros((20, 30, 3), np.uint8))
    (20, 30)
    """
    if isinstance(photo, str | os.PathLike):
        try:
            with Image.open(photo, formats=FORMATS) as image:
                turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                return (image.width, image.height) if turned else (image.height, image.width)
        except Exception:  # whatever it is, open_photo names it
            pass
    return open_photo(photo).hw


def check_size(found: tuple[int, int], hw: tuple[int, int], where: str) -> None:
    """Raise BadInput naming `where` unless labels of (h, w) have the size of their photo.

    >>> check_size((30, 40), (60, 80), "masks/a.png")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: masks/a.png: the labels are 40x30 pixels and their photo is 80x60; ...
    """
    if tuple(found) == tuple(hw):
        return
    turned = tuple(found) == tuple(hw)[::-1]
    remedy = "label it as it is seen: EXIF orientation turns it" if turned else "make them the same size"
    raise BadInput(f"{where}: the labels are {found[1]}x{found[0]} pixels and their photo is {hw[1]}x{hw[0]}; {remedy}")
