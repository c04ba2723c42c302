"""Lamps that stand, lie in wait on tables and hang from the ceiling."""

from __future__ import annotations

import math

import numpy as np

from miniworld.world.bedroom.solids import CIRCLE, Colour, Lamp, Paint, Solids, shade, times
from miniworld.world.bedroom.spot import Spot

WARM: Colour = (1.0, 0.80, 0.52)


def _shade_paint(paint: Paint, on: bool) -> Paint:
    if not on:
        return paint
    lit = tuple(min(c * (0.55 + 0.6 * w), 1.0) for c, w in zip(paint.colour, WARM))
    return paint.but(colour=lit, glow=1.15)


def table_lamp(
    rng: np.random.Generator,
    spot: Spot,
    s: float,
    y: float,
    d: float,
    style: str,
    column: Paint,
    cloth: Paint,
    on: bool,
) -> None:
    """A lamp on a table: foot, column, shade."""
    solids = spot.solids
    solids.begin()
    x, _, z = spot.point(s, y, d)
    tall = 0.25
    if style == "ball":
        solids.drum("lamp_column", (x, y, z), 0.03, 0.07, 0.06, column, column)
        solids.puff("lamp_column", (x, y + 0.13, z), (0.095, 0, 0), (0, 0.11, 0), (0, 0, 0.095), column, 2.0)
    elif style == "vase":
        solids.drum("lamp_column", (x, y, z), 0.13, 0.05, 0.09, column)
        solids.drum("lamp_column", (x, y + 0.13, z), 0.1, 0.09, 0.025, column)
    else:
        solids.drum("lamp_column", (x, y, z), 0.025, 0.085, 0.08, column, column)
    solids.drum("lamp_column", (x, y + 0.02, z), tall, 0.018, 0.018, column)
    _shade(solids, (x, y + tall, z), 0.2, 0.15, 0.15 if style == "stick" else 0.10, cloth, on)


def _shade(
    solids: Solids, foot: tuple[float, float, float], tall: float, r0: float, r1: float, cloth: Paint, on: bool
) -> None:
    paint = _shade_paint(cloth, on)
    inside = Paint((1.0, 0.93, 0.72), glow=1.5) if on else Paint(shade(cloth.colour, 0.7))
    solids.drum(
        "lamp_shade",
        foot,
        tall,
        r0,
        r1,
        paint.but(pattern="fade", second=shade(paint.colour, 0.86)),
        inside,
        round_=0.6,
    )
    if on:
        power = 1.05
        x, y, z = foot
        solids.lamps.append(Lamp((x, y + tall / 2, z), times(WARM, power), shaded=True))


def floor_lamp(spot: Spot, s: float, d: float, column: Paint, cloth: Paint, on: bool) -> None:
    """A lamp that stands on the floor."""
    solids = spot.solids
    solids.begin()
    x, _, z = spot.point(s, 0, d)
    solids.drum("lamp_column", (x, 0.0, z), 0.03, 0.16, 0.14, column, column)
    solids.drum("lamp_column", (x, 0.03, z), 1.27, 0.022, 0.018, column)
    _shade(solids, (x, 1.28, z), 0.28, 0.23, 0.16, cloth, on)


def wall_lamp(spot: Spot, s: float, y: float, column: Paint, cloth: Paint, on: bool) -> None:
    """A lamp on the wall."""
    solids = spot.solids
    solids.begin()
    spot.box("lamp_column", (s - 0.035, s + 0.035), (y - 0.1, y + 0.03), (0.0, 0.03), column)
    spot.box("lamp_column", (s - 0.012, s + 0.012), (y - 0.05, y - 0.03), (0.03, 0.12), column)
    _shade(solids, spot.point(s, y - 0.02, 0.12), 0.16, 0.1, 0.07, cloth, on)


