"""The bed with its parts: headboard, footboard, rails, mattress, covers, pillows and cushions."""

from __future__ import annotations

from typing import Any

import numpy as np

from miniworld.world.bedroom.solids import CIRCLE, Paint, mix, shade
from miniworld.world.bedroom.spot import Spot

_ARCH = CIRCLE[:11]  # the upper half of a circle


def draw_bed(
    rng: np.random.Generator, spot: Spot, s0: float, s1: float, a: dict[str, Any], p: dict[str, Paint]
) -> None:
    """A bed with its head at the wall between s0 and s1; `p` holds the paints of its parts."""
    solids, length = spot.solids, float(a["bed_length"])
    solids.begin()
    low, high = 0.30, 0.30 + a["mattress"]
    _headboard(rng, spot, s0, s1, a, p)
    start = 0.09
    rail = p["rail"]
    if a["base"] == "legs":
        for s in (s0 + 0.02, s1 - 0.09):
            spot.box("bed", (s, s + 0.07), (0, 0.2), (length - 0.14, length - 0.06), p["frame"])
    else:
        spot.box("bed", (s0 + 0.05, s1 - 0.05), (0.02, 0.2), (start, length - 0.08), p["skirt"])
    for side in ((s0, s0 + 0.05), (s1 - 0.05, s1)):
        spot.box("side_rail", side, (0.14, low + 0.06), (start, length), rail)
    footed = a["footboard"] != "none"
    if not footed:
        spot.box("side_rail", (s0 + 0.05, s1 - 0.05), (0.14, low + 0.06), (length - 0.05, length), rail)
    end = length - (0.07 if footed else 0.0)
    spot.cushion("bed", (s0 + 0.05, s1 - 0.05), (low, high), (start, end - 0.03), 0.05, p["sheet"])
    _covers(rng, spot, s0, s1, high, start, end, a, p)
    _pillows(rng, spot, s0, s1, high, a, p)
    if footed:
        _footboard(spot, s0, s1, length, a, p)
    if a["posts"]:
        _posts(spot, s0, s1, length, p)
    spot.block((s0, s1), (0.0, high), (0.0, length))
    spot.block((s0, s1), (0.0, float(a["headboard_height"])), (0.0, 0.08))


def _headboard(
    rng: np.random.Generator, spot: Spot, s0: float, s1: float, a: dict[str, Any], p: dict[str, Paint]
) -> None:
    tall, style, paint = float(a["headboard_height"]), a["headboard"], p["headboard"]
    if style in ("panel", "padded"):
        wings = 0.03 if style == "panel" else 0.06
        spot.box("headboard", (s0 - wings, s1 + wings), (0.0, tall), (0.0, 0.09), paint, ("headboard", p["frame"]))
        if style == "panel":
            n = 3 if s1 - s0 > 1.3 else 2
            wide = (s1 - s0) / n
            for i in range(n):
                inner = paint.but(colour=shade(paint.colour, 0.86))
                spot.upright(
                    "headboard", (s0 + wide * i + 0.05, s0 + wide * (i + 1) - 0.05), (0.5, tall - 0.1), 0.092, inner,
                    join=True,
                )  # fmt: skip
    elif style == "arched":
        spot.box("headboard", (s0, s1), (0.0, tall - 0.28), (0.0, 0.08), paint)
        middle, half = (s0 + s1) / 2, (s1 - s0) / 2
        spot.upright("headboard", (middle - half, middle + half), (tall - 0.56, tall), 0.08, paint, _ARCH, join=True)
        inner = paint.but(colour=shade(paint.colour, 0.88))
        spot.upright(
            "headboard",
            (middle - half * 0.82, middle + half * 0.82),
            (tall - 0.62, tall - 0.1),
            0.081,
            inner,
            _ARCH,
            True,
        )
    else:  # bars of wood or metal
        thick = 0.07 if style == "slats" else 0.045
        for s in (s0, s1 - thick):
            spot.box("headboard", (s, s + thick), (0.0, tall), (0.01, 0.01 + thick), paint)
        for y in (tall - 0.12, 0.52):
            spot.box("headboard", (s0 + thick, s1 - thick), (y, y + thick), (0.015, thick), paint)
        n = int((s1 - s0) / (0.16 if style == "slats" else 0.2))
        for i in range(1, n):
            s, half = s0 + (s1 - s0) * i / n, 0.03 if style == "slats" else 0.014
            spot.upright("headboard", (s - half, s + half), (0.52, tall - 0.08), 0.045, paint)


