"""What makes a room somebody's: pictures, mirrors, plants, the carpet."""

from __future__ import annotations

import math

import numpy as np

from miniworld.world.bedroom.solids import CIRCLE, SQUARE, Colour, Paint, mix, shade
from miniworld.world.bedroom.spot import Spot

Span = tuple[float, float]
FINE = np.stack([np.cos(np.linspace(0, 6.2, 30)), np.sin(np.linspace(0, 6.2, 30))], 1)
INKS: tuple[Colour, ...] = (
    (0.78, 0.28, 0.22), (0.18, 0.36, 0.62), (0.24, 0.48, 0.36), (0.92, 0.72, 0.3), (0.2, 0.2, 0.24), (0.86, 0.56, 0.5),
    (0.5, 0.68, 0.78),
)  # fmt: skip


def picture(rng: np.random.Generator, spot: Spot, s: Span, y: Span, motif: str, frame: Paint) -> None:
    """A framed picture of hills, of shapes or of a flower, or a mirror."""
    spot.solids.begin()
    spot.box("picture_frame", s, y, (0.0, 0.03), frame)
    edge = 0.04 if motif == "mirror" else 0.035
    inner = ((s[0] + edge, s[1] - edge), (y[0] + edge, y[1] - edge))
    ink = [INKS[int(i)] for i in rng.permutation(len(INKS))[:4]]

    def part(outline: np.ndarray, paint: Paint) -> None:
        spot.upright("picture", *inner, 0.0315, paint, outline, join=True)

    if motif == "mirror":
        part(SQUARE, Paint((0.62, 0.68, 0.72), (0.88, 0.92, 0.94), "fade", grain=0.0))
        part(np.array([(-0.6, -1), (-0.25, -1), (0.55, 1), (0.2, 1)]), Paint((0.84, 0.88, 0.9), grain=0.0))
        return
    if motif == "hills":
        part(SQUARE, Paint(mix(ink[0], (1.0, 0.96, 0.88), 0.75), mix(ink[1], (1.0, 1.0, 1.0), 0.35), "fade"))
        line = np.linspace(-1, 1, 9)
        part(CIRCLE * (0.2, 0.2) + (float(rng.uniform(-0.5, 0.5)), 0.4), Paint((0.98, 0.88, 0.6)))
        for k in range(2):
            rise = -0.1 - 0.4 * k + 0.25 * np.sin(line * 2.5 + float(rng.uniform(0, 6)))
            part(np.concatenate([np.stack([line, rise], 1), [(1, -1), (-1, -1)]]), Paint(ink[2 + k]))
        return
    part(SQUARE, Paint((0.95, 0.93, 0.88)))
    if motif == "flower":
        part(np.array([(-0.04, -0.8), (0.04, -0.8), (0.04, 0.2), (-0.04, 0.2)]), Paint((0.3, 0.5, 0.3)))
        part(CIRCLE * (0.3, 0.12) + (0.3, -0.4), Paint((0.34, 0.55, 0.32)))
        for k in range(5):
            t = k * 2 * math.pi / 5
            part(CIRCLE * (0.22, 0.2) + (0.3 * math.cos(t), 0.25 + 0.27 * math.sin(t)), Paint(ink[0]))
        part(CIRCLE * (0.15, 0.14) + (0, 0.25), Paint((0.95, 0.8, 0.35)))
        return
    for k in range(3):
        x, h, r = rng.uniform((-0.5, -0.5, 0.25), (0.5, 0.5, 0.5))
        shape = CIRCLE if k != 1 else SQUARE * 0.8
        part(np.clip(shape * r + (x, h), -0.95, 0.95), Paint(ink[k]))


def round_mirror(spot: Spot, s: float, y: float, r: float, frame: Paint) -> None:
    """A round mirror in a frame."""
    spot.solids.begin()
    spot.upright("picture_frame", (s - r, s + r), (y - r, y + r), 0.03, frame, FINE)
    q = r - 0.05
    glass = Paint((0.62, 0.68, 0.72), (0.9, 0.93, 0.95), "fade", grain=0.0)
    spot.upright("picture", (s - q, s + q), (y - q, y + q), 0.032, glass, FINE, join=True)
    streak = np.array([(-0.55, -0.6), (-0.3, -0.75), (0.45, 0.7), (0.2, 0.8)])
    spot.upright(
        "picture", (s - q, s + q), (y - q, y + q), 0.033, Paint((0.86, 0.9, 0.92), grain=0.0), streak, join=True
    )


