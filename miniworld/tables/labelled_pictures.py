"""Drawn pictures with the class of every pixel, as labelled photos: parts of horses, bedrooms, scenes and streets."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from miniworld.datasets import seeds
from miniworld.world.bedroom.picture import CLASSES, draw_bedroom
from miniworld.world.labels import PARTS, SCENE_CLASSES
from miniworld.world.picture import draw
from miniworld.world.street.classes import CLASSES as STREET_CLASSES
from miniworld.world.street.classes import COLOURS as STREET_COLOURS
from miniworld.world.street.picture import draw_street
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.data.palette import class_colours

SETS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "parts": (PARTS, ()), "rooms": (CLASSES, (0,)), "scenes": (SCENE_CLASSES, ()), "streets": (STREET_CLASSES, ()),
}  # fmt: skip
"""The sets of labelled pictures: the names of their classes, and those that are not scored."""


def labelled_pictures(name: str, split: str, n: int, first: int = 0, size: int = 128) -> LabelledPhotos:
    """Draw `n` labelled pictures of a set, from number `first` of a split's seeds on.

    name   "parts" (21 parts of horses with riders, background among them), "rooms" (28 classes of bedrooms; class 0
           is what has no class, and is not scored), "scenes" (16 classes of all pictures of creatures and vehicles) or
           "streets" (the 19 classes of Cityscapes; 255 is no label)
    split  of `miniworld.datasets.SEEDS`

    >>> some = labelled_pictures("parts", "parts", 2)
    >>> some[0].mask().shape, len(some.classes), some.classes[1]
    ((128, 128), 21, 'person')
    """
    classes, unscored = SETS[name]
    draws: dict[str, Any] = {"rooms": draw_bedroom, "scenes": draw, "streets": draw_street}
    one = draws.get(name, partial(draw, kind="horse", rider=True))
    kept = {"parts": "parts", "scenes": "scene"}.get(name, "labels")  # the picture's field
    photos = []
    for seed in seeds(split, n, first):
        picture = one(seed, size=size)
        place = f"{name}-{seed}"
        photos.append(LabelledPhoto(place, picture.image, place, getattr(picture, kept), len(classes)))
    palette = np.array(STREET_COLOURS, np.uint8) if name == "streets" else class_colours(list(classes))
    return LabelledPhotos(tuple(photos), tuple(classes), palette, unscored)
