"""A room that is being filled: what stands where, so that nothing stands in anything else."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from miniworld.world.bedroom.camera import Camera
from miniworld.world.bedroom.choices import chance
from miniworld.world.bedroom.lighting import Opening
from miniworld.world.bedroom.solids import Paint, Solids
from miniworld.world.bedroom.spot import WALLS, Spot

Span = tuple[float, float]


def stand(rng: np.random.Generator, a: dict[str, Any]) -> tuple[tuple[float, float, float], Camera]:
    """The room's width, height and depth, and the camera in it."""
    wide, tall, deep = (float(rng.uniform(*span)) for span in ((3.3, 4.3), (2.45, 2.85), (3.7, 4.5)))
    height, back = float(rng.uniform(1.1, 1.9)), float(rng.uniform(-0.6, 0.1))
    focal = float(rng.uniform(0.74, 1.02))
    if a["bed_wall"] == "back":
        askew = chance(rng, 0.5)
        aside = float(rng.uniform(0.22, 0.36)) * float(rng.choice((-1, 1))) if askew else float(rng.uniform(-0.2, 0.2))
        middle, where = (wide / 2, deep - 1.1), float(rng.uniform(-0.16, 0.16))
    else:
        askew, side = True, -1.0 if a["bed_wall"] == "left" else 1.0
        aside = -side * float(rng.uniform(0.02, 0.3))
        middle, where = (wide / 2 + side * (wide / 2 - 1.05), deep - 1.4), side * float(rng.uniform(-0.02, 0.18))
    eye = (wide * (0.5 + aside), height, back)
    # an askew camera has the bed's middle at a chosen place across the frame; the others look straight ahead
    turn = math.atan2(middle[0] - eye[0], middle[1] - back) - math.atan(where / focal)
    if not askew:
        turn = float(rng.uniform(-0.06, 0.06))
    a["turn"] = round(math.degrees(turn), 1)
    return (wide, tall, deep), Camera(eye, turn, focal, 0.66 - 0.17 * height + float(rng.uniform(-0.04, 0.04)))


@dataclass
class Plan:
    """A room as it is being filled."""

    rng: np.random.Generator
    a: dict[str, Any]
    p: dict[str, Paint]
    room: tuple[float, float, float]
    solids: Solids
    floor: list[tuple[float, float, float, float]] = field(default_factory=list)  # x0, z0, x1, z1 of what stands
    walls: dict[str, list[Span]] = field(default_factory=lambda: {wall: [] for wall in WALLS})
    openings: list[Opening] = field(default_factory=list)

    def spot(self, wall: str) -> Spot:
        """A wall's own coordinates."""
        return Spot(self.solids, wall, self.room[0], self.room[2])

    def across(self, point: tuple[float, float, float]) -> float:
        """How far a point lies from the frame's left edge, in shares of its side; -9 behind the camera."""
        x, _, deep = self.solids.camera.place(*point)
        return x if deep > 0.4 else -9.0

    def free(self, box: tuple[float, float, float, float]) -> bool:
        x0, z0, x1, z1 = box
        return all(x1 <= o[0] or x0 >= o[2] or z1 <= o[1] or z0 >= o[3] for o in self.floor)

    def footprint(self, wall: str, s: Span, d: Span) -> tuple[float, float, float, float]:
        lo, hi = self.spot(wall).corners(*s, 0, 0, *d)
        return lo[0], lo[2], hi[0], hi[2]

    def take(self, wall: str, s: Span, d: Span) -> None:
        """Remember that something stands there."""
        self.floor.append(self.footprint(wall, s, d))

    def find(
        self, walls: tuple[str, ...], wide: float, deep: float, tall: bool, flat: bool = False
    ) -> tuple[str, Span] | None:
        """A free span of a wall that is in the picture; `tall` things need the wall too, `flat` ones only that."""
        rng, end = self.rng, {"back": self.room[0], "left": self.room[2], "right": self.room[2]}
        for _ in range(7):
            wall = walls[int(rng.integers(len(walls)))]
            high = end[wall] - 0.06 - wide
            low = 0.06 if wall == "back" else 0.7
            if high <= low:
                continue
            start = float(rng.uniform(low, high))
            s = (start, start + wide)
            spot = self.spot(wall)
            ends = [
                self.across(spot.point(at, 1.0, deep))
                for at in (s[0] + 0.1 * wide, start + wide / 2, s[1] - 0.1 * wide)
            ]
            if not (0.04 < ends[1] < 0.96 and sum(0.0 < e < 1.0 for e in ends) >= 2):
                continue
            if (tall or flat) and any(s[0] < o[1] + 0.08 and s[1] > o[0] - 0.08 for o in self.walls[wall]):
                continue
            if not flat:
                box = self.footprint(wall, s, (0.0, deep + 0.06))
                if not self.free(box):
                    continue
                self.floor.append(box)
            if tall or flat:
                self.walls[wall].append(s)
            return wall, s
        return None

    def place(self, half: float, tries: int = 7) -> tuple[float, float] | None:
        """A free place on the floor, (x, z), that is in the picture."""
        wide, _, deep = self.room
        for _ in range(tries):
            x, z = (
                float(self.rng.uniform(half + 0.05, wide - half - 0.05)),
                float(self.rng.uniform(1.3, deep - half - 0.05)),
            )
            box = (x - half, z - half, x + half, z + half)
            if 0.06 < self.across((x, 0.0, z)) < 0.94 and self.free(box) and self.low((x, 0.0, z)) < 0.97:
                self.floor.append(box)
                return x, z
        return None

    def low(self, point: tuple[float, float, float]) -> float:
        return self.solids.camera.place(*point)[1]