def carpet(spot: Spot, x: Span, z: Span, shape: str, paint: Paint) -> None:
    """A carpet on the floor, seen flat, with a rim."""
    spot.solids.begin()
    spot.solids.lining = True
    outline = SQUARE if shape == "square" else FINE
    o = ((x[0] + x[1]) / 2, 0.001, (z[0] + z[1]) / 2)
    a, b = ((x[1] - x[0]) / 2, 0.0, 0.0), (0.0, 0.0, (z[1] - z[0]) / 2)
    rim = paint.but(colour=shade(paint.colour, 0.7), pattern="plain")
    spot.solids.sheet("carpet", o, a, b, rim, outline)
    k = 0.97
    spot.solids.sheet("carpet", o, (a[0] * k, 0, 0), (0, 0, b[2] * k), paint, outline, join=True)
    spot.solids.lining = False


def plant(rng: np.random.Generator, spot: Spot, s: float, y: float, d: float, tall: float, style: str, pot: Paint,
          green: Colour) -> None:  # fmt: skip
    """A plant in its pot: blades, fronds or a bush; the pot counts as plant."""
    solids = spot.solids
    solids.begin()
    x, _, z = spot.point(s, y, d)
    r = 0.17 * tall
    deep = tall * 0.3
    earth = Paint((0.22, 0.15, 0.1))
    solids.drum("plant", (x, y, z), deep, r * 0.75, r, pot, earth)
    fx, _, fz = solids._facing((x, y, z))
    across = (-fz, 0.0, fx)
    top = y + deep
    n = {"blades": 7, "fronds": 9, "bush": 12}[style]
    for i in range(n):
        leaf = Paint(shade(green, float(rng.uniform(0.75, 1.25))), round_=(0.5, 0.0))
        away = float(rng.uniform(-0.04, 0.04))
        if style == "bush":
            turn, far = float(rng.uniform(0, 6.28)), float(rng.uniform(0, 0.2)) * tall
            at = (x + math.cos(turn) * far, top + tall * float(rng.uniform(0.1, 0.55)), z + math.sin(turn) * far)
            q = tall * float(rng.uniform(0.09, 0.14))
            solids.puff("plant", at, (q, 0, 0), (0, q, 0), (0, 0, q), leaf.but(round_=(0.0, 0.0)), 2.0, join=True)
            continue
        lean = (i / (n - 1) - 0.5) * (1.0 if style == "blades" else 2.6) + float(rng.normal(0, 0.08))
        reach = (tall - deep) * float(rng.uniform(0.7, 1.0))
        outline = _blade(lean, reach, 0.05 * tall if style == "blades" else 0.085 * tall, style == "fronds")
        o = (x + fx * away, top, z + fz * away)
        solids.sheet("plant", o, across, (0, 1, 0), leaf.but(round_=(0.0, 0.0)), outline, join=True)


def _blade(lean: float, reach: float, half: float, bends: bool) -> np.ndarray:
    """A leaf from the ground at (0, 0), leaning by an angle, bending over at its end."""
    t = np.linspace(0, 1, 7)
    angle = lean * (0.45 + 0.75 * t) if bends else np.full(7, lean * 0.6)
    x = np.concatenate([[0], np.cumsum(np.sin(angle[1:]) / 6)]) * reach
    y = np.concatenate([[0], np.cumsum(np.cos(angle[1:]) / 6)]) * reach
    wide = half * np.sin(np.pi * (0.12 + 0.88 * t)) ** 0.8
    side = np.stack([np.cos(angle), -np.sin(angle)], 1) * wide[:, None]
    middle = np.stack([x, y], 1)
    return np.concatenate([middle + side, (middle - side)[::-1]])
