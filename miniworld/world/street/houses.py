"""What lines a street: houses with their windows, shops and roofs; hedges, walls and fences before them."""

from __future__ import annotations

import numpy as np

from miniworld.world.street.faces import Colour, Faces, Frame, scaled
from miniworld.world.street.layout import FAR, Plan
from miniworld.world.street.pick import pick
from miniworld.world.street.solids import Box

Way = tuple[float, float]

_TOWN: tuple[Colour, ...] = (
    (224, 206, 172), (206, 168, 128), (186, 110, 88), (232, 226, 212), (172, 160, 150), (214, 186, 130),
    (190, 196, 200), (168, 92, 74), (208, 176, 160), (150, 150, 156), (196, 204, 178), (226, 190, 150),
)  # fmt: skip
_PALE: tuple[Colour, ...] = ((238, 232, 218), (230, 210, 176), (196, 116, 92), (214, 224, 226), (226, 200, 190))
_WORKS: tuple[Colour, ...] = ((160, 166, 172), (178, 172, 160), (150, 104, 86), (132, 146, 160), (196, 194, 188))
_ROOFS: tuple[Colour, ...] = ((150, 76, 58), (120, 70, 60), (92, 90, 96), (166, 96, 68), (84, 76, 78))
_AWNINGS: tuple[Colour, ...] = (
    (186, 52, 48),
    (44, 110, 80),
    (48, 78, 148),
    (218, 170, 62),
    (120, 60, 110),
    (230, 226, 216),
)
_GLASS: Colour = (92, 112, 134)
_LIT: Colour = (255, 208, 122)


class _Front:
    """An upright wall: boxes on it are (from, to, bottom, top), seen from outside."""

    def __init__(self, faces: Faces, x: float, z: float, run: Way, out: Way, straight: bool) -> None:
        self.faces, self.out = faces, out
        shift = 0.0 if straight else faces.camera.bend / 2 * z * z
        self.frame = faces.frame(Frame(x + shift, z, run, out, straight))
        self.light = faces.air.shade(out[0], 0.0, out[1])

    def fill(self, name: str, boxes: list[Box], colour: Colour, by: float = 1.0, away: float = 0.0,
             shine: float = 0.0) -> None:  # fmt: skip
        """Paint boxes of the wall in its light, `by` times as bright."""
        lit = colour if shine else scaled(colour, self.light * by)
        self.faces.fill(name, self.frame, boxes, lit, away, shine)


def _grid(wide: float, tall: float, floor: float, start: float, pane: Way, gap: float) -> list[Box]:
    """Windows of a wall in rows and columns."""
    columns, rows = max(1, int((wide - 0.6) / gap)), int((tall - start - 0.5) / floor)
    step, half = wide / columns, pane[0] / 2
    return [
        (step * (i + 0.5) - half, step * (i + 0.5) + half, start + k * floor + 0.8, start + k * floor + 0.8 + pane[1])
        for k in range(rows)
        for i in range(columns)
    ]


