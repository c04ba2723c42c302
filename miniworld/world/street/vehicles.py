"""Cars, trucks, buses and trams, as solids seen from any side."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from miniworld.world.street.faces import Colour, Faces, scaled
from miniworld.world.street.pick import pick
from miniworld.world.street.solids import Local, Solid

_GLASS: Colour = (66, 84, 100)
_SHINE: Colour = (120, 146, 164)
_DARK: Colour = (46, 48, 52)
_TAIL: Colour = (196, 36, 34)
_HEAD: Colour = (236, 236, 226)
_PLATE: Colour = (236, 232, 216)
_WARM: Colour = (255, 226, 160)


def _lights(s: Solid, half: float, up: float, front: float, back: float, moving: bool) -> tuple[float, float]:
    """Let lamps shine where it is dark; returns the shines of head and tail lamps."""
    if not (s.faces.air.lamps and moving):
        return 0.0, 0.0
    night = s.faces.air.time == "night"
    if s.sees("front", front):
        for x in (-half, half):
            s.glow((x, up, front), 0.75 if night else 0.5, (255, 244, 210))
    if s.sees("back", back):
        for x in (-half, half):
            s.glow((x, up + 0.1, back), 0.2, (230, 40, 32))
    return 1.0, 0.9


def car(
    rng: np.random.Generator, faces: Faces, x: float, z: float, heading: float, paint: Colour, moving: bool
) -> None:
    """A hatchback, a saloon, an estate or a van; x and z are its middle."""
    s = Solid(faces, "car", x, z, heading)
    style = pick(rng, ("hatchback", "saloon", "estate", "van"), (0.36, 0.3, 0.22, 0.12))
    half, long, tall = {"hatchback": (0.86, 3.9, 1.48), "saloon": (0.89, 4.6, 1.44), "estate": (0.91, 4.6, 1.6),
                        "van": (0.95, 4.9, 1.95)}[style]  # fmt: skip
    tall *= float(rng.uniform(0.97, 1.06))
    f0, f1, belt, hood, low = -long / 2, long / 2, tall * 0.61, tall * 0.56, 0.3
    foot, top = {"hatchback": (0.02, 0.14), "saloon": (0.16, 0.3), "estate": (0.02, 0.1), "van": (0.01, 0.04)}[style]
    nose, brow = (0.2, 0.3) if style == "van" else (0.27, 0.43)
    c0, c1 = f0 + long * foot, f1 - long * nose  # cabin's foot
    t0, t1 = f0 + long * top, f1 - long * brow  # roof
    inner, wide = half - 0.03, half * 0.78
    inside: Local = (0.0, 0.8, 0.0)
    roof = (236.0, 240.0, 246.0) if faces.air.weather == "snow" and rng.random() < 0.6 else paint
    lit = s.light
    on_head, on_tail = _lights(s, half * 0.72, 0.68, f1, f0, moving)
    for look, plane in (("back", f0 + 0.12), ("front", f1 - 0.12)):
        s.panel(look, plane, (-half * 0.95, half * 0.95, 0.16, 0.5), (28, 28, 32))
        s.tyres(look, plane, half, 0.2, 0.45)
    for side, look in ((1.0, "right"), (-1.0, "left")):
        s.panel(look, side * (half - 0.02), (f0 + 0.1, f1 - 0.1, 0.2, 0.5), (30, 30, 34))
        s.face(
            [
                (side * half, low, f0),
                (side * half, belt * 0.62, f0 - 0.03),
                (side * half, belt, f0 + 0.06),
                (side * half, belt, c1),
                (side * half, hood, f1 - 0.16),
                (side * half, belt * 0.6, f1),
                (side * half, low, f1),
            ],
            scaled(paint, 0.94),
            lit[look],
            inside,
        )
        s.panel(look, side * half, (f0 + 0.04, f1 - 0.04, low, low + 0.12), scaled(paint, 0.7))
    s.face(
        [(-half, belt, f0 + 0.06), (half, belt, f0 + 0.06), (half, belt, c1), (-half, belt, c1)],
        paint,
        lit["top"],
        inside,
    )
    s.face(
        [(-half, belt, c1), (half, belt, c1), (half, hood, f1 - 0.16), (-half, hood, f1 - 0.16)],
        paint,
        lit["top"],
        inside,
    )
    s.face(
        [(-half, hood, f1 - 0.16), (half, hood, f1 - 0.16), (half, low, f1), (-half, low, f1)],
        paint,
        lit["front"],
        inside,
    )
    s.face(
        [(-half, belt, f0 + 0.06), (half, belt, f0 + 0.06), (half, low, f0), (-half, low, f0)],
        paint,
        lit["back"],
        inside,
    )
    cabin: Local = (0.0, (belt + tall) / 2, (t0 + t1) / 2)
    glass = _GLASS if not faces.air.sun else (84, 108, 128)

    def window(slope: str) -> list[Local]:
        foot_f, roof_f = (c0, t0) if slope == "back" else (c1, t1)
        a, b = 0.14, 0.86
        out = []
        for k, sign in ((a, -1), (b, -1), (b, 1), (a, 1)):
            f = foot_f + (roof_f - foot_f) * k
            w = (inner + (wide - inner) * k) * 0.9
            out.append((sign * w, belt + (tall - belt) * k, f))
        return out

    for side, look in ((1.0, "right"), (-1.0, "left")):
        s.face([(side * inner, belt, c0), (side * wide, tall, t0), (side * wide, tall, t1), (side * inner, belt, c1)],
               paint, lit[look] * 0.95, cabin)  # fmt: skip
        split = (t0 + t1) / 2 - 0.05
        a, b = 0.12, 0.86

        def at(f_low: float, f_high: float, k: float, side: float = side) -> Local:
            return side * (inner + (wide - inner) * k), belt + (tall - belt) * k, f_low + (f_high - f_low) * k

        rear_closed = style == "van" and not moving
        if not rear_closed:
            s.face([at(c0 + 0.18, t0 + 0.16, a), at(c0 + 0.18, t0 + 0.16, b), at(split - 0.05, split - 0.05, b),
                    at(split - 0.05, split - 0.05, a)], glass, lit[look], cabin)  # fmt: skip
        s.face([at(split + 0.05, split + 0.05, a), at(split + 0.05, split + 0.05, b), at(c1 - 0.16, t1 - 0.1, b),
                at(c1 - 0.16, t1 - 0.1, a)], glass, lit[look], cabin)  # fmt: skip
    s.face(
        [(-inner, belt, c0), (inner, belt, c0), (wide, tall, t0), (-wide, tall, t0)], paint, lit["back"] * 0.95, cabin
    )
    s.face(window("back"), scaled(glass, 0.85), lit["back"], cabin)
    s.face(
        [(-inner, belt, c1), (inner, belt, c1), (wide, tall, t1), (-wide, tall, t1)], paint, lit["front"] * 0.95, cabin
    )
    s.face(window("front"), _SHINE if faces.air.sun else glass, lit["front"], cabin)
    s.face([(-wide, tall, t0), (wide, tall, t0), (wide, tall, t1), (-wide, tall, t1)], roof, lit["top"], cabin)
    if roof is not paint:
        rim = tall - 0.07
        s.panel("back", t0 - 0.01, (-wide, wide, rim, tall + 0.05), roof)
        s.panel("front", t1 + 0.01, (-wide, wide, rim, tall + 0.05), roof)
        s.panel("right", wide, (t0, t1, rim, tall + 0.05), roof)
        s.panel("left", -wide, (t0, t1, rim, tall + 0.05), roof)
    u0, u1 = belt * 0.66, belt * 0.92
    if z > 40:  # too far for more than its lamps
        for look, plane, colour, shine in (("back", f0 - 0.01, _TAIL, on_tail), ("front", f1 + 0.01, _HEAD, on_head)):
            s.panel(look, plane, [(-half, -half * 0.66, u0, u1), (half * 0.66, half, u0, u1)], colour, shine)
        return
    s.panel(
        "back", f0 - 0.01, [(-half * 0.97, -half * 0.66, u0, u1), (half * 0.66, half * 0.97, u0, u1)], _TAIL, on_tail
    )
    s.panel("back", f0 - 0.01, (-half * 0.98, half * 0.98, low - 0.02, low + 0.14), _DARK)
    s.panel("back", f0 - 0.02, (-0.26, 0.26, low + 0.2, low + 0.33), _PLATE)
    s.panel("front", f1 + 0.01, (-half * 0.6, half * 0.6, belt * 0.5, belt * 0.68), _DARK)
    s.panel("front", f1 + 0.01, (-half * 0.98, half * 0.98, low - 0.02, low + 0.12), _DARK)
    s.panel("front", f1 + 0.02, (-0.26, 0.26, low + 0.12, low + 0.24), _PLATE)
    s.panel(
        "front",
        f1 + 0.01,
        [(-half * 0.96, -half * 0.62, u0 * 0.93, u1 * 0.88), (half * 0.62, half * 0.96, u0 * 0.93, u1 * 0.88)],
        _HEAD,
        on_head,
    )
    s.wheels(half, [f0 + long * 0.19, f1 - long * 0.2], 0.31)
    faces.shadow(x, z, half, long / 2, heading, tall * 0.8)


def _box(s: Solid, half: float, low: float, tall: float, f0: float, f1: float, paint: Colour) -> None:
    s.panel("back", f0, (-half, half, low, tall), paint)
    s.panel("front", f1, (-half, half, low, tall), paint)
    for side, look in ((1.0, "right"), (-1.0, "left")):
        s.panel(look, side * half, (f0, f1, low, tall), paint)
        s.panel(look, side * half, (f0, f1, tall - 0.14, tall), scaled(paint, 1.08))
    if s.sees("top", tall):
        s.faces.poly(
            s.name, s.across, [(-half, tall, f0), (half, tall, f0), (half, tall, f1), (-half, tall, f1)], paint
        )


def bus(
    rng: np.random.Generator, faces: Faces, x: float, z: float, heading: float, paint: Colour, moving: bool
) -> None:
    """A town bus."""
    s = Solid(faces, "bus", x, z, heading)
    half, long, tall = 1.25, float(rng.uniform(9.5, 12)), float(rng.uniform(2.9, 3.2))
    f0, f1 = -long / 2, long / 2
    inside = 0.75 if faces.air.lamps else 0.0
    glass: Colour = (240, 216, 160) if inside else (70, 90, 108)
    on_head, on_tail = _lights(s, 0.95, 0.75, f1, f0, moving)
    for look, plane in (("back", f0 + 0.3), ("front", f1 - 0.3)):
        s.tyres(look, plane, half - 0.05, 0.3, 0.5)
    _box(s, half, 0.32, tall, f0, f1, paint)
    stripe = scaled(paint, 0.6) if sum(paint) > 380 else (230, 228, 220)
    for side, look in ((1.0, "right"), (-1.0, "left")):
        s.panel(look, side * half, (f0, f1, 0.85, 1.05), stripe)
        edges = np.linspace(f0 + 0.35, f1 - 0.3, 7).tolist()
        s.panel(
            look,
            side * half,
            [(a + 0.06, b - 0.06, 1.3, tall - 0.5) for a, b in pairwise(edges)],
            glass,
            inside * 0.8,
        )
        if side > 0:
            s.panel(
                look,
                half + 0.01,
                [(f1 - 2.0, f1 - 0.9, 0.4, tall - 0.5), (f0 + long * 0.45, f0 + long * 0.45 + 1.2, 0.4, tall - 0.5)],
                scaled(_GLASS, 0.8),
            )
    s.panel("front", f1 + 0.01, (-half * 0.94, half * 0.94, 1.15, tall - 0.5), (84, 106, 124), 0.0)
    s.panel("front", f1 + 0.02, (-half * 0.7, half * 0.7, tall - 0.42, tall - 0.12), (30, 30, 34))
    s.panel("front", f1 + 0.03, (-half * 0.5, half * 0.5, tall - 0.34, tall - 0.2), (255, 180, 50), 0.9)
    s.panel("front", f1 + 0.01, [(-1.1, -0.7, 0.62, 0.88), (0.7, 1.1, 0.62, 0.88)], _HEAD, on_head)
    s.panel("front", f1 + 0.01, (-half, half, 0.32, 0.5), _DARK)
    s.panel("back", f0 - 0.01, (-half * 0.85, half * 0.85, 1.7, tall - 0.45), (70, 88, 104), 0.0)
    s.panel("back", f0 - 0.01, (-half * 0.7, half * 0.7, 0.75, 1.35), scaled(paint, 0.72))
    s.panel(
        "back", f0 - 0.02, [(-half * 0.66, half * 0.66, y, y + 0.06) for y in (0.85, 1.0, 1.15)], scaled(paint, 0.5)
    )
    s.panel("back", f0 - 0.01, [(-1.18, -0.95, 0.7, 1.25), (0.95, 1.18, 0.7, 1.25)], _TAIL, on_tail)
    s.panel("back", f0 - 0.02, (-half * 0.4, half * 0.4, tall - 0.36, tall - 0.14), (255, 180, 50), 0.9)
    s.panel("back", f0 - 0.01, (-half, half, 0.32, 0.5), _DARK)
    s.wheels(half, [f0 + long * 0.24, f1 - long * 0.22], 0.48)
    faces.shadow(x, z, half, long / 2, heading, tall)


def truck(
    rng: np.random.Generator, faces: Faces, x: float, z: float, heading: float, paint: Colour, moving: bool
) -> None:
    """A lorry: a cab, and behind it a box, a tarpaulin or a skip."""
    s = Solid(faces, "truck", x, z, heading)
    half, long = 1.2, float(rng.uniform(6.5, 9))
    tall, cab = float(rng.uniform(3.0, 3.6)), float(rng.uniform(2.5, 2.8))
    f0, f1 = -long / 2, long / 2
    back = f1 - 2.0
    load = [(226, 224, 218), (206, 208, 212), (200, 168, 96), (96, 124, 150), scaled(paint, 1.0)][int(rng.integers(5))]
    skip = rng.random() < 0.25
    if skip:
        tall, load = 2.3, (178, 122, 60)
    on_head, on_tail = _lights(s, 0.95, 0.75, f1, f0, moving)
    for look, plane in (("back", f0 + 0.25), ("front", f1 - 0.25)):
        s.panel(look, plane, (-half * 0.9, half * 0.9, 0.35, 0.9), (34, 34, 38))
        s.tyres(look, plane, half, 0.42, 0.8)
    for side, look in ((1.0, "right"), (-1.0, "left")):
        s.panel(look, side * (half - 0.1), (f0, f1, 0.45, 0.9), (46, 48, 52))

    def cargo() -> None:
        _box(s, half, 0.9, tall, f0, back - 0.15, load)
        for side, look in ((1.0, "right"), (-1.0, "left")):
            ribs = np.linspace(f0 + 0.4, back - 0.6, 6)
            s.panel(look, side * half, [(r, r + 0.07, 0.95, tall - 0.1) for r in ribs], scaled(load, 0.86))
        s.panel("back", f0 - 0.01, (-0.04, 0.04, 0.95, tall - 0.1), scaled(load, 0.6))
        s.panel(
            "back",
            f0 - 0.01,
            [(-half + 0.08, -half + 0.14, 1, tall - 0.1), (half - 0.14, half - 0.08, 1, tall - 0.1)],
            scaled(load, 0.75),
        )
        s.panel("back", f0 - 0.01, [(-1.1, -0.7, 0.62, 0.82), (0.7, 1.1, 0.62, 0.82)], _TAIL, on_tail)
        s.panel("back", f0 - 0.01, (-0.28, 0.28, 0.62, 0.78), _PLATE)

    def head() -> None:
        _box(s, half, 0.5, cab, back, f1, paint)
        for side, look in ((1.0, "right"), (-1.0, "left")):
            s.panel(look, side * half, (f1 - 1.25, f1 - 0.15, 1.5, cab - 0.3), _GLASS)
        s.panel("front", f1 + 0.01, (-half * 0.92, half * 0.92, 1.45, cab - 0.25), (80, 102, 120))
        s.panel("front", f1 + 0.01, (-half * 0.7, half * 0.7, 0.85, 1.3), _DARK)
        s.panel("front", f1 + 0.01, (-half, half, 0.42, 0.6), _DARK)
        s.panel("front", f1 + 0.02, [(-1.12, -0.72, 0.65, 0.9), (0.72, 1.12, 0.65, 0.9)], _HEAD, on_head)

    for draw in (cargo, head) if s.eye[2] > 0 else (head, cargo):
        draw()
    s.wheels(half, [f0 + 1.1, f1 - 1.1], 0.48)
    faces.shadow(x, z, half, long / 2, heading, tall)


def tram(
    rng: np.random.Generator, faces: Faces, x: float, z: float, heading: float, paint: Colour, moving: bool
) -> None:
    """A tram of two cars; z is the middle of the one that is nearer."""
    half, tall, long = 1.22, 3.35, float(rng.uniform(9, 12))
    pale = (232, 226, 210) if rng.random() < 0.6 else scaled(paint, 1.0)
    lamps = faces.air.lamps
    glass: Colour = (242, 218, 164) if lamps else (68, 88, 106)
    bend = faces.camera.bend
    near_front = heading > 1.5  # it comes towards us
    for k in (1, 0):
        zk = z + k * (long + 0.4)
        xk, turned = x + bend / 2 * (zk * zk - z * z), heading + bend * (zk - z)
        s = Solid(faces, "train", xk, zk, turned)
        f0, f1 = -long / 2, long / 2
        _box(s, half, 0.28, tall, f0, f1, pale)
        for side, look in ((1.0, "right"), (-1.0, "left")):
            s.panel(look, side * half, (f0, f1, 0.28, 1.3), paint)
            s.panel(look, side * half, (f0, f1, 0.28, 0.5), _DARK)
            edges = np.linspace(f0 + 0.3, f1 - 0.3, 8).tolist()
            s.panel(
                look,
                side * half,
                [(a + 0.07, b - 0.07, 1.4, tall - 0.6) for a, b in pairwise(edges)],
                glass,
                0.6 if lamps else 0.0,
            )
            s.panel(
                look,
                side * half,
                [(edges[2] + 0.1, edges[3] - 0.1, 0.5, tall - 0.6), (edges[5] + 0.1, edges[6] - 0.1, 0.5, tall - 0.6)],
                scaled(glass, 0.8),
                0.4 if lamps else 0.0,
            )
        end = "front" if near_front else "back"
        plane = (f1 if near_front else f0) + (0.01 if near_front else -0.01)
        if k == 0:
            s.panel(end, plane, (-half, half, 0.28, 1.25), paint)
            s.panel(end, plane * 1.001, (-half * 0.88, half * 0.88, 1.3, tall - 0.75), (78, 98, 116))
            s.panel(end, plane * 1.001, (-half * 0.72, half * 0.72, tall - 0.62, tall - 0.2), (30, 30, 34))
            s.panel(end, plane * 1.002, (-half * 0.5, half * 0.5, tall - 0.52, tall - 0.3), (255, 184, 60), 0.9)
            colour = _HEAD if near_front else _TAIL
            s.panel(
                end, plane * 1.001, [(-0.98, -0.66, 0.7, 0.98), (0.66, 0.98, 0.7, 0.98)], colour, 1.0 if lamps else 0.0
            )
            s.panel(end, plane * 1.001, (-half, half, 0.28, 0.48), _DARK)
            if lamps:
                for w in (-0.8, 0.8):
                    s.glow(
                        (w, 0.85, plane), 0.5 if near_front else 0.2, (255, 244, 210) if near_front else (230, 44, 36)
                    )
            faces.poly(
                "train",
                s.across,
                [(-0.5, tall, 0), (-0.42, tall, 0), (0.3, tall + 0.6, 0), (0.22, tall + 0.6, 0)],
                (70, 70, 74),
            )
            faces.poly(
                "train",
                s.across,
                [(-0.7, tall + 0.56, 0), (0.7, tall + 0.56, 0), (0.7, tall + 0.64, 0), (-0.7, tall + 0.64, 0)],
                (70, 70, 74),
            )
        faces.shadow(xk, zk, half, long / 2, turned, tall)
