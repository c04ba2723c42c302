"""Light in a room: what the window and the lamps send to every point, and what stands in its way."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from miniworld.world.bedroom.solids import Colour, Lamp, Point

_REACH = 0.55  # metres that a thing darkens round itself
Blocker = tuple[int, Point, Point]


@dataclass(frozen=True)
class Opening:
    """A window as a light: its middle, its half sides across and up, the way it faces, and what comes in."""

    at: Point
    across: Point  # half its width
    tall: float  # half its height
    faces: Point  # into the room, of length 1
    colour: Colour
    sun: Point | None = None  # the way that sunlight travels, where the sun shines in
    sunlight: Colour = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Light:
    """All light of a room."""

    ambient: Colour
    openings: tuple[Opening, ...]
    lamps: tuple[Lamp, ...]
    room: tuple[float, float, float]  # its width, height and depth
    blockers: tuple[Blocker, ...] = field(default=())

    def at(self, p: np.ndarray, n: np.ndarray, thing: np.ndarray) -> np.ndarray:
        """Light at points p, 3 N, on faces with normals n, 3 N, of the things numbered N: 3 N float32."""
        total = np.empty(p.shape, np.float32)
        up = 0.86 + 0.14 * n[1] - 0.05 * n[0]
        hidden = self._hidden(p, n, thing)
        up *= hidden
        for k in range(3):
            total[k] = self.ambient[k] * up
        for opening in self.openings:
            _add(total, opening.colour, _from_opening(opening, p, n) * (0.3 + 0.7 * hidden))
            if opening.sun is not None:
                _add(total, opening.sunlight, _sunlit(opening, p, n))
        for lamp in self.lamps:
            _add(total, lamp.colour, _from_lamp(lamp, p, n) * (0.45 + 0.55 * hidden))
        return total

    def _hidden(self, p: np.ndarray, n: np.ndarray, thing: np.ndarray) -> np.ndarray:
        """How open the surroundings of each point are, in (0, 1]: corners and what stands near things are darker."""
        wide, tall, deep = self.room
        open_ = np.ones(p.shape[1], np.float32)
        for axis, low, high in ((0, 0.0, wide), (1, 0.0, tall), (2, None, deep)):
            facing = 1 - np.abs(n[axis])
            if low is not None:
                open_ -= 0.22 * facing * np.exp(np.minimum((low - p[axis]) * np.float32(4.5), 0))
            open_ -= 0.22 * facing * np.exp(np.minimum((p[axis] - high) * np.float32(4.5), 0))
        np.clip(open_, 0.4, 1, out=open_)
        for number, lo, hi in self.blockers:
            on = np.flatnonzero((p[0] > lo[0] - _REACH) & (p[0] < hi[0] + _REACH) & (thing != number))
            away = np.zeros(len(on), np.float32)
            for k in range(3):
                here = p[k][on]
                gap = np.maximum(lo[k] - here, here - hi[k])
                np.maximum(gap, 0, out=gap)
                away += gap * gap
            near = np.flatnonzero(away < _REACH**2)
            open_[on[near]] *= 1 - 0.55 * np.exp(np.sqrt(away[near]) * np.float32(-7.0))
        return open_


def _add(total: np.ndarray, colour: Colour, amount: np.ndarray) -> None:
    for k in range(3):
        total[k] += colour[k] * amount


def _from_opening(opening: Opening, p: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Soft light from a window: less with the distance, aslant, and on what is turned away."""
    to = [opening.at[k] + 0.15 * opening.faces[k] - p[k] for k in range(3)]
    square = to[0] * to[0] + to[1] * to[1] + to[2] * to[2]
    far = np.sqrt(square) + np.float32(1e-3)
    leaves = -(to[0] * opening.faces[0] + to[2] * opening.faces[2]) / far
    meets = (to[0] * n[0] + to[1] * n[1] + to[2] * n[2]) / far
    return np.clip(0.3 + 0.7 * leaves, 0, 1) * np.clip(0.35 + 0.65 * meets, 0, 1) * (2.6 / (1.3 + square * 0.38))


def _sunlit(opening: Opening, p: np.ndarray, n: np.ndarray) -> np.ndarray:
    """1 where the sun reaches through the window, with soft borders."""
    assert opening.sun is not None
    s, f = opening.sun, opening.faces
    toward = s[0] * f[0] + s[2] * f[2]
    rest = [p[k] - opening.at[k] for k in range(3)]
    t = (rest[0] * f[0] + rest[2] * f[2]) / toward
    back = [rest[k] - t * s[k] for k in range(3)]  # where the ray came through the window's plane
    wide = np.hypot(opening.across[0], opening.across[2])
    across = np.abs(back[0] * opening.across[0] + back[2] * opening.across[2]) / wide
    soft = 0.03 + 0.02 * np.maximum(t, 0)
    inside = np.clip((wide - across) / soft + 0.5, 0, 1) * np.clip((opening.tall - np.abs(back[1])) / soft + 0.5, 0, 1)
    bars = np.clip((across - 0.02) / soft + 0.3, 0, 1)
    meets = -(s[0] * n[0] + s[1] * n[1] + s[2] * n[2])
    return inside * bars * np.clip(meets * 1.6, 0, 1) * (t > 0.05)


def _from_lamp(lamp: Lamp, p: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Light from a point; a shade lets it out above and below, and a little through its cloth."""
    to = [lamp.at[k] - p[k] for k in range(3)]
    square = to[0] * to[0] + to[1] * to[1] + to[2] * to[2]
    far = np.sqrt(square) + np.float32(1e-3)
    meets = np.clip(0.25 + 0.75 * (to[0] * n[0] + to[1] * n[1] + to[2] * n[2]) / far, 0, 1)
    amount = meets / (0.35 + square * 0.9)
    if lamp.shaded:
        amount *= 0.4 + 0.75 * np.clip((np.abs(to[1]) / far - 0.62) * 5, 0, 1)
    return amount
