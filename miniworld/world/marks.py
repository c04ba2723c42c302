"""Marks: some creatures have a head, a neck, a rump, a tail or legs of another colour, and the caption names them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from miniworld.world.kinds import COLOURS
from miniworld.world.labels import FAR, LABEL

SHARE = 0.6
"""The share of creatures that are marked."""
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "head": (("head", "trunk_nose"), ("far_ear",)),
    "neck": (("neck",), ()),
    "rump": (("thigh",), ()),
    "tail": (("tail", "tuft"), ()),
    "front legs": (("nf_leg",), ("ff_leg",)),
    "hind legs": (("nh_leg",), ("fh_leg",)),
}
"""What can be marked: the labels of its near side and those of its far side."""
_SHADES = ("white", "black", "brown", "cream", "gray", "golden", "orange")
_MOST = 3


def mark(rng: np.random.Generator, a: dict[str, Any]) -> None:
    """Mark some creatures: `marks` of the attributes then holds a colour by part, none of them the coat's."""
    a["marks"] = {}
    if rng.random() >= SHARE:
        return
    shades = [shade for shade in _SHADES if shade not in (a["colour"], a["second"])]
    parts = rng.choice(list(PARTS), int(rng.integers(1, _MOST + 1)), replace=False)
    a["marks"] = {part: str(rng.choice(shades)) for part in PARTS if part in parts}


def mark_colours(rng: np.random.Generator, marks: dict[str, str]) -> Iterator[tuple[int, np.ndarray]]:
    """Give the label and the colour, RGB of 0 to 255, of everything that is marked, with a little chance.

    >>> [index == LABEL["neck"] for index, _ in mark_colours(np.random.default_rng(0), {"neck": "white"})]
    [True]
    """
    for part, shade in marks.items():
        colour = np.array(COLOURS[shade], np.float32) + rng.normal(0, 8) + rng.normal(0, 3.5, 3)
        near, far = PARTS[part]
        yield from ((LABEL[name], colour) for name in near)
        yield from ((LABEL[name], colour * FAR) for name in far)


def describe(marks: dict[str, str]) -> list[str]:
    """Say what is marked, as captions do.

    >>> describe({"head": "orange", "hind legs": "white"})
    ['an orange head', 'white hind legs']
    """
    return [
        f"{shade} {part}" if part.endswith("legs") else f"{'an' if shade[0] in 'aeiou' else 'a'} {shade} {part}"
        for part, shade in marks.items()
    ]
