"""Drawn pictures with the class of every pixel, as labelled photos: parts of horses, and what is in bedrooms."""

from __future__ import annotations

from functools import partial
from typing import Any

from miniworld.datasets import seeds
from miniworld.world.bedroom.picture import CLASSES, draw_bedroom
from miniworld.world.labels import PARTS
from miniworld.world.picture import draw
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.data.palette import class_colours

SETS = {"parts": (PARTS, ()), "rooms": (CLASSES, (0,))}
"""The sets of labelled pictures: the names of their classes, and those that are not scored."""


def labelled_pictures(name: str, split: str, n: int, first: int = 0, size: int = 128) -> LabelledPhotos:
    """Draw `n` labelled pictures of a set, from number `first` of a split's seeds on.

    name   "parts" (21 parts of horses with riders, background among them) or "rooms" (28 classes of bedrooms; class 0
           is what has no class, and is not scored)
    split  of `miniworld.datasets.SEEDS`

    >>> some = labelled_pictures("parts", "parts", 2)
    >>> some[0].mask().shape, len(some.classes), some.classes[1]
    ((128, 128), 21, 'person')
    """
    classes, unscored = SETS[name]
    one: Any = partial(draw, kind="horse", rider=True) if name == "parts" else draw_bedroom
    photos = []
    for seed in seeds(split, n, first):
        picture = one(seed, size=size)
        labels = picture.parts if name == "parts" else picture.labels
        place = f"{name}-{seed}"
        photos.append(LabelledPhoto(place, picture.image, place, labels, len(classes)))
    return LabelledPhotos(tuple(photos), tuple(classes), class_colours(list(classes)), unscored)
