"""What lies flat: road, lines, tracks, crossings, sidewalks, grass; and what closes the view far away."""

from __future__ import annotations

import numpy as np

from miniworld.world.street.faces import Colour, Faces, scaled
from miniworld.world.street.layout import FAR, Plan

Many = np.ndarray | float
_STEPS = np.concatenate([[-2.0, 0.6], np.geomspace(1.5, FAR, 18)])
GRASS: dict[str, Colour] = {
    "summer": (104, 150, 66), "spring": (122, 170, 76), "autumn": (150, 142, 70), "winter": (226, 230, 238),
}  # fmt: skip


def ribbon(faces: Faces, name: str, x0: float, x1: float, colour: Colour, z: np.ndarray = _STEPS) -> None:
    """A strip of ground along the street between two distances from the lane's middle."""
    edge = np.zeros((2 * len(z), 3))
    edge[: len(z), 0], edge[: len(z), 2] = x0, z
    edge[len(z) :, 0], edge[len(z) :, 2] = x1, z[::-1]
    faces.add(name, faces.camera.along(edge), colour)


def patches(faces: Faces, name: str, left: Many, right: Many, near: Many, far: Many, colour: Colour) -> None:
    """N rectangles of ground."""
    x0, x1, z0, z1 = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, np.float64)) for v in (left, right, near, far)))
    corners = np.zeros((len(x0), 4, 3))
    corners[:, :, 0] = np.stack([x0, x1, x1, x0], 1)
    corners[:, :, 2] = np.stack([z0, z0, z1, z1], 1)
    faces.add(name, faces.camera.along(corners), colour)


def draw_ground(rng: np.random.Generator, faces: Faces, plan: Plan, season: str) -> None:
    """The whole floor of a street, the farthest group of all but the skyline."""
    snow, wet = season == "winter", faces.air.weather == "rain"
    tone = float(rng.uniform(92, 122)) * (0.8 if wet else 1.0)
    road: Colour = (tone, tone, tone + 5) if not snow else (tone + 42, tone + 44, tone + 52)
    warm = float(rng.uniform(-4, 12))
    stone = float(rng.uniform(156, 184)) * (0.85 if wet else 1.0)
    walk: Colour = (stone + warm, stone, stone - warm) if not snow else (222, 226, 234)
    kerb: Colour = (192, 190, 186) if not snow else (236, 238, 244)
    line: Colour = (228, 228, 222) if not snow else (200, 202, 208)
    grass = GRASS[season]
    faces.begin(9e8)
    open_ground = "terrain" if plan.kind in ("suburb", "avenue", "industrial street") else "sidewalk"
    wide = np.array([(-900.0, 0.0, -1.0), (900.0, 0.0, -1.0), (900.0, 0.0, 600.0), (-900.0, 0.0, 600.0)])
    faces.add(open_ground, wide, grass if open_ground == "terrain" else walk)
    for side in (-1, 1):
        edge = plan.edge(side)
        a, b = edge + side * plan.verge, edge + side * (plan.verge + plan.walk)
        ribbon(faces, "sidewalk", a, b, walk)
        if plan.verge:
            ribbon(faces, "terrain", edge, a, grass)
        seams = np.geomspace(2, 40, 16)
        patches(faces, "sidewalk", min(a, b), max(a, b), seams, seams * 1.012, scaled(walk, 0.9))
        _drives(rng, faces, plan, side, walk)
    ribbon(faces, "road", plan.left, plan.right, road)
    if plan.cross:
        z0, z1 = plan.cross
        patches(faces, "road", -120, 120, z0, z1, road)
    for side in (-1, 1):
        edge = plan.edge(side)
        pieces = [(-2.0, FAR)] if plan.cross is None else [(-2.0, plan.cross[0]), (plan.cross[1], FAR)]
        for z0, z1 in pieces:
            inside = _STEPS[(z0 < _STEPS) & (z1 > _STEPS)]
            ribbon(faces, "sidewalk", edge, edge + side * 0.22, kerb, np.array([z0, *inside, z1]))
    _lines(rng, faces, plan, line, road, snow)
    if season == "autumn":
        _leaves(rng, faces, plan)


