"""A place at a wall: things are built in its own coordinates, and stand in the room."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miniworld.world.bedroom.solids import SQUARE, Paint, Point, Solids

WALLS = ("back", "left", "right")


@dataclass(frozen=True)
class Spot:
    """Coordinates of a wall: s along it, y up, d out of it into the room.

    On the back wall s is x; on the side walls it is z.
    """

    solids: Solids
    wall: str
    wide: float  # of the room
    deep: float

    def point(self, s: float, y: float, d: float) -> Point:
        """A place in the room.

        >>> Spot(None, "right", 4.0, 5.0).point(1.0, 0.5, 0.25)
        (3.75, 0.5, 1.0)
        """
        if self.wall == "back":
            return (s, y, self.deep - d)
        return (d, y, s) if self.wall == "left" else (self.wide - d, y, s)

    def way(self, s: float, y: float, d: float) -> Point:
        """A direction in the room."""
        if self.wall == "back":
            return (s, y, -d)
        return (d, y, s) if self.wall == "left" else (-d, y, s)

    def corners(self, s0: float, s1: float, y0: float, y1: float, d0: float, d1: float) -> tuple[Point, Point]:
        """The lower and the upper corner of a box in the room."""
        p, q = self.point(s0, y0, d0), self.point(s1, y1, d1)
        return (
            (min(p[0], q[0]), min(p[1], q[1]), min(p[2], q[2])), (max(p[0], q[0]), max(p[1], q[1]), max(p[2], q[2])),
        )  # fmt: skip

    def box(self, name: str, s: tuple[float, float], y: tuple[float, float], d: tuple[float, float], paint: Paint,
            top: tuple[str, Paint] | None = None) -> None:  # fmt: skip
        """Add a box."""
        self.solids.box(name, *self.corners(*s, *y, *d), paint, top)

    def cushion(self, name: str, s: tuple[float, float], y: tuple[float, float], d: tuple[float, float], edge: float,
                paint: Paint) -> None:  # fmt: skip
        """Add a box with soft upper edges."""
        self.solids.cushion(name, *self.corners(*s, *y, *d), edge, paint)

    def block(self, s: tuple[float, float], y: tuple[float, float], d: tuple[float, float]) -> None:
        """Let the current thing darken its surroundings as a box."""
        self.solids.block(*self.corners(*s, *y, *d))

    def upright(self, name: str, s: tuple[float, float], y: tuple[float, float], d: float, paint: Paint,
                outline: np.ndarray = SQUARE, join: bool = False) -> None:  # fmt: skip
        """Add a face that stands parallel to the wall."""
        o = self.point((s[0] + s[1]) / 2, (y[0] + y[1]) / 2, d)
        half, tall = (s[1] - s[0]) / 2, (y[1] - y[0]) / 2
        self.solids.sheet(name, o, self.way(half, 0, 0), (0, tall, 0), paint, outline, join)

    def level(self, name: str, s: tuple[float, float], y: float, d: tuple[float, float], paint: Paint,
              outline: np.ndarray = SQUARE, join: bool = False) -> None:  # fmt: skip
        """Add a face that lies flat."""
        o = self.point((s[0] + s[1]) / 2, y, (d[0] + d[1]) / 2)
        a, b = self.way((s[1] - s[0]) / 2, 0, 0), self.way(0, 0, (d[1] - d[0]) / 2)
        self.solids.sheet(name, o, a, b, paint, outline, join)

    def puff(self, name: str, at: Point, half: Point, paint: Paint, power: float = 3.4, lean: float = 0.0,
             join: bool = False) -> None:  # fmt: skip
        """Add a soft solid at (s, y, d) with half sides along them; it leans back towards the wall by `lean`."""
        up = self.way(0, half[1], -lean * half[1])
        self.solids.puff(
            name, self.point(*at), self.way(half[0], 0, 0), up, self.way(0, lean * half[2], half[2]), paint, power, join
        )