class House:
    """One house: a box with a front, an end that faces the camera, and a roof."""

    def __init__(self, rng: np.random.Generator, faces: Faces, style: str, snow: bool) -> None:
        self.rng, self.faces, self.style, self.snow = rng, faces, style, snow
        rows = {"town": _TOWN, "suburb": _PALE, "works": _WORKS}[style]
        by = rng.random(10).tolist()  # all at once, since streets have many houses
        r, g, b = rows[int(by[0] * len(rows))]
        self.colour: Colour = (r + 20 * (by[1] - 0.5), g + 20 * (by[2] - 0.5), b + 20 * (by[3] - 0.5))
        self.roof: Colour = (232, 236, 244) if snow else _ROOFS[int(by[4] * len(_ROOFS))]
        self.floor = 2.9 + 0.7 * by[5]
        self.pane = 0.9 + 0.6 * by[6], 1.3 + 0.6 * by[7]
        self.gap = 1.9 + 1.3 * by[8]
        self.lamps = faces.air.lamps
        self.shop = style == "town" and by[9] < 0.6

    def wall(self, front: _Front, wide: float, tall: float, fine: bool) -> None:
        """A wall with all that is on it."""
        rng, what = self.rng, "building"
        front.fill(what, [(0.0, wide, 0.0, tall)], self.colour)
        if self.style == "works":
            front.fill(what, [(0.3, wide - 0.3, tall * 0.62, tall * 0.8)], _GLASS)
            if fine:
                ribs = [(0.8 + 1.6 * k, 0.95 + 1.6 * k, 0.0, tall) for k in range(int(wide / 1.6))]
                front.fill(what, ribs, self.colour, 0.9)
                gate = wide * float(rng.uniform(0.2, 0.5))
                front.fill(what, [(gate, gate + 3.4, 0, tall * 0.5)], (104, 108, 114))
            return
        start = 3.4 if self.shop else 0.2
        panes = _grid(wide, tall, self.floor, start, self.pane, self.gap)
        if not panes:
            return
        tone = 1.14 if sum(self.colour) < 520 else 0.86
        if fine:
            front.fill(what, [(a - 0.12, b + 0.12, y - 0.14, t + 0.1) for a, b, y, t in panes], self.colour, tone)
            front.fill(what, [(0.0, wide, y, y + 0.16) for y in (start - 0.1, tall - 0.35) if y > 1], self.colour, tone)
        lit = (rng.random(len(panes)) < (0.45 if self.lamps else 0.0)).tolist()
        front.fill(what, [p for p, on in zip(panes, lit) if not on], _GLASS, 0.95)
        front.fill(what, [p for p, on in zip(panes, lit) if on], _LIT, shine=0.9)
        if self.shop:
            self._shop(front, wide)
        elif fine:
            at = wide * float(rng.uniform(0.35, 0.6))
            front.fill(what, [(at, at + 1.1, 0.0, 2.2)], _AWNINGS[int(rng.integers(5))], 0.7)

    def _shop(self, front: _Front, wide: float) -> None:
        rng, what = self.rng, "building"
        cloth = _AWNINGS[int(rng.integers(len(_AWNINGS)))]
        glow = 0.75 if self.lamps and rng.random() < 0.8 else 0.0
        middle = wide * 0.42
        front.fill(what, [(0.15, wide - 0.15, 0.0, 2.8)], cloth, 0.5)
        windows = [(0.4, middle, 0.5, 2.5), (middle + 1.5, wide - 0.4, 0.5, 2.5)]
        front.fill(what, windows, (250, 220, 160) if glow else (74, 88, 104), shine=glow)
        front.fill(what, [(middle + 0.3, middle + 1.2, 0.0, 2.4)], (64, 62, 66))
        front.fill(what, [(0.2, wide - 0.2, 2.75, 3.3)], cloth, shine=glow * 0.5)
        if rng.random() < 0.5:
            a, b = 0.3, wide - 0.3
            awning = [(a, 2.3, 1.1), (b, 2.3, 1.1), (b, 2.75, 0.0), (a, 2.75, 0.0)]
            front.faces.poly(what, front.frame, awning, scaled(cloth, front.light * 1.1))

    def stand(self, side: int, x: float, z0: float, z1: float, tall: float, deep: float, gable: float = 0.0, *,
              joined: bool = False) -> None:  # fmt: skip
        """Put it beside the street: its front at x, from z0 to z1; `gable` is how much its roof rises.

        `joined`: another house stands before it, wall to wall.
        """
        faces = self.faces
        faces.begin(z1)
        fine = z0 < 40
        front = beside(faces, side, x, z0, z1)
        bend = faces.camera.bend / 2
        near, far = bend * z0 * z0, bend * z1 * z1
        middle, back = x + side * deep / 2, x + side * deep
        if z0 > 1:
            end = _Front(faces, x if side > 0 else x - deep, z0, (1.0, 0.0), (0.0, -1.0), False)
            if joined:
                end.fill("building", [(0.0, deep, 0.0, tall)], self.colour)
            else:
                self.wall(end, deep, tall, fine)
            if gable:
                faces.poly(
                    "building",
                    0,
                    [(x + near, tall, z0), (middle + near, tall + gable, z0), (back + near, tall, z0)],
                    scaled(self.colour, end.light),
                )
        if z0 < 65:
            self.wall(front, z1 - z0, tall, fine)
        else:
            front.fill("building", [(0.0, z1 - z0, 0.0, tall)], self.colour, 0.9)
        if gable:
            eave = x - side * 0.4
            slope = [
                (eave + near, tall - 0.2, z0 - 0.4),
                (middle + near, tall + gable, z0 - 0.4),
                (middle + far, tall + gable, z1 + 0.4),
                (eave + far, tall - 0.2, z1 + 0.4),
            ]
            faces.poly("building", 0, slope, scaled(self.roof, faces.air.shade(-side * 0.6, 0.8, 0.0)))
        elif self.style == "town":
            front.fill("building", [(0.0, z1 - z0, tall - 0.1, tall + 0.35)], self.colour, 0.82, 0.25)
        if faces.air.sun and z0 < 70:
            self._shade(side, x, z0, z1, tall)

    def _shade(self, side: int, x: float, z0: float, z1: float, tall: float) -> None:
        """The house's shadow, where the light comes over it."""
        a, b, c = self.faces.air.direction
        if a * side < 0:
            return
        reach = min(tall, 9.0) / b
        foot = np.array(
            [(x, 0, z0), (x, 0, z1), (x - a * reach, 0, z1 - c * reach), (x - a * reach, 0, z0 - c * reach)]
        )
        self.faces.shadows.append(self.faces.camera.along(foot))