def _drives(rng: np.random.Generator, faces: Faces, plan: Plan, side: int, colour: Colour) -> None:
    """Paths from the sidewalk to houses with yards."""
    if not plan.yard or plan.kind == "avenue":
        return
    z = np.arange(rng.uniform(6, 14), 60, 14.0)
    a, b = plan.front(side), plan.edge(side)
    patches(faces, "sidewalk", min(a, b), max(a, b), z, z + 2.6, scaled(colour, 0.95))


def _lines(rng: np.random.Generator, faces: Faces, plan: Plan, line: Colour, road: Colour, snow: bool) -> None:
    """Lane lines, parking lines, tracks, patches of newer tar, and the zebra crossing."""
    dark = scaled(road, 0.9)
    for _ in range(int(rng.integers(0, 4))):
        z, x = float(rng.uniform(3, 30)), float(rng.uniform(plan.left, plan.right - 1.5))
        patches(faces, "road", x, x + rng.uniform(0.8, 1.6), z, z + rng.uniform(1.5, 6), dark)
    for _ in range(int(rng.integers(0, 4))):
        z, x = float(rng.uniform(3.5, 25)), float(rng.uniform(plan.left + 1, plan.right - 1))
        ring = np.array([(x + 0.34 * np.cos(t), 0.0, z + 0.34 * np.sin(t)) for t in np.arange(10) * 0.628])
        faces.add("road", faces.camera.along(ring), scaled(road, 0.78))
    if snow and not plan.tracks:  # where wheels have pressed it
        for x in (-0.75, 0.75, plan.middle - plan.lane / 2 - 0.75, plan.middle - plan.lane / 2 + 0.75):
            if x > plan.left:
                ribbon(faces, "road", x - 0.2, x + 0.2, scaled(road, 0.84))
    for x in plan.tracks:
        for rail in (-0.72, 0.72):
            ribbon(faces, "road", x + rail - 0.09, x + rail + 0.09, (72, 70, 72))
            ribbon(faces, "road", x + rail - 0.03, x + rail + 0.04, (188, 190, 196))
    starts = np.arange(rng.uniform(1, 7), FAR * 0.7, 7.0)
    blocked = plan.cross or (-1.0, -1.0)
    starts = starts[(starts + 3 < blocked[0] - 3.5) | (starts > blocked[1] + 3.5)]
    solid = plan.kind == "avenue" or (plan.kind == "crossing" and plan.edge(1) > plan.lane)
    wide = 0.075
    if plan.kind != "suburb" or rng.random() < 0.4:
        if solid:
            for z0, z1 in [(-2.0, FAR)] if plan.cross is None else [(-2.0, plan.cross[0] - 3.4), (plan.cross[1], FAR)]:
                steps = np.array([z0, *_STEPS[(z0 < _STEPS) & (z1 > _STEPS)], z1])
                for shift in (-0.12, 0.12):
                    ribbon(faces, "road", plan.middle + shift - wide, plan.middle + shift + wide, line, steps)
        elif len(starts) and not plan.oneway:
            patches(faces, "road", plan.middle - wide, plan.middle + wide, starts, starts + 3.2, line)
    lanes = [plan.lane / 2] if plan.right > plan.lane + (2.2 if plan.parking[1] else 0) else []
    if plan.kind == "avenue":
        lanes.append(plan.middle - plan.lane)
    for x in lanes:
        if len(starts):
            patches(faces, "road", x - wide, x + wide, starts, starts + 3.2, line)
    for side, parked in zip((-1, 1), plan.parking):
        if parked:
            x = plan.edge(side) - side * 2.15
            dashes = np.arange(2.0, 60.0, 1.6)
            patches(faces, "road", x - 0.05, x + 0.05, dashes, dashes + 0.8, line)
    zebras = []
    if plan.cross:
        zebras = [plan.cross[0] - 3.2, plan.cross[1] + 0.6]
        patches(faces, "road", -plan.lane / 2 + 0.2, plan.right - 0.2, plan.cross[0] - 4.2, plan.cross[0] - 3.8, line)
    elif plan.kind == "town centre" and rng.random() < 0.4:
        zebras = [float(rng.uniform(8, 20))]
    for z in zebras:
        bars = np.arange(plan.left + 0.4, plan.right - 0.5, 1.0)
        patches(faces, "road", bars, bars + 0.5, z, z + 2.7, line)


