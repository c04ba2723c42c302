"""Things with depth: flat faces in the room, built from boxes, drums and puffs, and the order to paint them in."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from miniworld.world.bedroom.camera import NEAR, Camera, clip_near
from miniworld.world.bedroom.classes import CLASS

Point = tuple[float, float, float]
Colour = tuple[float, float, float]

PATTERNS = (
    "plain", "stripes", "bands", "checks", "planks", "tiles", "folds", "dots", "tufts", "fade", "border", "rings",
    "grain", "zigzag", "bricks", "seams", "patches",
)  # fmt: skip
_CODE = {name: i for i, name in enumerate(PATTERNS)}
SQUARE = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
_TURN = np.linspace(0, 2 * np.pi, 20, endpoint=False)
CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)


_HALF = np.linspace(0, np.pi, 8)
_ARC = np.stack([np.cos(_HALF), np.sin(_HALF)], 1)


def squircle(power: float) -> np.ndarray:
    """A closed outline between a circle (power 2) and a square, 20 points of (u, v)."""
    return np.sign(CIRCLE) * np.abs(CIRCLE) ** (2 / power)


_SQUIRCLES = {power: squircle(power) for power in (2.0, 2.6, 3.4, 5.0)}


class Paint(NamedTuple):
    """A colour in [0, 1], and how a second one lies over it; `across` and `along` count repeats a metre.

    `round_` bends the face's normal at its sides, across and along: 0 is flat, 1 a half cylinder. `glow` is light of
    its own, `grain` the strength of fine noise.
    """

    colour: Colour
    second: Colour = (0.0, 0.0, 0.0)
    pattern: str = "plain"
    across: float = 1.0
    along: float = 1.0
    round_: tuple[float, float] = (0.0, 0.0)
    glow: float = 0.0
    grain: float = 0.006

    def but(self, **changes: Any) -> Paint:
        """The same paint with some of its fields changed."""
        return self._replace(**changes)


def shade(colour: Colour, by: float) -> Colour:
    """A colour made darker or lighter.

    >>> shade((0.5, 0.25, 1.0), 2)
    (1.0, 0.5, 1.0)
    """
    return (min(colour[0] * by, 1.0), min(colour[1] * by, 1.0), min(colour[2] * by, 1.0))


def times(colour: Colour, k: float) -> Colour:
    """A colour of light made weaker or stronger."""
    return (colour[0] * k, colour[1] * k, colour[2] * k)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Between two colours: a at 0, b at 1."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


@dataclass(frozen=True)
class Lamp:
    """A light in the room: where it is, its colour times its strength, and whether a shade sends it up and down."""

    at: Point
    colour: Colour
    shaded: bool = False


class Solids:
    """Faces o + u a + v b with an outline of (u, v), each with a class and a paint, grouped into items.

    An item is what is painted at once; items are sorted by what can hide what, from the boxes that bound them, save
    for those added while `lining` is true: the walls and what lies flat on the floor are painted before all others.
    """

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.rows: list[tuple[float, ...]] = []
        self.outlines: list[np.ndarray] = []
        self.items: list[int] = []  # of each face
        self.things: list[int] = []  # of each face
        self.blockers: list[tuple[int, Point, Point]] = []  # thing, and the box that keeps light from what is near
        self.lamps: list[Lamp] = []
        self.lined: set[int] = set()  # items
        self.lining = False
        self.item = self.thing = 0

    def begin(self) -> int:
        """A new thing (a bed, a lamp): what follows casts no soft shadow on itself."""
        self.thing += 1
        return self.thing

    def block(self, lo: Point, hi: Point) -> None:
        """Let the current thing darken its surroundings as a box."""
        self.blockers.append((self.thing, lo, hi))

    def sheet(self, name: str, o: Point, a: Point, b: Point, paint: Paint, outline: np.ndarray = SQUARE,
              join: bool = False) -> None:  # fmt: skip
        """Add one flat face; with `join` it belongs to the item before it, and is painted over it."""
        if not join:
            self.item += 1
            if self.lining:
                self.lined.add(self.item)
        self.items.append(self.item)
        self.things.append(self.thing)
        self.outlines.append(outline)
        la, lb = math.sqrt(a[0] ** 2 + a[1] ** 2 + a[2] ** 2), math.sqrt(b[0] ** 2 + b[1] ** 2 + b[2] ** 2)
        self.rows.append(
            (*o, *a, *b, *paint.colour, *paint.second, *paint.round_, _CODE[paint.pattern], paint.across * la,
             paint.along * lb, paint.glow, paint.grain, CLASS[name])
        )  # fmt: skip

    def box(self, name: str, lo: Point, hi: Point, paint: Paint, top: tuple[str, Paint] | None = None) -> None:
        """Add the faces of an upright box that the camera sees; `top` gives its upper face another class and paint."""
        (x0, y0, z0), (x1, y1, z1) = lo, hi
        ex, ey, ez = self.camera.eye
        x, y, z = (x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2
        dx, dy, dz = (x1 - x0) / 2, (y1 - y0) / 2, (z1 - z0) / 2
        join = False
        if not x0 <= ex <= x1:
            self.sheet(name, (x0 if ex < x0 else x1, y, z), (0, 0, dz), (0, dy, 0), paint, join=join)
            join = True
        if not z0 <= ez <= z1:
            self.sheet(name, (x, y, z0 if ez < z0 else z1), (dx, 0, 0), (0, dy, 0), paint, join=join)
            join = True
        if not y0 <= ey <= y1:
            up = ey > y1
            label, cover = top if top and up else (name, paint)
            self.sheet(label, (x, y1 if up else y0, z), (dx, 0, 0), (0, 0, dz), cover, join=join)

    def _facing(self, o: Point) -> Point:
        """The level direction from a point to the eye, of length 1."""
        x, z = self.camera.eye[0] - o[0], self.camera.eye[2] - o[2]
        far = math.hypot(x, z) or 1.0
        return (x / far, 0.0, z / far)

    def drum(self, name: str, foot: Point, tall: float, r0: float, r1: float, paint: Paint, cap: Paint | None = None,
             join: bool = False, round_: float = 0.85) -> None:  # fmt: skip
        """Add an upright drum or cone, r0 wide below and r1 above; `cap` paints the end that is seen."""
        x, y, z = foot
        fx, _, fz = self._facing(foot)
        far = max(math.hypot(self.camera.eye[0] - x, self.camera.eye[2] - z), 0.3)
        wide, half = max(r0, r1), tall / 2
        low = (y - self.camera.eye[1]) / far * r0 / half  # how far the near rim lies under the drum's foot
        high = (y + tall - self.camera.eye[1]) / far * r1 / half
        outline = np.concatenate([_ARC * (r0 / wide, low) - (0, 1), _ARC * (-r1 / wide, high) + (0, 1)])
        paint = paint.but(round_=(round_, paint.round_[1]))
        middle = (x, y + half, z)
        self.sheet(name, middle, (-fz * wide, 0.0, fx * wide), (0.0, half, 0.0), paint, outline, join)
        if cap is not None:
            above = self.camera.eye[1] > y + tall
            if above or self.camera.eye[1] < y:
                r, level = (r1, y + tall) if above else (r0, y)
                self.sheet(name, (x, level, z), (r, 0, 0), (0, 0, r), cap, CIRCLE, True)

    def puff(self, name: str, o: Point, a: Point, b: Point, c: Point, paint: Paint, power: float = 3.4,
             join: bool = False) -> None:  # fmt: skip
        """Add a soft solid with the half axes a, b, c: its outline as the camera sees it, bulging towards it."""
        eye = [self.camera.eye[k] - o[k] for k in range(3)]
        # towards the eye, where the solid is a ball: its axes are at right angles
        w = [sum(e * h for e, h in zip(eye, half)) / sum(h * h for h in half) for half in (a, b, c)]
        far = math.sqrt(w[0] ** 2 + w[1] ** 2 + w[2] ** 2)
        w0, w1, w2 = w[0] / far, w[1] / far, w[2] / far
        if abs(w0) < 0.9:  # the first axis, seen from there, and the one across it
            k = math.sqrt(1 - w0 * w0)
            first, second = ((1 - w0 * w0) / k, -w0 * w1 / k, -w0 * w2 / k), (0.0, w2 / k, -w1 / k)
        else:
            k = math.sqrt(1 - w1 * w1)
            first, second = (-w1 * w0 / k, (1 - w1 * w1) / k, -w1 * w2 / k), (-w2 / k, 0.0, w0 / k)
        across, along = ((f[0] * a[0] + f[1] * b[0] + f[2] * c[0], f[0] * a[1] + f[1] * b[1] + f[2] * c[1],
                          f[0] * a[2] + f[1] * b[2] + f[2] * c[2]) for f in (first, second))  # fmt: skip
        paint = paint.but(round_=(0.8, 0.8)) if paint.round_ == (0.0, 0.0) else paint
        self.sheet(name, o, across, along, paint, _SQUIRCLES[power], join)

    def cushion(self, name: str, lo: Point, hi: Point, edge: float, paint: Paint) -> None:
        """Add an upright box whose upper edges are cut off aslant: a mattress or what covers one."""
        (x0, _, z0), (x1, y1, z1) = lo, hi
        self.box(name, lo, (x1, y1 - edge, z1), paint)
        if self.camera.eye[1] <= y1:
            return
        x, y, z, e = (x0 + x1) / 2, y1 - edge / 2, (z0 + z1) / 2, edge / 2
        dx, dz = (x1 - x0) / 2, (z1 - z0) / 2
        for side, half, way in ((x0, dz, -1), (x1, dz, 1)):
            cut = np.array([(-1, -1), (1, -1), (1 - edge / half, 1), (edge / half - 1, 1)])
            self.sheet(name, (side - way * e, y, z), (0, 0, half), (-way * e, e, 0), paint, cut, True)
        for side, half, way in ((z0, dx, -1), (z1, dx, 1)):
            cut = np.array([(-1, -1), (1, -1), (1 - edge / half, 1), (edge / half - 1, 1)])
            self.sheet(name, (x, y, side - way * e), (half, 0, 0), (0, e, -way * e), paint, cut, True)
        self.sheet(name, (x, y1, z), (dx - edge, 0, 0), (0, 0, dz - edge), paint, join=True)

    def frozen(self) -> Faces:
        """All faces as arrays, seen by the camera and in painting order."""
        return _frozen(self)


@dataclass(frozen=True)
class Faces:
    """F faces as arrays: geometry in the room, paint, class, and outlines on the picture in painting order."""

    o: np.ndarray  # F 3
    a: np.ndarray  # F 3, half axis
    b: np.ndarray  # F 3
    normal: np.ndarray  # F 3, of length 1, towards the camera
    colour: np.ndarray  # F 3
    second: np.ndarray  # F 3
    round_: np.ndarray  # F 2
    pattern: np.ndarray  # F, codes of PATTERNS
    repeats: np.ndarray  # F 2, for u and v from 0 to 1
    glow: np.ndarray  # F
    grain: np.ndarray  # F
    classes: np.ndarray  # F uint8
    things: np.ndarray  # F
    polygons: list[tuple[int, np.ndarray]]  # face, N 2 shares of the frame's side

    def but(self, **changes: Any) -> Faces:
        """The same faces with some arrays replaced."""
        return replace(self, **changes)


def _frozen(solids: Solids) -> Faces:
    rows = np.array(solids.rows, np.float64)
    o, a, b = rows[:, :3], rows[:, 3:6], rows[:, 6:9]
    camera = solids.camera
    normal = np.cross(a, b)
    normal /= np.maximum(np.sqrt((normal**2).sum(1))[:, None], 1e-12)
    normal *= np.sign(((camera.eye - o) * normal).sum(1))[:, None]
    counts = np.array([len(outline) for outline in solids.outlines])
    face = np.repeat(np.arange(len(rows)), counts)
    uv = np.concatenate(solids.outlines)
    points = o[face] + uv[:, :1] * a[face] + uv[:, 1:] * b[face]
    seen = camera.view(points)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    nearest = np.minimum.reduceat(seen[:, 2], starts)
    farthest = np.maximum.reduceat(seen[:, 2], starts)
    flat = camera.project(np.maximum(seen, (-1e9, -1e9, NEAR)))
    items = np.array(solids.items)
    first = np.concatenate([[0], np.flatnonzero(np.diff(items)) + 1])  # of each item, among the faces
    lined = np.isin(items[first], list(solids.lined))
    rest = np.flatnonzero(~lined)
    lo, hi, left, right = (
        edge.reduceat(x, starts[first])[rest] for x in (points, flat) for edge in (np.minimum, np.maximum)
    )
    order = [*np.flatnonzero(lined), *rest[_order(lo, hi, left, right, np.array(camera.eye))]]
    last = np.concatenate([first[1:], [len(rows)]])
    polygons = []
    for item in order:
        for f in range(first[item], last[item]):
            if farthest[f] <= NEAR:
                continue
            span = slice(starts[f], starts[f] + counts[f])
            if nearest[f] >= NEAR:
                polygons.append((f, flat[span]))
            else:
                cut = clip_near(seen[span])
                if len(cut) > 2:
                    polygons.append((f, camera.project(cut)))
    return Faces(
        o=o, a=a, b=b, normal=normal, colour=rows[:, 9:12], second=rows[:, 12:15], round_=rows[:, 15:17],
        pattern=rows[:, 17].astype(np.int32), repeats=rows[:, 18:20], glow=rows[:, 20], grain=rows[:, 21],
        classes=rows[:, 22].astype(np.uint8), things=np.array(solids.things), polygons=polygons,
    )  # fmt: skip


def _order(lo: np.ndarray, hi: np.ndarray, left: np.ndarray, right: np.ndarray, eye: np.ndarray) -> list[int]:
    """The items so that none is painted before what it may hide; those that meet keep their order.

    `lo` and `hi` N 3 bound them in the room, `left` and `right` N 2 on the picture.
    """
    slack = 2e-3
    n = len(lo)
    clear = np.zeros((n, n), bool)  # whether the first cannot hide the second
    apart = np.zeros((n, n), bool)  # on the picture
    for k in range(3):
        clear |= ((hi[:, None, k] <= lo[None, :, k] + slack) & (eye[k] >= hi[:, None, k] - slack)) | (
            (lo[:, None, k] >= hi[None, :, k] - slack) & (eye[k] <= lo[:, None, k] + slack)
        )
    for k in range(2):
        apart |= left[:, None, k] >= right[None, :, k]
    need = ~clear.T & ~(apart | apart.T)  # the first must be painted before the second
    both = need & need.T
    need &= ~np.tril(both)
    np.fill_diagonal(need, False)
    waits = need.sum(0).astype(np.int64)
    order: list[int] = []
    for _ in range(n):
        item = int(waits.argmin())  # 0, or in a circle the one that waits for fewest
        order.append(item)
        waits[need[item]] -= 1
        waits[item] = 1 << 30
    return order