def beside(faces: Faces, side: int, x: float, z0: float, z1: float) -> _Front:
    """A wall along the street on a side, that looks at it."""
    if side > 0:
        return _Front(faces, x, z1, (0.0, -1.0), (-1.0, 0.0), True)
    return _Front(faces, x, z0, (0.0, 1.0), (1.0, 0.0), True)


def draw_houses(rng: np.random.Generator, faces: Faces, plan: Plan, season: str) -> None:
    """Houses along both sides, and along the road across where there is one."""
    snow = season == "winter"
    for side in (-1, 1):
        last = -99.0
        z = float(rng.uniform(-6, 0))
        x = plan.front(side)
        level = float(rng.uniform(9, 16))
        while z < FAR:
            if plan.kind == "suburb":
                wide, gap, style = float(rng.uniform(8, 12)), float(rng.uniform(2.5, 8)), "suburb"
                tall, deep, gable = float(rng.uniform(3.2, 6.2)), float(rng.uniform(7, 9)), float(rng.uniform(2.0, 3.2))
            elif plan.kind == "industrial street":
                wide, gap, style = float(rng.uniform(14, 26)), pick(rng, (0.0, 6.0)), "works"
                tall, deep, gable = float(rng.uniform(5, 9)), float(rng.uniform(12, 18)), 0.0
            else:
                wide, style = float(rng.uniform(7, 14)), "town"
                gap = float(rng.uniform(3, 9)) if rng.random() < 0.12 else 0.0
                tall, deep = level + float(rng.normal(0, 1.8)), float(rng.uniform(9, 12))
                gable = float(rng.uniform(2.2, 3.6)) if rng.random() < 0.6 else 0.0
            if plan.cross:
                z0, z1 = plan.cross
                margin = plan.walk
                if z < z1 + margin and z + wide > z0 - margin:
                    if z < z0 - margin - 4:
                        wide, gap = z0 - margin - z, 0.0
                    else:
                        z = z1 + margin
                        _across(rng, faces, plan, side, z, snow)
            house = House(rng, faces, style, snow)
            house.stand(side, x, z, z + wide, max(tall, 3.0), deep, gable, joined=z - last < 0.5)
            last = z + wide
            z += wide + gap


