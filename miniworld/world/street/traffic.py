"""Which vehicles are out, in which colours, and where they drive and park."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from miniworld.world.kinds import COLOURS
from miniworld.world.street.faces import Faces
from miniworld.world.street.layout import Plan
from miniworld.world.street.pick import pick
from miniworld.world.street.vehicles import bus, car, tram, truck

PAINTS = ("white", "black", "gray", "red", "blue", "green", "yellow", "orange", "brown")
_ODDS = (0.17, 0.15, 0.19, 0.15, 0.14, 0.07, 0.06, 0.04, 0.03)
_BIG_PAINTS = ("red", "yellow", "white", "blue", "green", "orange")
_DRAW = {"car": car, "bus": bus, "truck": truck, "train": tram}
LONG = {"car": 4.6, "bus": 11.5, "truck": 8.5, "train": 11.0}


def put(rng: np.random.Generator, faces: Faces, name: str, x: float, z: float, heading: float, where: str,
        moving: bool = True) -> None:  # fmt: skip
    """One vehicle at a place of the straight street; `z` is its near end, unless it drives across."""
    colour = pick(rng, PAINTS, _ODDS) if name == "car" else pick(rng, _BIG_PAINTS)
    paint = np.clip(np.array(COLOURS[colour]) + rng.normal(0, 8) + rng.normal(0, 3, 3), 8, 250)
    view = "side" if abs(math.sin(heading)) > 0.5 else "back" if math.cos(heading) > 0 else "front"
    middle = z + (0 if view == "side" else LONG[name] / 2)
    ax, az, turn = faces.camera.anchor(x, middle)
    faces.begin(z)
    first = len(faces.items)
    r, g, b = paint.tolist()
    _DRAW[name](rng, faces, ax, az, heading + turn, (r, g, b), moving)
    faces.thing(name, colour, view, where, first, name)


def _parked(rng: np.random.Generator, faces: Faces, plan: Plan) -> None:
    """Cars in the parking lanes, in the direction of the traffic."""
    for side, parked in zip((-1, 1), plan.parking):
        if not parked:
            continue
        x, where = plan.edge(side) - side * 1.08, "left" if side < 0 else "right"
        z, full = float(rng.uniform(3.0, 9)), float(rng.uniform(0.45, 0.95))
        while z < 55:
            if rng.random() < full:
                heading = 0.0 if (side > 0 or plan.oneway) == (rng.random() < 0.93) else math.pi
                name = "truck" if rng.random() < (0.15 if plan.kind == "industrial street" else 0.03) else "car"
                put(
                    rng,
                    faces,
                    name,
                    x + float(rng.normal(0, 0.06)),
                    z,
                    heading + float(rng.normal(0, 0.012)),
                    where,
                    moving=False,
                )
                z += LONG[name] - 4.6
            z += float(rng.uniform(5.2, 6.4))


def _lane(rng: np.random.Generator, faces: Faces, plan: Plan, x: float, heading: float, where: str, start: float,
          dense: float) -> None:  # fmt: skip
    """Vehicles behind one another in a lane."""
    z = start
    while z < 75:
        if plan.cross and plan.cross[0] - 5 < z + 4.5 and z < plan.cross[1]:
            z = plan.cross[1] + 4.5
        works = plan.kind == "industrial street"
        odds = (0.84, 0.09, 0.07) if not works else (0.6, 0.05, 0.35)
        name = pick(rng, ("car", "bus", "truck"), odds)
        if plan.kind == "suburb" and name == "bus" and rng.random() < 0.5:
            name = "car"
        put(rng, faces, name, x + float(rng.normal(0, 0.12)), z, heading + float(rng.normal(0, 0.01)), where)
        z += LONG[name] + float(rng.exponential(11 / dense)) + 3.0


def draw_traffic(rng: np.random.Generator, faces: Faces, plan: Plan, a: dict[str, Any]) -> None:
    """All vehicles of a street."""
    _parked(rng, faces, plan)
    dense = float(rng.uniform(0.25, 1.3)) * (0.5 if plan.kind == "suburb" else 1.0)
    waits = plan.cross is not None and a["traffic_light"] != "green"
    if rng.random() < 0.7:
        start = float(rng.uniform(6, 26)) if not waits else float(rng.uniform(16, 30))
        _lane(rng, faces, plan, 0.0, 0.0, "ahead", start, dense)
    if plan.right > plan.lane + (2.2 if plan.parking[1] else 0) and rng.random() < 0.7:
        _lane(rng, faces, plan, plan.lane, 0.0, "ahead on the right", float(rng.uniform(4, 20)), dense)
    lanes = 2 if plan.kind == "avenue" or (plan.kind == "crossing" and plan.left < -2.2 * plan.lane) else 1
    for k in range(lanes):
        if plan.tracks or plan.oneway:
            break
        if rng.random() < 0.75:
            x = plan.middle - plan.lane * (k + 0.5)
            _lane(rng, faces, plan, x, math.pi, "coming towards us", float(rng.uniform(5, 30)), dense)
    if plan.tracks:
        if rng.random() < 0.75:
            coming = rng.random() < 0.5
            x = plan.tracks[1] if coming else plan.tracks[0]
            put(
                rng,
                faces,
                "train",
                x,
                float(rng.uniform(8, 30)),
                math.pi if coming else 0.0,
                "coming towards us" if coming else "ahead",
            )
        if rng.random() < 0.6:
            _lane(
                rng,
                faces,
                plan,
                plan.tracks[1] - plan.lane,
                math.pi,
                "coming towards us",
                float(rng.uniform(8, 30)),
                dense,
            )
    elif plan.cross and rng.random() < 0.85:
        z0, z1 = plan.cross
        for right in (True, False):
            z = z0 + (z1 - z0) * (0.27 if right else 0.73)
            x = float(rng.uniform(-16, 6))
            while x < 16:
                if rng.random() < 0.55:
                    name = pick(rng, ("car", "bus", "truck"), (0.82, 0.1, 0.08))
                    put(rng, faces, name, x, z, math.pi / 2 if right else -math.pi / 2, "crossing")
                    x += LONG[name] - 4
                x += float(rng.uniform(6, 11))