def _leaves(rng: np.random.Generator, faces: Faces, plan: Plan) -> None:
    """Fallen leaves along the kerbs."""
    for name, inside in (("road", -1), ("sidewalk" if not plan.verge else "terrain", 1)):
        z = 2.5 + 30 * rng.random(40) ** 2
        side = np.where(rng.random(40) < 0.5, -1, 1)
        x = np.where(side < 0, plan.left, plan.right) + side * inside * rng.uniform(0.3, 1.1, 40)
        patches(faces, name, x, x + 0.12, z, z + 0.1, ((196, 122, 48), (176, 96, 44))[int(rng.integers(2))])


def draw_skyline(rng: np.random.Generator, faces: Faces, plan: Plan, season: str) -> None:
    """What stands beyond the street's end: distant houses and trees along the whole horizon."""
    faces.begin(8e8)
    leaf: Colour = {"summer": (84, 116, 72), "spring": (98, 132, 78), "autumn": (136, 108, 66),
                    "winter": (150, 158, 164)}[season]  # fmt: skip
    deep = FAR * 1.6
    x = np.linspace(-220, 220, 60)
    if plan.kind != "suburb" or rng.random() < 0.3:
        edges = np.cumsum(rng.uniform(9, 20, 30)) - 230
        tops = rng.uniform(8, 26 if plan.kind != "industrial street" else 14, 29)
        for tone in (0, 1):
            w0, w1, h = edges[:-1][tone::2], edges[1:][tone::2], tops[tone::2]
            zero = np.zeros_like(h)
            z = np.full_like(h, deep + 5)
            quads = np.stack([np.stack([w0, zero, z], 1), np.stack([w0, h, z], 1), np.stack([w1, h, z], 1),
                              np.stack([w1, zero, z], 1)], 1)  # fmt: skip
            faces.add("building", quads, ((168, 152, 138), (150, 138, 134))[tone])
    if plan.kind not in ("industrial street", "avenue") and rng.random() < 0.3:
        _church(rng, faces, deep)
    a, b = rng.uniform(0, 6.3, 2)
    tall = 5.5 + 2.2 * np.sin(x * 0.11 + a) + 1.6 * np.sin(x * 0.37 + b) + rng.uniform(-1, 1, len(x))
    if plan.kind in ("suburb", "avenue"):
        tall = tall * 1.5
    top = np.stack([x, tall, np.full_like(x, deep)], 1)
    faces.add("vegetation", np.concatenate([top, [(220, -0.5, deep), (-220, -0.5, deep)]]), leaf)


def _church(rng: np.random.Generator, faces: Faces, deep: float) -> None:
    """A tower with a spire far off, near the street's end."""
    x, wide, tall = float(rng.normal(0, 22)), float(rng.uniform(4, 6)), float(rng.uniform(24, 34))
    stone = ((172, 150, 126), (190, 178, 160), (150, 112, 92))[int(rng.integers(3))]
    tower = [(x - wide, 0, deep), (x + wide, 0, deep), (x + wide, tall, deep), (x - wide, tall, deep)]
    faces.poly("building", 0, tower, stone)
    top = tall + float(rng.uniform(14, 22))
    spire = ((96, 120, 112), (110, 74, 66), (84, 82, 92))[int(rng.integers(3))]
    faces.poly("building", 0, [(x - wide * 1.15, tall, deep), (x + wide * 1.15, tall, deep), (x, top, deep)], spire)
    faces.poly("building", 0, [(x - 1, tall * 0.7, deep), (x + 1, tall * 0.7, deep), (x + 1, tall * 0.84, deep),
                               (x - 1, tall * 0.84, deep)], (70, 66, 70))  # fmt: skip
