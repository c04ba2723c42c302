"""Flat drawings that stand upright in the street: made once, in metres, then placed by their feet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from miniworld.world.paint import Sketch
from miniworld.world.street.faces import Colour, Faces

#: the label of `Sketch` that stands for every slot of a drawing; the sketch is only asked for its outlines
_ANY = "sky"


class Drawing(Sketch):
    """A sketch whose shapes belong to slots, such as a shirt, and to classes."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: list[tuple[str, str]] = []

    def at(self, slot: str, name: str) -> str:
        """Say what the next shape is; hand the result to `poly`, `ellipse`, `capsule` or `blob`."""
        self.slots.append((slot, name))
        return _ANY


@dataclass(frozen=True)
class Flat:
    """All outlines of a drawing after one another, x to the right and y up."""

    points: np.ndarray
    counts: tuple[int, ...]
    slots: tuple[tuple[str, str], ...]

    @staticmethod
    def of(drawing: Drawing) -> Flat:
        """The outlines of a finished drawing."""
        return Flat(np.concatenate(drawing.shapes), tuple(map(len, drawing.shapes)), tuple(drawing.slots))


def place(
    faces: Faces,
    flat: Flat,
    x: float,
    z: float,
    colours: dict[str, Colour],
    *,
    scale: float = 1.0,
    turn: float = 0.0,
    mirror: bool = False,
    shines: dict[str, float] | None = None,
) -> None:
    """Stand a drawing at a true place; `turn` is the heading of its x, 0 across the view, in radians."""
    across = flat.points[:, 0] * (-scale if mirror else scale)
    out = np.empty((len(across), 3))
    out[:, 0] = x + across * math.cos(turn)
    out[:, 1] = flat.points[:, 1] * scale
    out[:, 2] = z + across * math.sin(turn)
    faces.pieces(out, [(n, name, colours[slot], shines.get(slot, 0.0) if shines else 0.0)
                       for n, (slot, name) in zip(flat.counts, flat.slots)])  # fmt: skip
