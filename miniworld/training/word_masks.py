"""Where words are: the pixels of what each word of a caption names."""

from __future__ import annotations

from typing import Any

import numpy as np

from miniworld.world.bedroom.classes import CLASS as ROOM
from miniworld.world.kinds import KEYPOINTS
from miniworld.world.labels import PARTS, SCENE_CLASSES
from miniworld.world.picture import KINDS
from miniworld.world.street.classes import CLASS as STREET

_BODY = {
    "head": ("head", "muzzle", "ear", "eye", "forelock", "nostril", "bridle"), "neck": ("neck",), "mane": ("mane",),
    "rump": ("thigh",), "tail": ("tail",), "saddle": ("saddle",), "bandages": ("leg protection",),
}  # fmt: skip
_LEG = ("leg", "hoof", "leg protection")
_SIDES = {"front": "fore", "hind": "hind"}
_ROOM = {
    "bed": ("bed", "footboard", "headboard", "side_rail"), "pillows": ("pillow",), "curtains": ("curtain",),
    "window": ("window", "window_frame"), "door": ("door",), "wardrobe": ("wardrobe",), "chair": ("chair",),
    "armchair": ("chair",), "pouf": ("pouf",), "plant": ("plant",), "lamp": ("lamp_column", "lamp_shade"),
    "chandelier": ("chandelier",), "carpet": ("carpet",), "floor": ("floor",), "walls": ("wall",),
    "picture": ("picture", "picture_frame"), "pictures": ("picture", "picture_frame"),
    "mirror": ("picture", "picture_frame"),
}  # fmt: skip
_STREET = {
    "car": "car", "truck": "truck", "bus": "bus", "tram": "train", "motorcycle": "motorcycle", "bicycle": "bicycle",
    "person": "person", "people": "person", "rider": "rider", "trees": "vegetation", "road": "road",
    "sidewalk": "sidewalk",
}  # fmt: skip


def word_masks(picture: Any, world: str) -> dict[str, np.ndarray]:
    """Return H W bool masks of what each word names in a picture of a world, without words of what is not there.

    Of creatures these are their kind, the rider ("person") and the parts that captions can name; "front" and "hind" are
    legs, told apart by the nearer knee, hock or hoof. Of rooms and streets they are the things of their classes.

    >>> from miniworld.world.picture import draw
    >>> sorted(word_masks(draw(3, kind="horse", rider=True), "creatures"))[:5]
    ['front', 'head', 'hind', 'horse', 'mane']
    """
    if world == "bedrooms":
        masks = {word: np.isin(picture.labels, [ROOM[name] for name in names]) for word, names in _ROOM.items()}
    elif world == "streets":
        masks = {word: picture.labels == STREET[name] for word, name in _STREET.items()}
    else:
        masks = _creature(picture)
    return {word: mask for word, mask in masks.items() if mask.any()}


def _creature(picture: Any) -> dict[str, np.ndarray]:
    subject = "animal" if picture.kind in KINDS else "vehicle"
    masks = {
        picture.kind: picture.scene == SCENE_CLASSES.index(subject),
        "person": picture.scene == SCENE_CLASSES.index("person"),
    }
    if subject == "vehicle":
        return masks
    masks |= {word: _is(picture, names) for word, names in _BODY.items()}
    legs = _is(picture, _LEG)
    rows, columns = np.nonzero(legs)
    places = np.stack([columns, rows], axis=1) + 0.5
    away = {}
    for word, side in _SIDES.items():
        chosen = [i for i, name in enumerate(KEYPOINTS) if f"_{side}_" in name and name.endswith(_JOINTS)]
        points = picture.keypoints[chosen]
        points = points[np.isfinite(points).all(1)]
        away[word] = np.linalg.norm(places[:, None] - points[None], axis=2).min(1, initial=np.inf)
    for word, other in (("front", "hind"), ("hind", "front")):
        masks[word] = np.zeros_like(legs)
        masks[word][rows, columns] = away[word] < away[other]
    return masks


_JOINTS = ("knee", "hock", "hoof")


def _is(picture: Any, names: tuple[str, ...]) -> np.ndarray:
    return np.isin(picture.parts, [PARTS.index(name) for name in names])
