"""Trees and bushes."""

from __future__ import annotations

from functools import cache

import numpy as np

from miniworld.world.street.faces import Colour, Faces, scaled
from miniworld.world.street.flats import Drawing, Flat, place
from miniworld.world.street.layout import Plan
from miniworld.world.street.pick import pick

SHAPES = ("round", "oval", "poplar", "fir", "bare", "bush")
_VARIANTS = 5
_TURN = np.linspace(0, 2 * np.pi, 12, endpoint=False)
_LEAVES: dict[str, tuple[Colour, ...]] = {
    "summer": ((72, 118, 56), (88, 132, 60), (60, 102, 58), (98, 136, 66)),
    "spring": ((112, 160, 70), (140, 176, 84), (222, 176, 190), (124, 168, 88)),
    "autumn": ((206, 134, 50), (178, 92, 46), (214, 172, 66), (132, 120, 56)),
    "winter": ((206, 214, 222), (190, 202, 208), (214, 220, 228), (196, 206, 214)),
}  # fmt: skip


def _crown(rng: np.random.Generator, d: Drawing, slot: str, x: float, y: float, rx: float, ry: float) -> None:
    """A leafy outline with bumps."""
    r = 1 + 0.13 * np.sin(_TURN * 5 + rng.uniform(0, 6)) + rng.uniform(-0.08, 0.08, len(_TURN))
    points = np.stack([x + rx * r * np.cos(_TURN), y + ry * r * np.sin(_TURN)], 1)
    d.blob(d.at(slot, "vegetation"), [(float(a), float(b)) for a, b in points])


@cache
def tree(shape: str, variant: int) -> Flat:
    """A tree one metre high, lit from the right."""
    rng = np.random.default_rng([SHAPES.index(shape), variant])
    d = Drawing()
    if shape == "bush":
        for k in range(3):
            _crown(
                rng, d, ("dark", "leaf", "light")[k], (k - 1) * 0.25, 0.42 + 0.06 * k, 0.5 - 0.12 * k, 0.5 - 0.13 * k
            )
        return Flat.of(d)
    lean = float(rng.normal(0, 0.015))
    if shape == "fir":
        d.poly(d.at("trunk", "vegetation"), [(-0.02, 0), (0.02, 0), (0.015, 0.3), (-0.015, 0.3)])
        for k in range(4):
            y, w = 0.12 + 0.2 * k, 0.23 - 0.045 * k
            d.poly(
                d.at("dark" if k % 2 == 0 else "leaf", "vegetation"),
                [(-w, y), (-w * 0.5, y + 0.02), (0, y - 0.02), (w * 0.5, y + 0.02), (w, y), (0, y + 0.34)],
            )
            d.poly(d.at("light", "vegetation"), [(w * 0.35, y + 0.03), (w * 0.9, y + 0.015), (0.0, y + 0.33)])
        return Flat.of(d)
    d.limb(d.at("trunk", "vegetation"), [(0, 0), (lean, 0.2), (lean * 2, 0.5)], [0.026, 0.02, 0.014])
    if shape == "bare":
        for k in range(7):
            y = 0.3 + 0.07 * k
            dx = (-1) ** k * float(rng.uniform(0.12, 0.28)) * (1.2 - 0.1 * k)
            top = (lean * 2 + dx, y + float(rng.uniform(0.16, 0.3)))
            d.limb(d.at("trunk", "vegetation"), [(lean * 2, y - 0.02), (lean * 2 + dx * 0.5, y + 0.08), top],
                   [0.012, 0.008, 0.004])  # fmt: skip
            d.capsule(
                d.at("trunk", "vegetation"),
                (lean * 2 + dx * 0.5, y + 0.08),
                0.005,
                (lean * 2 + dx * 0.4, y + 0.24),
                0.003,
            )
        d.limb(d.at("trunk", "vegetation"), [(lean * 2, 0.4), (lean, 0.7), (lean * 2, 0.95)], [0.014, 0.009, 0.003])
        return Flat.of(d)
    rx, ry, y = {"round": (0.34, 0.3, 0.68), "oval": (0.26, 0.36, 0.62), "poplar": (0.13, 0.43, 0.56)}[shape]
    _crown(rng, d, "dark", lean, y - 0.02, rx, ry)
    clumps = 4 if shape != "poplar" else 3
    for _ in range(clumps):
        a = rng.uniform(0, 6.28)
        _crown(
            rng, d, "leaf", lean + 0.04 + 0.4 * rx * np.cos(a), y + 0.03 + 0.42 * ry * np.sin(a), rx * 0.52, ry * 0.42
        )
    for k in range(3):
        _crown(rng, d, "light", lean + rx * rng.uniform(0.05, 0.5), y + ry * (-0.05 + 0.3 * k), rx * 0.32, ry * 0.2)
    return Flat.of(d)