def _across(rng: np.random.Generator, faces: Faces, plan: Plan, side: int, z: float, snow: bool) -> None:
    """Houses that face us along the far side of the road across."""
    x = plan.front(side) + side * 11
    while abs(x) < 60:
        wide = float(rng.uniform(8, 13))
        house = House(rng, faces, "town", snow)
        faces.begin(z + 12)
        front = _Front(faces, x if side > 0 else x - wide, z, (1.0, 0.0), (0.0, -1.0), False)
        house.wall(front, wide, float(rng.uniform(9, 15)), True)
        x += side * wide


def draw_borders(rng: np.random.Generator, faces: Faces, plan: Plan, season: str) -> None:
    """Hedges, walls and fences between sidewalk and yard, piece by piece."""
    if not plan.yard:
        if plan.kind in ("town centre", "crossing", "tram street"):
            _railing(rng, faces, plan)
        return
    leaf = {"summer": (70, 112, 52), "spring": (92, 142, 62), "autumn": (112, 106, 50), "winter": (176, 190, 184)}[
        season
    ]
    for side in (-1, 1):
        z = float(rng.uniform(-3, 2))
        x = plan.edge(side) + side * (plan.verge + plan.walk + 0.15)
        while z < 80:
            long = float(rng.uniform(6, 13))
            what = pick(rng, ("hedge", "wall", "fence", "none"), (0.3, 0.22, 0.3, 0.18))
            faces.begin(z + 0.1)
            if what != "none":
                tall = {"hedge": 1.3, "wall": 1.15, "fence": 1.1}[what] * float(rng.uniform(0.8, 1.35))
                if plan.kind == "industrial street":
                    tall *= 1.5
                colour: Colour = leaf if what == "hedge" else (176, 166, 152) if rng.random() < 0.6 else (164, 98, 80)
                _piece(rng, faces, what, side, x, z, long, tall, colour)
            z += long + float(rng.uniform(0, 3))


def _piece(rng: np.random.Generator, faces: Faces, what: str, side: int, x: float, z: float, long: float, tall: float,
           colour: Colour) -> None:  # fmt: skip
    name = "vegetation" if what == "hedge" else what
    front = beside(faces, side, x, z, z + long)
    if what == "fence":
        wood: Colour = ((150, 112, 76), (232, 230, 224), (96, 104, 100))[int(rng.integers(3))]
        front.fill(name, [(0.0, long, 0.05, tall)], wood, 0.62)
        if z < 45:
            front.fill(name, [(0.3 * k, 0.3 * k + 0.19, 0.0, tall) for k in range(int(long / 0.3))], wood, 1.0, 0.03)
        return
    deep = 0.8 if what == "hedge" else 0.25
    if z > 1:
        end = _Front(faces, x if side > 0 else x - deep, z, (1.0, 0.0), (0.0, -1.0), False)
        end.fill(name, [(0.0, deep, 0.0, tall)], colour)
    front.fill(name, [(0.0, long, 0.0, tall)], colour)
    front.fill(name, [(0.0, long, tall - 0.14, tall)], colour, 1.16, 0.05)
    if what == "wall" and z < 45:
        joints = [(0.3 + 0.9 * k, 0.35 + 0.9 * k, 0.0, tall - 0.15) for k in range(int(long / 0.9))]
        front.fill(name, joints, colour, 0.88)


def _railing(rng: np.random.Generator, faces: Faces, plan: Plan) -> None:
    """Railings along the kerb, in towns."""
    if rng.random() > 0.3:
        return
    side = -1 if rng.random() < 0.5 else 1
    z, long = float(rng.uniform(5, 16)), float(rng.uniform(6, 16))
    if plan.cross:
        z = plan.cross[1] + 4
    x = plan.edge(side) + side * 0.35
    faces.begin(z + 1.0)
    front = beside(faces, -1, x, z, z + long)
    front.fill("fence", [(0.0, long, 0.12, 1.0)], (112, 114, 118))
    front.fill("fence", [(0.0, long, 0.9, 1.02)], (176, 178, 182))
    front.fill("fence", [(0.45 * k, 0.45 * k + 0.1, 0.0, 0.95) for k in range(int(long / 0.45))], (176, 178, 182))