def _footboard(spot: Spot, s0: float, s1: float, length: float, a: dict[str, Any], p: dict[str, Paint]) -> None:
    style, paint = a["footboard"], p["footboard"]
    tall = float(a["footboard_height"])
    if style == "panel":
        spot.box("footboard", (s0 - 0.03, s1 + 0.03), (0.08, tall), (length - 0.07, length), paint)
        inner = paint.but(colour=shade(paint.colour, 0.87))
        n = 3 if s1 - s0 > 1.3 else 2
        wide = (s1 - s0) / n
        for i in range(n):
            spot.upright(
                "footboard", (s0 + wide * i + 0.05, s0 + wide * (i + 1) - 0.05), (0.16, tall - 0.08), length + 0.001,
                inner, join=True,
            )  # fmt: skip
        for s in (s0 - 0.03, s1 - 0.04):
            spot.box("footboard", (s, s + 0.07), (0.0, tall + 0.06), (length - 0.07, length + 0.005), paint)
    else:
        thick = 0.045
        for s in (s0, s1 - thick):
            spot.box("footboard", (s, s + thick), (0.0, tall + 0.1), (length - thick, length), paint)
        spot.box("footboard", (s0 + thick, s1 - thick), (tall, tall + thick), (length - thick, length), paint)
        spot.box("footboard", (s0 + thick, s1 - thick), (0.24, 0.24 + thick), (length - thick, length), paint)
        n = int((s1 - s0) / 0.2)
        for i in range(1, n):
            s = s0 + (s1 - s0) * i / n
            spot.upright("footboard", (s - 0.014, s + 0.014), (0.28, tall), length - 0.02, paint)


def _posts(spot: Spot, s0: float, s1: float, length: float, p: dict[str, Paint]) -> None:
    """Four posts that carry a canopy."""
    thick, tall = 0.06, 2.02
    for d in (0.0, length - thick):
        for s in (s0 - 0.035, s1 + 0.035 - thick):
            spot.box("bed", (s, s + thick), (0.0, tall), (d, d + thick), p["frame"])
    cloth = Paint(
        mix(p["duvet"].colour, (0.94, 0.92, 0.88), 0.6), mix(p["duvet"].colour, (0.6, 0.58, 0.54), 0.6), "folds", 6.0
    )
    spot.box("bed", (s0 - 0.045, s1 + 0.045), (tall, tall + 0.17), (0.0, length + 0.01), cloth)


def _covers(rng: np.random.Generator, spot: Spot, s0: float, s1: float, high: float, start: float, end: float,
            a: dict[str, Any], p: dict[str, Paint]) -> None:  # fmt: skip
    """Duvet with its edge folded back, and a blanket at the foot."""
    duvet, fold = p["duvet"], p["fold"]
    head, hang = start + float(a["bare"]), float(a["hang"])
    thick, over = 0.075, 0.025
    spot.cushion("bed", (s0 - over, s1 + over), (hang, high + thick), (head + 0.12, end + 0.02), 0.06, duvet)
    spot.cushion(
        "bed", (s0 - over - 0.004, s1 + over + 0.004), (hang, high + thick + 0.02), (head, head + 0.2), 0.06, fold
    )
    if a["blanket"]:
        blanket = p["blanket"]
        d1 = end + (0.03 if a["footboard"] == "none" and a["throw_over"] else -0.14)
        d0 = d1 - float(a["blanket_length"])
        spot.cushion(
            "bed", (s0 - over - 0.012, s1 + over + 0.012), (hang - 0.05, high + thick + 0.012), (d0, d1), 0.06, blanket
        )  # fmt: skip


def _pillows(
    rng: np.random.Generator, spot: Spot, s0: float, s1: float, high: float, a: dict[str, Any], p: dict[str, Paint]
) -> None:
    wide = s1 - s0
    n = 1 if wide < 1.25 else 2
    half = min(0.36, wide / n / 2 - 0.03)
    d = 0.24
    for row in range(int(a["pillow_rows"])):
        paint = p["pillow"] if row == 0 else p["pillow2"]
        tall = 0.23 - 0.03 * row
        for i in range(n):
            s = s0 + wide * (i + 0.5) / n + float(rng.normal(0, 0.015))
            lean = 0.45 + float(rng.uniform(-0.08, 0.12))
            spot.puff("pillow", (s, high + tall * 0.95, d), (half, tall, 0.075), paint, 3.4, lean)
        d += 0.16
    count = int(a["cushions"])
    for i in range(count):
        s = (s0 + s1) / 2 + (i - (count - 1) / 2) * min(0.44, wide / (count + 0.6)) + float(rng.normal(0, 0.02))
        paint = p["cushion"] if i % 2 == 0 else p["cushion2"]
        size = float(rng.uniform(0.17, 0.21))
        if a["bolster"] and i == count // 2:
            spot.puff("cushion", (s, high + 0.17, d + 0.1), (0.3, 0.1, 0.1), paint, 5.0, 0.2)
        else:
            spot.puff("cushion", (s, high + 0.06 + size, d + 0.02 * (i % 2)), (size, size, 0.07), paint, 3.4, 0.4)


def bed_paints(a: dict[str, Any], named: dict[str, Paint]) -> dict[str, Paint]:
    """Paints of all parts from those that are chosen: frame, headboard, duvet, blanket, pillow and cushion."""
    frame, duvet, pillow = named["frame"], named["duvet"], named["pillow"]
    metal = a["headboard"] == "bars"
    white = (0.93, 0.92, 0.89)
    return {
        **named,
        "rail": frame if not metal else frame.but(round_=(0.0, 0.6)),
        "footboard": frame,
        "skirt": Paint(mix(duvet.colour, (0.2, 0.2, 0.2), 0.45)),
        "sheet": Paint(white),
        "fold": named.get("fold", Paint(mix(duvet.colour, white, 0.75))),
        "pillow2": named.get("pillow2", pillow.but(colour=mix(pillow.colour, duvet.colour, 0.45))),
    }
