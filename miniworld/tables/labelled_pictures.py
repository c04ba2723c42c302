"""Drawn pictures with the class of every pixel, as labelled photos: parts of horses, bedrooms, scenes and streets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from miniworld.datasets import seeds
from miniworld.world.bedroom.picture import CLASSES, draw_bedroom
from miniworld.world.labels import PARTS, SCENE_CLASSES
from miniworld.world.picture import draw
from miniworld.world.street.classes import CLASSES as STREET_CLASSES
from miniworld.world.street.classes import COLOURS as STREET_COLOURS
from miniworld.world.street.picture import draw_street
from shiftless.atomic import write_atomic
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.data.palette import class_colours
from shiftless.view import save_picture
from shiftless.view.segmentation import indexed_png

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
    photos = []
    for seed in seeds(split, n, first):
        picture = one(seed, size=size)
        place = f"{name}-{seed}"
        photos.append(LabelledPhoto(place, picture.image, place, mask_of(picture, name), len(classes)))
    return LabelledPhotos(tuple(photos), tuple(classes), _palette(name), unscored)


def mask_of(picture: Any, name: str) -> np.ndarray:
    """Return the class of every pixel of a drawn picture, H W, by the classes of a set."""
    labels: np.ndarray = getattr(picture, {"parts": "parts", "scenes": "scene"}.get(name, "labels"))
    return labels


def write_labelled(folder: Path, names: Sequence[str], pictures: Sequence[Any], name: str) -> None:
    """Write drawn pictures as images/NAME.png, masks/NAME.png and classes.json, which `read_labelled` reads.

    names  of the pictures      name  of the set whose classes are labelled
    """
    classes, unscored = SETS[name]
    for one, picture in zip(names, pictures, strict=True):
        save_picture(Image.fromarray(picture.image), folder / "images" / f"{one}.png")
        indexed_png(mask_of(picture, name), _palette(name), folder / "masks" / f"{one}.png")
    listed = {"classes": list(classes), "unscored": list(unscored)}
    write_atomic(folder / "classes.json", (json.dumps(listed, indent=1) + "\n").encode())


def _palette(name: str) -> np.ndarray:
    return np.array(STREET_COLOURS, np.uint8) if name == "streets" else class_colours(SETS[name][0])
