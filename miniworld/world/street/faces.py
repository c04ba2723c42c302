"""All that a street is drawn of: flat faces with a class and a colour, painted from the farthest to the nearest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import cv2
import numpy as np

from miniworld.world.paint import SUPER
from miniworld.world.street.camera import Camera
from miniworld.world.street.classes import CLASS, FLOOR
from miniworld.world.street.weather import Air

Colour = tuple[float, float, float]
_SHIFT = 4
_FLOORS = frozenset(CLASS[name] for name in (*FLOOR, "sky"))
MARKS = 7  # values of one class by which neighbours of it are told apart
VALUE = 32  # a canvas value is a class and a multiple of this
_ON_GROUND = np.array([value in _FLOORS for value in range(256)])
#: the canvas value of every class in a group of each mark
_VALUES = [{name: i + VALUE * (0 if i in _FLOORS else mark) for name, i in CLASS.items()} for mark in range(MARKS)]


@dataclass
class Thing:
    """A vehicle or a person as it was placed: what it is, in which colour, how it is seen and where it stands."""

    name: str
    colour: str
    view: str
    place: str
    value: int  # on the canvas
    first: int  # among the faces
    last: int
    visible: float = 0.0  # share of the frame


def scaled(colour: Colour, by: float) -> Colour:
    """A colour made darker or lighter.

    >>> scaled((100.0, 50.0, 10.0), 2)
    (200.0, 100.0, 20.0)
    """
    return colour[0] * by, colour[1] * by, colour[2] * by


def _array(rows: list[tuple[float, ...]], columns: int) -> np.ndarray:
    return np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * columns).reshape(-1, columns)


class Frame(NamedTuple):
    """A wall's or a thing's own metres: where (p, y, q) is, in the street's x and z."""

    x: float
    z: float
    p: tuple[float, float]  # x and z of a metre along the first
    q: tuple[float, float]  # x and z of a metre along the second
    bent: bool = False  # whether it keeps to the bend of the street, point by point


