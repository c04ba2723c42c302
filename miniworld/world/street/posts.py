"""What stands on poles: lamps, traffic lights, signs."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from miniworld.world.street.faces import Colour, Faces
from miniworld.world.street.flats import Drawing, Flat, place
from miniworld.world.street.layout import Plan
from miniworld.world.street.pick import pick

SIGNS = ("limit", "yield", "warning", "blue", "parking", "stop", "no entry", "priority", "street name")
LIGHTS = ("red", "yellow", "green")
_GRAY: Colour = (112, 114, 118)
_WHITE: Colour = (240, 240, 236)
_RED: Colour = (206, 40, 42)
_BLUE: Colour = (38, 88, 176)
_COLOURS: dict[str, Colour] = {
    "pole": _GRAY, "box": (40, 42, 44), "red": _RED, "white": _WHITE, "blue": _BLUE, "black": (40, 40, 44),
    "gold": (238, 190, 52), "head": (196, 196, 190), "back": (62, 64, 66),
    "on red": (255, 60, 48), "on yellow": (255, 206, 60), "on green": (70, 232, 130),
    "off red": (84, 34, 32), "off yellow": (86, 70, 30), "off green": (30, 74, 46),
}  # fmt: skip


def _pole(d: Drawing, y0: float, y1: float, r: float, x: float = 0.0) -> None:
    d.poly(d.at("pole", "pole"), [(x - r, y0), (x + r, y0), (x + r * 0.8, y1), (x - r * 0.8, y1)])


def _regular(n: int, x: float, y: float, r: float, turn: float) -> list[tuple[float, float]]:
    a = np.arange(n) * 2 * np.pi / n + turn
    return [(float(x + r * np.cos(t)), float(y + r * np.sin(t))) for t in a]


@cache
def sign(name: str) -> Flat:
    """A sign on its pole."""
    d, y, s = Drawing(), 2.35, "traffic sign"
    _pole(d, 0, y, 0.045)
    if name in ("limit", "no entry", "blue"):
        d.ellipse(d.at("blue" if name == "blue" else "red", s), 0, y, 0.36, 0.36)
        if name == "limit":
            d.ellipse(d.at("white", s), 0, y, 0.25, 0.25)
            for x in (-0.09, 0.09):
                d.ellipse(d.at("black", s), x, y, 0.06, 0.12)
        elif name == "no entry":
            d.poly(d.at("white", s), [(-0.25, y - 0.07), (0.25, y - 0.07), (0.25, y + 0.07), (-0.25, y + 0.07)])
        else:
            d.poly(
                d.at("white", s),
                [
                    (-0.05, y - 0.2),
                    (0.05, y - 0.2),
                    (0.05, y + 0.05),
                    (0.14, y + 0.05),
                    (0, y + 0.24),
                    (-0.14, y + 0.05),
                    (-0.05, y + 0.05),
                ],
            )
    elif name in ("yield", "warning"):
        turn = -np.pi / 2 if name == "yield" else np.pi / 2
        d.poly(d.at("red", s), _regular(3, 0, y, 0.46, turn))
        d.poly(d.at("white", s), _regular(3, 0, y, 0.27, turn))
        if name == "warning":
            d.capsule(d.at("black", s), (0, y - 0.03), 0.03, (0, y + 0.1), 0.035)
    elif name == "stop":
        d.poly(d.at("white", s), _regular(8, 0, y, 0.4, np.pi / 8))
        d.poly(d.at("red", s), _regular(8, 0, y, 0.36, np.pi / 8))
        d.poly(d.at("white", s), [(-0.22, y - 0.07), (0.22, y - 0.07), (0.22, y + 0.07), (-0.22, y + 0.07)])
    elif name == "priority":
        d.poly(d.at("white", s), _regular(4, 0, y, 0.42, 0))
        d.poly(d.at("gold", s), _regular(4, 0, y, 0.29, 0))
    elif name == "parking":
        d.poly(d.at("blue", s), [(-0.32, y - 0.32), (0.32, y - 0.32), (0.32, y + 0.32), (-0.32, y + 0.32)])
        d.poly(d.at("white", s), [(-0.12, y - 0.22), (-0.03, y - 0.22), (-0.03, y + 0.22), (-0.12, y + 0.22)])
        d.ellipse(d.at("white", s), 0.03, y + 0.1, 0.13, 0.12)
        d.ellipse(d.at("blue", s), 0.03, y + 0.1, 0.05, 0.05)
    else:
        d.poly(d.at("blue", s), [(-0.1, y), (0.95, y), (0.95, y + 0.34), (-0.1, y + 0.34)])
        d.poly(d.at("white", s), [(0, y + 0.12), (0.8, y + 0.12), (0.8, y + 0.22), (0, y + 0.22)])
    return Flat.of(d)


@cache
def traffic_light(on: str, arm: bool) -> Flat:
    """A traffic light on its pole, and with an arm a second one over the road to the left."""
    d, s = Drawing(), "traffic light"
    _pole(d, 0, 5.6 if arm else 3.0, 0.08 if arm else 0.06)
    spots = [(0.0, 2.6)]
    if arm:
        d.limb(d.at("pole", "pole"), [(0, 5.4), (-1.5, 5.65), (-3.4, 5.7)], [0.07, 0.06, 0.05])
        spots.append((-3.3, 5.2))
    for x, y in spots:
        d.poly(d.at("white", s), [(x - 0.2, y - 0.52), (x + 0.2, y - 0.52), (x + 0.2, y + 0.52), (x - 0.2, y + 0.52)])
        d.poly(d.at("box", s), [(x - 0.17, y - 0.49), (x + 0.17, y - 0.49), (x + 0.17, y + 0.49), (x - 0.17, y + 0.49)])
        for k, name in enumerate(LIGHTS):
            d.ellipse(d.at(("on " if name == on else "off ") + name, s), x, y + 0.31 - 0.31 * k, 0.125, 0.125)
    return Flat.of(d)


@cache
def lamp(style: str) -> Flat:
    """A street lamp whose arm reaches to the left."""
    d = Drawing()
    if style == "lantern":
        _pole(d, 0, 3.6, 0.06)
        d.poly(d.at("pole", "pole"), [(-0.09, 0), (0.09, 0), (0.07, 0.5), (-0.07, 0.5)])
        d.poly(d.at("lamp", "pole"), [(-0.14, 3.6), (0.14, 3.6), (0.24, 4.05), (-0.24, 4.05)])
        d.poly(d.at("pole", "pole"), [(-0.28, 4.05), (0.28, 4.05), (0.06, 4.28), (-0.06, 4.28)])
    else:
        _pole(d, 0, 7.0, 0.09)
        d.limb(d.at("pole", "pole"), [(0, 6.8), (-0.5, 7.3), (-1.7, 7.45)], [0.07, 0.06, 0.05])
        d.poly(d.at("lamp", "pole"), [(-2.35, 7.38), (-1.55, 7.34), (-1.5, 7.5), (-2.3, 7.54)])
    return Flat.of(d)


def _stand(faces: Faces, flat: Flat, x: float, z: float, mirror: bool, colours: dict[str, Colour],
           shines: dict[str, float] | None = None) -> tuple[float, float]:  # fmt: skip
    ax, az, _ = faces.camera.anchor(x, z)
    faces.begin(z)
    place(faces, flat, ax, az, colours, mirror=mirror, shines=shines)
    faces.shadow(ax, az, 0.09, 0.09, 0.0, 3.0)
    return ax, az


def draw_posts(rng: np.random.Generator, faces: Faces, plan: Plan, a: dict[str, Any]) -> None:
    """Lamps at even distances, lights at crossings, signs."""
    shade = float(rng.uniform(0.6, 1.25))
    pole: Colour = (_GRAY[0] * shade, _GRAY[1] * shade, _GRAY[2] * shade)
    style = "lantern" if plan.kind in ("town centre", "suburb") and rng.random() < 0.6 else "arm"
    lit = faces.air.lamps
    colours = _COLOURS | {"pole": pole, "lamp": (255, 226, 160) if lit else (206, 206, 200)}
    sides = [(-1,), (1,), (-1, 1)][int(rng.integers(3))]
    step = float(rng.uniform(13, 22))
    for side in sides:
        x = plan.edge(side) + side * 0.45
        for z in np.arange(rng.uniform(7, 16), 95, step):
            if plan.cross and plan.cross[0] - 2 < z < plan.cross[1] + 2:
                continue
            ax, az = _stand(faces, lamp(style), x, float(z), side < 0, colours, {"lamp": 1.0 if lit else 0.0})
            if lit:
                reach, high = (0.0, 3.8) if style == "lantern" else (-side * 1.9, 7.4)
                faces.lights.append((ax + reach, high, az, 0.75, (255, 200, 120)))
                faces.lights.append((ax + reach * 1.5, 0.0, az, 4.2 if style == "lantern" else 6.5, (255, 196, 120)))
    a["traffic_light"] = None
    if plan.cross or rng.random() < (0.3 if plan.kind in ("avenue", "tram street") else 0.06):
        on = pick(rng, LIGHTS, (0.45, 0.1, 0.45))
        a["traffic_light"] = on
        z = plan.cross[0] - 4.4 if plan.cross else float(rng.uniform(9, 20))
        spots = [(plan.edge(1) + 0.5, z, rng.random() < 0.4), (plan.edge(-1) - 0.5, z, False)]
        if plan.cross:
            spots.append((plan.edge(1) + 0.5, plan.cross[1] + 3.5, True))
        for i, (x, at, arm) in enumerate(spots):
            if i == 1 and rng.random() < 0.4:
                continue
            ax, az = _stand(faces, traffic_light(on, bool(arm)), x, at, False, colours, {f"on {on}": 0.85})
            if faces.air.time in ("dusk", "night"):
                high = 2.6 + 0.31 - 0.31 * LIGHTS.index(on)
                faces.lights.append((ax, high, az, 0.5, _COLOURS[f"on {on}"]))
    for _ in range(int(rng.integers(1, 5))):
        side = 1 if rng.random() < 0.7 else -1
        z = float(rng.uniform(5.5, 32))
        if plan.cross and plan.cross[0] - 1 < z < plan.cross[1] + 1:
            continue
        name = SIGNS[int(rng.integers(len(SIGNS)))]
        _stand(faces, sign(name), plan.edge(side) + side * float(rng.uniform(0.35, 0.7)), z, False, colours)
