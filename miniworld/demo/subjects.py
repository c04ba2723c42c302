"""The demo's pictures: drawn ones that no model was trained on, or two photos of the user's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from miniworld.datasets import SEEDS, seeds
from miniworld.world.picture import SCENE_CLASSES, Picture, draw
from shiftless.errors import BadInput
from shiftless.image import Photo, open_photo

CONTRAST = "a photo of a giraffe, standing, facing left, in the snow"  # hardly fits any photo of a user
_THING = [SCENE_CLASSES.index(name) for name in ("animal", "person", "vehicle")]
# Content shift is shown on the first; the fourth gives the caption of something else.
_CAST: tuple[dict[str, Any], ...] = (
    {"kind": "horse", "facing": "right", "rider": True, "scene": "meadow"},
    {"kind": "horse", "facing": "left", "rider": False, "scene": "desert"},
    {"kind": "cow", "facing": "left", "scene": "snow"},
    {"kind": "giraffe", "facing": "right", "scene": "beach"},
    {"kind": "dog", "facing": "left", "scene": "forest"},
    {"kind": "zebra", "facing": "right", "scene": "town"},
)


@dataclass(frozen=True, eq=False)
class Subject:
    """One picture of the demo.

    title    a word or a file's name        prompt  what is in it, in detail; "" if not given
    mask     H W bool, where the creature or vehicle is; everywhere for a user's photo
    picture  the world's own truth; None for a user's photo
    """

    photo: Photo
    title: str
    prompt: str
    mask: np.ndarray
    picture: Picture | None = None


def cast() -> list[Subject]:
    """Draw the demo's six pictures: in daylight, not occluded, and wholly inside the frame.

    >>> [subject.title for subject in cast()][:3]
    ['horse', 'horse', 'cow']
    """
    return [_found(attributes, SEEDS["shown"].start + 10_000 * i) for i, attributes in enumerate(_CAST)]


def crowd(number: int) -> Iterator[Subject]:
    """Draw pictures in the order of their seeds, without selection, to measure on.

    >>> len(list(crowd(2)))
    2
    """
    for seed in seeds("crowd", number):
        yield _subject(draw(seed), f"crowd-{seed}")


def yours(photos: Sequence[str], prompt: str) -> list[Subject]:
    """Open the user's two photos; raises BadInput unless there are two that can be read."""
    if len(photos) != 2:
        raise BadInput(f"the demo takes two photos to compare, or none at all; {len(photos)} given")
    opened = [open_photo(path) for path in photos]
    names = [str(photo.name).replace("\\", "/").rpartition("/")[2] for photo in opened]
    return [Subject(p, name, prompt, np.ones(p.hw, bool)) for p, name in zip(opened, names)]


def common_points(a: Picture, b: Picture, most: int) -> np.ndarray:
    """Return which keypoints both pictures show, as indices: at most so many, spread over the creature."""
    both = np.flatnonzero(a.visible & b.visible)
    chosen = list(both[:1])
    while len(chosen) < min(most, len(both)):
        rest = [i for i in both if i not in chosen]
        gaps = [min(float(np.hypot(*(a.keypoints[i] - a.keypoints[j]))) for j in chosen) for i in rest]
        chosen.append(rest[int(np.argmax(gaps))])
    return np.sort(np.array(chosen))


def _found(attributes: dict[str, Any], first: int) -> Subject:
    for seed in count(first):
        picture = draw(seed, **attributes)
        x0, y0, x1, y1 = picture.box
        inside = x0 > 1 and y0 > 1 and max(x1, y1) < len(picture.image) - 1
        plain = not picture.attributes["occluder"] and picture.attributes["time"] in ("day", "morning")
        if inside and plain and picture.visible.mean() > 0.75 and x1 - x0 > 70:
            return _subject(picture, picture.kind)
    raise AssertionError("seeds never end")


def _subject(picture: Picture, name: str) -> Subject:
    mask = np.isin(picture.scene, _THING)
    return Subject(open_photo(picture.image, name=name), picture.kind, picture.captions[2], mask, picture)