def plant(rng: np.random.Generator, faces: Faces, shape: str, x: float, z: float, tall: float, season: str,
          tone: int) -> None:  # fmt: skip
    """A tree at a place of the straight street."""
    if season == "winter" and shape in ("round", "oval") and tone % 2:
        shape = "bare"
    ax, az, _ = faces.camera.anchor(x, z)
    faces.begin(z)
    base = np.array(_LEAVES[season][tone % 4]) + rng.normal(0, 5, 3)
    if shape == "fir":
        base = np.array((64, 98, 72) if season != "winter" else (158, 176, 176)) + rng.normal(0, 5, 3)
    lift = 1.24 if faces.air.sun else 1.13
    whole = (float(base[0]), float(base[1]), float(base[2]))
    colours: dict[str, Colour] = {
        "dark": scaled(whole, 0.76),
        "leaf": scaled(whole, 0.98),
        "light": scaled(whole, lift),
    }
    colours["trunk"] = (96, 78, 62)
    flat = tree(shape, int(rng.integers(_VARIANTS)))
    place(faces, flat, ax, az, colours, scale=tall, mirror=faces.air.direction[0] < 0)
    crown = tall * {"round": 0.3, "oval": 0.24, "poplar": 0.12, "fir": 0.2, "bare": 0.06, "bush": 0.45}[shape]
    if shape != "bare":
        faces.round_shadow(ax, az, crown, 0.0 if shape == "bush" else tall * 0.3, tall * 0.9)
    faces.shadow(ax, az, 0.15, 0.15, 0.0, tall * 0.5)


def draw_growth(rng: np.random.Generator, faces: Faces, plan: Plan, season: str) -> list[int]:
    """All trees of a street; returns the sides (-1, 1) that have a row of them."""
    tone = int(rng.integers(4))
    rows = []
    odds = {"avenue": 1.0, "suburb": 0.35, "town centre": 0.3, "crossing": 0.3, "tram street": 0.35}.get(
        plan.kind, 0.25
    )
    shape = pick(rng, SHAPES[:3], (0.5, 0.35, 0.15))
    tall, step = float(rng.uniform(5.5, 10)), float(rng.uniform(7, 13))
    both = rng.random() < (0.85 if plan.kind == "avenue" else 0.5)
    one = -1 if rng.random() < 0.5 else 1
    if rng.random() < odds:
        for side in (-1, 1):
            if not both and side != one:
                continue
            rows.append(side)
            x = plan.edge(side) + side * (plan.verge / 2 if plan.verge else 0.8)
            for z in np.arange(rng.uniform(5, 12), 78, step):
                if plan.cross and plan.cross[0] - 4 < z < plan.cross[1] + 4:
                    continue
                plant(
                    rng,
                    faces,
                    shape,
                    x + float(rng.normal(0, 0.15)),
                    float(z),
                    tall * float(rng.uniform(0.85, 1.15)),
                    season,
                    tone,
                )
    if plan.yard and plan.kind != "avenue":
        for side in (-1, 1):
            for _ in range(int(rng.integers(3, 8))):
                other = pick(rng, ("round", "oval", "fir", "bush", "bush"))
                high = float(rng.uniform(0.9, 1.7)) if other == "bush" else float(rng.uniform(4, 9))
                x = plan.front(side) - side * float(rng.uniform(0.6, plan.yard - 0.8))
                if other not in ("bush",) and rng.random() < 0.5:
                    x = plan.front(side) + side * float(rng.uniform(2, 14))
                plant(rng, faces, other, x, float(rng.uniform(7, 70)), high, season, int(rng.integers(4)))
    elif rng.random() < 0.3:  # a bush in a tub, or a small square with trees
        side = one
        x = plan.edge(side) + side * min(1.2, plan.walk / 2)
        for z in np.arange(rng.uniform(6, 12), 40, 6.0):
            if not (plan.cross and plan.cross[0] - 3 < z < plan.cross[1] + 3):
                plant(rng, faces, "bush", x, float(z), 1.1, season, tone)
    return rows