def ceiling_lamp(rng: np.random.Generator, solids: Solids, x: float, z: float, top: float, style: str, metal: Paint,
                 cloth: Paint, on: bool) -> None:  # fmt: skip
    """What hangs from the ceiling: a chandelier, a pendant, a globe, a dome or a fan."""
    solids.begin()
    white = Paint((0.98, 0.95, 0.86), glow=1.5 if on else 0.0)
    drop = {"dome": 0.0, "fan": 0.26}.get(style, float(rng.uniform(0.28, 0.45)))
    if style != "dome":
        solids.drum("chandelier", (x, top - 0.04, z), 0.04, 0.05, 0.07, metal, metal)
        solids.drum("chandelier", (x, top - drop, z), drop, 0.012, 0.012, metal)
    y = top - drop
    if style == "dome":
        solids.drum("chandelier", (x, top - 0.04, z), 0.04, 0.24, 0.24, metal)
        solids.puff("chandelier", (x, top - 0.04, z), (0.22, 0, 0), (0, 0.1, 0), (0, 0, 0.22), white, 2.0)
        y = top - 0.12
    elif style == "globe":
        solids.puff(
            "chandelier",
            (x, y - 0.16, z),
            (0.2, 0, 0),
            (0, 0.19, 0),
            (0, 0, 0.2),
            white.but(pattern="bands", along=12.0, second=(0.88, 0.83, 0.72)),
            2.0,
        )
        y -= 0.16
    elif style == "pendant":
        paint = _shade_paint(cloth, on)
        solids.drum(
            "chandelier",
            (x, y - 0.24, z),
            0.25,
            0.27,
            0.15,
            paint,
            Paint((1.0, 0.93, 0.72), glow=1.4) if on else Paint(shade(cloth.colour, 0.7)),
        )
        y -= 0.2
    elif style == "fan":
        solids.drum("chandelier", (x, y - 0.06, z), 0.12, 0.1, 0.1, metal, metal)
        turn = float(rng.uniform(0, 6.28))
        for i in range(5):
            t = turn + i * 2 * math.pi / 5
            c, s = math.cos(t), math.sin(t)
            blade = Paint(shade(cloth.colour, 0.95), pattern="grain", second=shade(cloth.colour, 0.8), along=4.0)
            solids.sheet(
                "chandelier",
                (x + c * 0.38, y + 0.0, z + s * 0.38),
                (c * 0.3, 0, s * 0.3),
                (-s * 0.075, 0.014, c * 0.075),
                blade,
            )
        solids.puff("chandelier", (x, y - 0.1, z), (0.1, 0, 0), (0, 0.09, 0), (0, 0, 0.1), white, 2.0)
        y -= 0.15
    else:  # a chandelier with arms
        n = int(rng.integers(5, 8))
        reach = float(rng.uniform(0.28, 0.36))
        turn = float(rng.uniform(0, 6.28))
        solids.puff("chandelier", (x, y - 0.12, z), (0.05, 0, 0), (0, 0.13, 0), (0, 0, 0.05), metal, 2.0)
        for i in range(n):
            t = turn + i * 2 * math.pi / n
            c, s = math.cos(t), math.sin(t)
            arm = np.concatenate([_ARM, _ARM[::-1] * (1, 1) - (0, 0.16)])
            solids.sheet(
                "chandelier",
                (x + c * reach / 2, y - 0.16, z + s * reach / 2),
                (c * reach / 2, 0, s * reach / 2),
                (0, 0.09, 0),
                metal,
                arm,
            )
            end = (x + c * reach, y - 0.13, z + s * reach)
            solids.drum("chandelier", end, 0.03, 0.02, 0.035, metal)
            bulb = Paint((1.0, 0.93, 0.74), glow=1.6) if on else Paint((0.95, 0.93, 0.86))
            if cloth.pattern == "plain":
                solids.puff(
                    "chandelier", (end[0], end[1] + 0.07, end[2]), (0.035, 0, 0), (0, 0.05, 0), (0, 0, 0.035), bulb, 2.0
                )
            else:
                solids.drum("chandelier", (end[0], end[1] + 0.04, end[2]), 0.08, 0.055, 0.03, _shade_paint(cloth, on))
    if on:
        solids.lamps.append(Lamp((x, y - 0.12, z), times((1.0, 0.86, 0.64), 1.5)))


_ARM = np.stack([np.linspace(-1, 1, 9), -0.55 * np.sin(np.linspace(0, np.pi, 9)) + np.linspace(0.35, 0.35, 9)], 1)
__all__ = ["CIRCLE", "ceiling_lamp", "floor_lamp", "table_lamp", "wall_lamp"]
