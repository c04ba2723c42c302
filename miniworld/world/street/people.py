"""People on foot, on bicycles and on motorcycles."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from miniworld.world.kinds import COLOURS
from miniworld.world.street.faces import Colour, Faces
from miniworld.world.street.flats import Drawing, Flat, place
from miniworld.world.street.layout import Plan
from miniworld.world.street.pick import pick

CLOTHES = ("red", "blue", "green", "yellow", "white", "black", "gray", "purple", "orange", "brown")
_SKINS: tuple[Colour, ...] = ((240, 202, 172), (214, 164, 124), (150, 104, 74), (98, 66, 48))
_HAIRS: tuple[Colour, ...] = ((60, 42, 32), (30, 26, 28), (190, 150, 90), (120, 66, 40), (176, 172, 168))
_POSES = 8


@cache
def walker(view: str, pose: int) -> Flat:
    """A person one metre tall: from the side (to the right), from the front or from behind."""
    rng = np.random.default_rng([5, pose, len(view)])
    d, p = Drawing(), "person"
    wide = float(rng.uniform(0.92, 1.12))
    skirt, bag = rng.random() < 0.22, rng.random() < 0.3
    if view == "side":
        step = 0.0 if pose % 4 == 3 else float(rng.uniform(0.1, 0.17))
        for slot, s in (("far", -1), ("trousers", 1)):
            foot = (s * step, 0.03)
            knee = (s * step * 0.55 + 0.02, 0.27)
            d.limb(d.at(slot, p), [(0, 0.5), knee, (foot[0], 0.06)], [0.062, 0.05, 0.035])
            d.capsule(d.at("shoe", p), foot, 0.026, (foot[0] + 0.06, 0.022), 0.02)
        d.limb(
            d.at("far shirt", p), [(0, 0.78), (0.05 + step * 0.5, 0.62), (0.1 + step * 0.7, 0.5)], [0.035, 0.03, 0.024]
        )
        d.limb(d.at("shirt", p), [(0, 0.48), (0.01, 0.64), (0, 0.77)], [0.085 * wide, 0.09 * wide, 0.07])
        if skirt:
            d.poly(d.at("shirt", p), [(-0.07, 0.52), (0.08, 0.52), (0.13, 0.28), (-0.12, 0.28)])
        if bag:
            d.ellipse(d.at("bag", p), -0.12, 0.66, 0.055, 0.1)
        d.limb(
            d.at("sleeve", p), [(0, 0.77), (-0.05 - step * 0.3, 0.62), (-0.06 - step * 0.4, 0.5)], [0.036, 0.03, 0.024]
        )
        d.ellipse(d.at("skin", p), -0.06 - step * 0.4, 0.47, 0.022, 0.026)
        d.ellipse(d.at("skin", p), 0.015, 0.91, 0.056, 0.07)
        d.ellipse(d.at("hair", p), -0.006, 0.945, 0.058, 0.052)
        return Flat.of(d)
    step = 0.05 if pose % 4 != 3 else 0.0
    for slot, s in (("far", -1), ("trousers", 1)):
        low = 0.03 + (0.05 if s < 0 and step else 0.0)
        d.limb(d.at(slot, p), [(s * 0.05, 0.5), (s * 0.055, 0.27), (s * 0.055, low + 0.03)], [0.058, 0.048, 0.036])
        d.ellipse(d.at("shoe", p), s * 0.058, low, 0.034, 0.026)
    if skirt:
        d.poly(d.at("shirt", p), [(-0.09, 0.52), (0.09, 0.52), (0.14, 0.28), (-0.14, 0.28)])
    for s in (-1, 1):
        d.limb(
            d.at("sleeve", p),
            [(s * 0.1, 0.77), (s * 0.14 * wide, 0.63), (s * (0.14 + step * 0.4), 0.5)],
            [0.036, 0.032, 0.026],
        )
        d.ellipse(d.at("skin", p), s * (0.14 + step * 0.4), 0.47, 0.024, 0.026)
    d.poly(d.at("shirt", p), [(-0.09, 0.46), (0.09, 0.46), (0.105 * wide, 0.62), (0.125 * wide, 0.78), (0.05, 0.83),
                              (-0.05, 0.83), (-0.125 * wide, 0.78), (-0.105 * wide, 0.62)])  # fmt: skip
    if bag and view == "back":
        d.poly(d.at("bag", p), [(-0.07, 0.58), (0.07, 0.58), (0.08, 0.78), (-0.08, 0.78)])
    d.ellipse(d.at("skin", p), 0, 0.9, 0.055, 0.072)
    d.ellipse(d.at("hair", p), 0, 0.925 if view == "back" else 0.955, 0.06, 0.062 if view == "back" else 0.04)
    return Flat.of(d)


def _wheel(d: Drawing, name: str, x: float, r: float, thick: float) -> None:
    a = np.linspace(0, 2 * np.pi, 19)
    ring = np.stack([np.cos(a), np.sin(a)], 1)
    d.poly(d.at("tyre", name), np.concatenate([ring * r, ring[::-1] * (r - thick)]) + (x, r))
    for k in range(3):
        dx, dy = (r - thick) * math.cos(k * 1.05), (r - thick) * math.sin(k * 1.05)
        d.capsule(d.at("metal", name), (x - dx, r - dy), 0.01, (x + dx, r + dy), 0.01)


def _legs(d: Drawing, hip: tuple[float, float], foot: tuple[float, float], slot: str, r: float) -> None:
    knee = ((hip[0] + foot[0]) / 2 + 0.2, (hip[1] + foot[1]) / 2 + 0.12)
    d.limb(d.at(slot, "rider"), [hip, knee, foot], [r, r * 0.85, r * 0.6])
    d.capsule(d.at("shoe", "rider"), foot, 0.05, (foot[0] + 0.12, foot[1] - 0.02), 0.04)


def _torso(
    d: Drawing, hip: tuple[float, float], neck: tuple[float, float], hand: tuple[float, float], helmet: bool
) -> None:
    elbow = ((neck[0] + hand[0]) / 2 - 0.02, (neck[1] + hand[1]) / 2 - 0.1)
    d.capsule(d.at("shirt", "rider"), hip, 0.15, neck, 0.14)
    head = (neck[0] + 0.1, neck[1] + 0.24)
    d.ellipse(d.at("skin", "rider"), *head, 0.1, 0.125)
    d.ellipse(
        d.at("helmet" if helmet else "hair", "rider"),
        head[0] - 0.02,
        head[1] + (0.02 if helmet else 0.06),
        0.13 if helmet else 0.11,
        0.14 if helmet else 0.09,
    )
    d.limb(d.at("sleeve", "rider"), [(neck[0], neck[1] - 0.02), elbow, hand], [0.065, 0.055, 0.04])
    d.ellipse(d.at("skin", "rider"), *hand, 0.045, 0.045)


@cache
def cycle(name: str, view: str, ridden: bool, pose: int) -> Flat:
    """A bicycle or a motorcycle in metres, ridden or not, from the side (to the right), the front or behind."""
    d, motor = Drawing(), name == "motorcycle"
    turn = pose * 0.9
    if view == "side":
        r, base = (0.31, 0.68) if motor else (0.34, 0.53)
        hip, neck, hand = (
            ((-0.2, 0.95), (0.08, 1.42), (0.5, 1.08)) if motor else ((-0.25, 1.02), (-0.02, 1.5), (0.42, 1.12))
        )
        crank = (-0.02, 0.42) if motor else (-0.05, 0.32)
        if ridden:
            far = (crank[0] - 0.13 * math.cos(turn), crank[1] - 0.13 * math.sin(turn))
            _legs(d, hip, far, "far", 0.1)
        for x in (-base, base):
            _wheel(d, name, x, r, 0.09 if motor else 0.05)
        if motor:
            d.blob(
                d.at("paint", name),
                [
                    (-0.75, 0.62),
                    (-0.62, 0.82),
                    (-0.1, 0.72),
                    (0.1, 0.86),
                    (0.42, 0.88),
                    (0.55, 0.7),
                    (0.3, 0.38),
                    (-0.3, 0.36),
                ],
            )
            d.capsule(d.at("dark", name), (-0.62, 0.84), 0.06, (-0.08, 0.78), 0.05)
            d.ellipse(d.at("metal", name), 0.02, 0.42, 0.2, 0.15)
            d.capsule(d.at("metal", name), (-0.85, 0.32), 0.05, (-0.1, 0.32), 0.04)
            d.capsule(d.at("dark", name), (0.42, 0.98), 0.035, (base, r), 0.035)
            d.capsule(d.at("dark", name), (0.36, 1.04), 0.03, (0.5, 1.0), 0.03)
            d.ellipse(d.at("lamp", name), 0.56, 0.86, 0.07, 0.08)
        else:
            seat, head = (-0.24, 0.88), (0.36, 0.92)
            for p, q in (
                (crank, seat),
                (crank, (0.38, 0.82)),
                (seat, head),
                ((-base, r), crank),
                ((-base, r), (-0.22, 0.8)),
                (head, (base, r)),
            ):
                d.capsule(d.at("paint", name), p, 0.028, q, 0.028)
            d.capsule(d.at("dark", name), head, 0.02, (0.4, 1.08), 0.024)
            d.capsule(d.at("dark", name), (-0.36, 0.95), 0.04, (-0.14, 0.95), 0.03)
            d.ellipse(d.at("dark", name), *crank, 0.09, 0.09)
        if ridden:
            near = (crank[0] + 0.13 * math.cos(turn), crank[1] + 0.13 * math.sin(turn))
            _legs(d, hip, near, "trousers", 0.105)
            _torso(d, hip, neck, hand, motor or pose % 2 == 0)
        return Flat.of(d)
    half = 0.09 if motor else 0.035
    back = view == "back"
    d.poly(d.at("tyre", name), [(-half, 0), (half, 0), (half, 0.66), (-half, 0.66)])
    if motor:
        d.blob(d.at("paint", name), [(-0.2, 0.5), (-0.22, 0.8), (0, 0.95), (0.22, 0.8), (0.2, 0.5), (0, 0.42)])
        d.ellipse(d.at("tail" if back else "lamp", name), 0, 0.76, 0.1 if back else 0.09, 0.06 if back else 0.09)
        d.capsule(d.at("dark", name), (-0.38, 1.04), 0.03, (0.38, 1.04), 0.03)
    else:
        d.capsule(d.at("paint", name), (0, 0.5), 0.04, (0, 0.95), 0.035)
        d.capsule(d.at("dark", name), (-0.29, 1.06), 0.026, (0.29, 1.06), 0.026)
        d.ellipse(d.at("tail" if back else "lamp", name), 0, 0.72 if back else 0.96, 0.045, 0.045)
    if not ridden:
        return Flat.of(d)
    for s, slot in ((-1, "far"), (1, "trousers")):
        low = 0.3 + 0.12 * s * math.cos(turn)
        d.limb(
            d.at(slot, "rider"),
            [(s * 0.11, 0.95), (s * 0.17, 0.65 + 0.06 * s * math.cos(turn)), (s * 0.13, low)],
            [0.1, 0.085, 0.06],
        )
        d.ellipse(d.at("shoe", "rider"), s * 0.13, low - 0.06, 0.055, 0.06)
        d.limb(
            d.at("sleeve", "rider"),
            [(s * 0.2, 1.45), (s * 0.33, 1.25), (s * (0.36 if motor else 0.27), 1.07)],
            [0.065, 0.055, 0.045],
        )
    d.poly(
        d.at("shirt", "rider"),
        [
            (-0.17, 0.9),
            (0.17, 0.9),
            (0.21, 1.2),
            (0.22, 1.45),
            (0.08, 1.55),
            (-0.08, 1.55),
            (-0.22, 1.45),
            (-0.21, 1.2),
        ],
    )
    d.ellipse(d.at("skin", "rider"), 0, 1.68, 0.1, 0.13)
    covered = motor or pose % 2 == 0
    d.ellipse(
        d.at("helmet" if covered else "hair", "rider"),
        0,
        1.72 if back or covered else 1.77,
        0.125,
        0.13 if back or motor else 0.08,
    )
    if motor and not back:
        d.ellipse(d.at("skin", "rider"), 0, 1.67, 0.08, 0.05)
    return Flat.of(d)


def _three(colour: np.ndarray) -> Colour:
    r, g, b = np.clip(colour, 6, 250).tolist()
    return r, g, b


def _dress(rng: np.random.Generator, shirt: str) -> dict[str, Colour]:
    def near(colour: Colour) -> np.ndarray:
        return np.array(colour, np.float64) + rng.normal(0, 6, 3)

    cloth, legs = near(COLOURS[shirt]), near(COLOURS[pick(rng, ("blue", "black", "brown", "gray", "tan"))]) * 0.8
    bag, skin = near(COLOURS[pick(rng, CLOTHES)]) * 0.8, near(pick(rng, _SKINS, (0.5, 0.2, 0.2, 0.1)))
    colours = {
        "shirt": cloth,
        "sleeve": cloth * 0.86,
        "far shirt": cloth * 0.62,
        "trousers": legs,
        "far": legs * 0.7,
        "shoe": legs * 0.35 + 14,
        "skin": skin,
        "hair": near(pick(rng, _HAIRS)),
        "bag": bag,
    }
    return {name: _three(c) for name, c in colours.items()}


def person(rng: np.random.Generator, faces: Faces, x: float, z: float, view: str, place_name: str) -> None:
    """Someone on foot, at a place of the straight street."""
    shirt = pick(rng, CLOTHES)
    tall = float(rng.normal(1.72, 0.09)) if rng.random() > 0.1 else float(rng.uniform(1.05, 1.35))
    ax, az, _ = faces.camera.anchor(x, z)
    faces.begin(z)
    first = len(faces.items)
    place(
        faces,
        walker(view, int(rng.integers(_POSES))),
        ax,
        az,
        _dress(rng, shirt),
        scale=tall,
        mirror=rng.random() < 0.5,
    )
    faces.thing("person", shirt, view, place_name, first, "person")
    faces.shadow(ax, az, 0.2, 0.15, 0.0, tall)


def rider(rng: np.random.Generator, faces: Faces, name: str, x: float, z: float, view: str, ridden: bool,
          place_name: str, turn: float = 0.0) -> None:  # fmt: skip
    """A bicycle or motorcycle at a place of the straight street, with its rider where it is ridden."""
    colour = pick(rng, ("red", "blue", "green", "black", "yellow", "white"))
    paint = _three(np.array(COLOURS[colour]) + rng.normal(0, 6, 3))
    shirt = pick(rng, CLOTHES)
    night = faces.air.time in ("dusk", "night")
    colours = _dress(rng, shirt) | {
        "paint": paint,
        "tyre": (40, 40, 44),
        "metal": (150, 152, 158),
        "dark": (46, 46, 50),
        "tail": (210, 40, 36),
        "lamp": (255, 246, 214),
        "helmet": _three(np.array(COLOURS[pick(rng, CLOTHES)]) * 0.9),
    }
    ax, az, _ = faces.camera.anchor(x, z)
    faces.begin(z)
    first = len(faces.items)
    shines = {"lamp": 1.0, "tail": 0.8} if night and ridden else None
    place(faces, cycle(name, view, ridden, int(rng.integers(6))), ax, az, colours, mirror=rng.random() < 0.5,
          turn=turn, shines=shines)  # fmt: skip
    faces.thing(name, colour, view, place_name, first, name)
    if ridden:
        faces.thing("rider", shirt, view, name, first, "rider")
    long = 0.8 if view == "side" else 0.25
    faces.shadow(ax, az, long * math.cos(turn) if view == "side" else 0.25, 0.2 if view == "side" else 0.8, 0.0, 1.2)
    if shines and view != "back":
        faces.lights.append((ax, 0.95, az, 0.5, (255, 240, 200)))


def draw_people(rng: np.random.Generator, faces: Faces, plan: Plan, a: dict[str, Any]) -> None:
    """Everybody who is out."""
    busy = {"town centre": 8.0, "crossing": 6.0, "tram street": 6.0, "avenue": 4.0}.get(plan.kind, 1.8)
    busy *= {"rain": 0.6, "snow": 0.7, "fog": 0.7}.get(a["weather"], 1.0) * (0.6 if a["time"] == "night" else 1.0)
    for _ in range(int(rng.poisson(busy))):
        side = -1 if rng.random() < 0.45 else 1
        low = 0.9 + plan.verge
        x = plan.edge(side) + side * float(rng.uniform(low, max(low + 0.2, plan.verge + plan.walk - 0.4)))
        z = float(4.2 + 42 * rng.random() ** 1.9)
        if plan.cross and plan.cross[0] - 0.5 < z < plan.cross[1] + 0.5:
            continue
        view, where = pick(rng, ("front", "back", "side"), (0.4, 0.4, 0.2)), "right" if side > 0 else "left"
        person(rng, faces, x, z, view, where)
        if rng.random() < 0.25:  # two who walk together
            person(rng, faces, x + 0.6, z + 0.1, view, where)
    crossing = plan.cross[0] - 1.8 if plan.cross else 12.0
    if rng.random() < (0.6 if plan.cross else 0.1):
        for _ in range(int(rng.integers(1, 4))):
            x = float(rng.uniform(plan.left + 0.5, plan.right - 0.3))
            person(rng, faces, x, crossing + float(rng.uniform(-0.9, 0.9)), "side", "crossing")
    if rng.random() < 0.34:
        back = plan.oneway or rng.random() < 0.6
        x = plan.right - (2.9 if plan.parking[1] else 0.7) if back else plan.left + (2.9 if plan.parking[0] else 0.8)
        rider(rng, faces, "bicycle", x, float(rng.uniform(6, 20)), "back" if back else "front", True, "road")
    if plan.cross and rng.random() < 0.25:
        x, z = float(rng.uniform(plan.left, plan.right)), float(rng.uniform(*plan.cross))
        rider(rng, faces, "bicycle" if rng.random() < 0.65 else "motorcycle", x, z, "side", True, "road")
    if rng.random() < 0.15:
        back = plan.oneway or rng.random() < 0.5
        x = (
            float(rng.uniform(-0.6, 0.6))
            if back
            else -plan.lane * (2 if plan.tracks else 1) + float(rng.uniform(-0.4, 0.4))
        )
        rider(rng, faces, "motorcycle", x, float(rng.uniform(7, 22)), "back" if back else "front", True, "road")
    if rng.random() < 0.22:
        side = -1 if rng.random() < 0.4 else 1
        x, z = plan.edge(side) + side * (plan.verge + 0.7), float(rng.uniform(6, 18))
        for k in range(int(rng.integers(1, 5))):
            at = z + 0.7 * (3 - k)
            if not (plan.cross and plan.cross[0] - 1 < at < plan.cross[1] + 1):
                rider(
                    rng,
                    faces,
                    "bicycle",
                    x,
                    at,
                    "side",
                    False,
                    "right" if side > 0 else "left",
                    float(rng.uniform(0.5, 0.75)),
                )
    if rng.random() < 0.1:
        side = -1 if rng.random() < 0.5 else 1
        x = plan.edge(side) + side * (plan.verge + 0.9)
        z = float(rng.uniform(6, 14))
        if not (plan.cross and plan.cross[0] - 1 < z < plan.cross[1] + 1):
            rider(rng, faces, "motorcycle", x, z, "side", False, "right" if side > 0 else "left", 0.5)