class Faces:
    """Faces in groups; the groups are painted in the order of their distance, the faces of one as they were added.

    Rectangles and polygons are kept in their frames' metres and brought to the street all at once.
    """

    def __init__(self, camera: Camera, air: Air) -> None:
        self.camera, self.air = camera, air
        self.frames: list[tuple[float, ...]] = [(0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0)]
        self.corners: list[tuple[float, ...]] = []  # frame, p, y, q
        self.arrays: list[np.ndarray] = []
        self.rectangles: list[tuple[float, ...]] = []  # frame, from and to along p, bottom, top, q
        #: which of the three, points, polygons that do not overlap, distance, canvas value, red, green, blue, shine
        self.items: list[tuple[float, ...]] = []
        self.shadows: list[np.ndarray] = []
        self.lights: list[tuple[float, float, float, float, Colour]] = []  # x, y, z, radius, colour
        self.things: list[Thing] = []
        self.key = 1e9
        self._mark = 0
        self._values = _VALUES[0]
        self._placed: tuple[np.ndarray, ...] | None = None

    def begin(self, distance: float) -> None:
        """Start a group at a distance; its faces are marked apart from those of the groups before."""
        self.key = distance
        self._mark = (self._mark + 1) % MARKS
        self._values = _VALUES[self._mark]

    def frame(self, frame: Frame) -> int:
        """Register a frame; the number stands for it in `add` and `fill`."""
        self.frames.append((frame.x, frame.z, *frame.p, *frame.q, float(frame.bent)))
        return len(self.frames) - 1

    def _note(self, pool: int, points: int, count: int, name: str, colour: Colour, shine: float) -> None:
        self.items.append((pool, points, count, self.key, self._values[name], *colour, shine))

    def add(self, name: str, points: np.ndarray, colour: Colour, shine: float = 0.0) -> None:
        """Add a polygon K 3 of true places, or N of them N K 3 that do not overlap; `shine` is light of its own."""
        count = len(points) if points.ndim == 3 else 1
        flat = points.reshape(-1, 3)
        self.arrays.append(flat)
        self._note(1, len(flat), count, name, colour, shine)

    def pieces(self, points: np.ndarray, pieces: Sequence[tuple[int, str, Colour, float]]) -> None:
        """Add polygons of true places that lie after one another: points, class, colour and shine of each."""
        self.arrays.append(points)
        for count, name, colour, shine in pieces:
            self._note(1, count, 1, name, colour, shine)

    def poly(self, name: str, frame: int, points: Sequence[tuple[float, float, float]], colour: Colour,
             shine: float = 0.0) -> None:  # fmt: skip
        """Add a polygon of (p, y, q) in a frame."""
        self.corners.extend([(frame, *point) for point in points])
        self._note(0, len(points), 1, name, colour, shine)

    def fill(self, name: str, frame: int, boxes: Sequence[tuple[float, ...]], colour: Colour, q: float = 0.0,
             shine: float = 0.0) -> None:  # fmt: skip
        """Add upright rectangles (from, to, bottom, top) along p that do not overlap."""
        if boxes:
            self.rectangles.extend([(frame, *box, q) for box in boxes])
            self._note(2, 4 * len(boxes), len(boxes), name, colour, shine)

    def thing(self, name: str, colour: str, view: str, place: str, first: int, of: str) -> None:
        """Record that the faces from `first` on are one thing, of a class."""
        self.things.append(Thing(name, colour, view, place, self._values[of], first, len(self.items)))

    def shadow(self, x: float, z: float, wide: float, long: float, heading: float, tall: float) -> None:
        """A box's shadow on the ground, and where the light comes from sideways, that of its height."""
        c, s = math.cos(heading), math.sin(heading)
        base = [(x + a * c + b * s, 0.0, z - a * s + b * c) for a, b in
                ((-wide, -long), (wide, -long), (wide, long), (-wide, long))]  # fmt: skip
        self.shadows.append(np.array(base))
        if self.air.sun and z < 50:
            slant = np.array((-self.air.direction[0], 0.0, -self.air.direction[2])) / self.air.direction[1] * tall
            hull = cv2.convexHull(np.concatenate([base, np.array(base) + slant])[:, ::2].astype(np.float32))[:, 0]
            self.shadows.append(np.stack([hull[:, 0], np.zeros(len(hull)), hull[:, 1]], 1))

    def round_shadow(self, x: float, z: float, radius: float, low: float, high: float) -> None:
        """The shadow of something round that reaches from one height to another."""
        c, b = self.air.direction, self.air.direction[1]
        middle = (low + high) / 2 if self.air.sun else 0.0
        tall = (high - low) / 2 if self.air.sun else 0.0
        along = (c[0] / b, c[2] / b)
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        ring = np.zeros((12, 3))
        ring[:, 0] = (
            x - along[0] * (middle + tall * np.cos(turn)) + radius * np.sin(turn) * (1 if self.air.sun else 0.7)
        )
        ring[:, 2] = z - along[1] * (middle + tall * np.cos(turn)) + radius * np.cos(turn) * 0.8
        self.shadows.append(ring)

    def _true(self) -> np.ndarray:
        """All points' true places N 3: corners, then arrays, then rectangles."""
        frames = np.array(self.frames)
        corners, boxes = _array(self.corners, 4), _array(self.rectangles, 6)
        own = np.empty((len(corners) + 4 * len(boxes), 3))
        own[: len(corners)] = corners[:, 1:]
        sides = own[len(corners) :].reshape(-1, 4, 3)
        sides[..., 0] = boxes[:, (1, 2, 2, 1)]
        sides[..., 1] = boxes[:, (3, 3, 4, 4)]
        sides[..., 2] = boxes[:, 5:]
        f = frames[np.concatenate([corners[:, 0], np.repeat(boxes[:, 0], 4)]).astype(np.intp)]
        out = np.empty_like(own)
        out[:, 1] = own[:, 1]
        out[:, 2] = f[:, 1] + own[:, 0] * f[:, 3] + own[:, 2] * f[:, 5]
        out[:, 0] = f[:, 0] + own[:, 0] * f[:, 2] + own[:, 2] * f[:, 4]
        out[:, 0] += f[:, 6] * (self.camera.bend / 2) * out[:, 2] ** 2
        return np.concatenate([out[: len(corners)], *self.arrays, out[len(corners) :]])

    def _place(self) -> tuple[np.ndarray, ...]:
        """Points on the picture N 2; of every item its first point, its colour in its light and air, its box."""
        if self._placed is None:
            points = self._true()
            items = _array(self.items, 9)
            order = np.argsort(items[:, 0], kind="stable")  # as the points lie
            starts = np.empty(len(items), np.intp)
            begins = np.concatenate([[0], np.cumsum(items[order, 1])[:-1]]).astype(np.intp)
            starts[order] = begins
            deep, low, high = (np.empty(len(items)), np.empty((len(items), 2)), np.empty((len(items), 2)))
            deep[order] = np.add.reduceat(points[:, 2], begins)
            deep /= items[:, 1]
            flat = self.camera.project(points)
            low[order], high[order] = np.minimum.reduceat(flat, begins), np.maximum.reduceat(flat, begins)
            shine = items[:, 8:]
            colours = items[:, 5:8] * (self.air.tint * (1 - shine) + shine)
            haze = self.air.haze(deep) * (1 - 0.6 * shine[:, 0])
            haze = np.where(_ON_GROUND[items[:, 4].astype(np.intp)], 0.0, haze)[:, None]
            colours = colours * (1 - haze) + self.air.low * 255 * haze
            shown = np.concatenate([np.clip(np.rint(colours), 0, 255), items[:, 4:5]], 1)
            self._placed = flat, starts, shown, low, high
        return self._placed

    def raster(self, size: int) -> np.ndarray:
        """Paint all faces: big big 4 uint8, red, green, blue and the canvas value, at SUPER times the size."""
        big = size * SUPER
        canvas = np.empty((big, big, 4), np.uint8)
        points, first, colours, low, high = self._place()
        shown, starts = colours.tolist(), first.tolist()
        canvas.view(np.uint32)[:] = np.array((*(self.air.low * 255), CLASS["sky"])).astype(np.uint8).view(np.uint32)
        fixed = np.rint(np.clip(points, -30, 30) * (big << _SHIFT) - (1 << _SHIFT) / 2).astype(np.int32)
        inside = np.logical_and(low < 1, high > 0).min(1)
        order = np.argsort([-item[3] for item in self.items], kind="stable")
        for i in order[inside[order]].tolist():
            n, count = self.items[i][1:3]
            part = fixed[starts[i] : starts[i] + int(n)]
            shapes = [part] if count == 1 else list(part.reshape(int(count), -1, 2))
            cv2.fillPoly(canvas, shapes, shown[i], cv2.LINE_8, _SHIFT)
        return canvas

    def measure(self, canvas: np.ndarray) -> None:
        """Note of every thing how much of it the canvas shows."""
        _, _, _, low, high = self._place()
        side = canvas.shape[0]
        for thing in self.things:
            x0, y0 = np.clip(low[thing.first : thing.last].min(0), 0, 1).tolist()
            x1, y1 = np.clip(high[thing.first : thing.last].max(0), 0, 1).tolist()
            window = canvas[int(y0 * side) : int(y1 * side) + 1, int(x0 * side) : int(x1 * side) + 1, 3]
            thing.visible = float(np.count_nonzero(window == thing.value)) / side**2
