"""Tables, dressers, wardrobes, chairs and poufs."""

from __future__ import annotations

import numpy as np

from miniworld.world.bedroom.solids import Paint, shade
from miniworld.world.bedroom.spot import Spot

Span = tuple[float, float]


def _knob(spot: Spot, name: str, s: float, y: float, d: float, paint: Paint) -> None:
    spot.upright(name, (s - 0.022, s + 0.022), (y - 0.02, y + 0.02), d + 0.012, paint, join=True)


def cabinet(spot: Spot, s: Span, tall: float, d: Span, wood: Paint, knob: Paint, drawers: tuple[int, int]) -> None:
    """A nightstand or dresser with rows and columns of drawers, on short feet."""
    spot.solids.begin()
    rows, columns = drawers
    foot = 0.09
    for at in (s[0] + 0.02, s[1] - 0.07):
        for away in (d[0] + 0.02, d[1] - 0.07):
            spot.box("table", (at, at + 0.05), (0, foot), (away, away + 0.05), wood.but(colour=shade(wood.colour, 0.7)))
    spot.box("table", s, (foot, tall - 0.03), d, wood)
    face = wood.but(colour=shade(wood.colour, 1.1))
    gap = wood.but(colour=shade(wood.colour, 0.45), pattern="plain")
    spot.upright("table", (s[0] + 0.015, s[1] - 0.015), (foot + 0.02, tall - 0.035), d[1] + 0.002, gap)
    wide, high = (s[1] - s[0] - 0.03) / columns, (tall - 0.055 - foot) / rows
    for i in range(rows):
        for j in range(columns):
            x, y = s[0] + 0.015 + wide * j, foot + 0.02 + high * i
            spot.upright(
                "table", (x + 0.012, x + wide - 0.012), (y + 0.012, y + high - 0.012), d[1] + 0.006, face, join=True
            )
            for at in (0.5,) if wide < 0.6 else (0.25, 0.75):
                _knob(spot, "table", x + wide * at, y + high / 2, d[1], knob)
    _top(spot, s, tall, d, wood)
    spot.block(s, (0, tall), d)


def _top(spot: Spot, s: Span, tall: float, d: Span, wood: Paint) -> None:
    top = wood.but(colour=shade(wood.colour, 1.06))
    spot.box("table_top", (s[0] - 0.02, s[1] + 0.02), (tall - 0.03, tall), (d[0], d[1] + 0.025), top)


def table(spot: Spot, s: Span, tall: float, d: Span, wood: Paint, drawer: bool) -> None:
    """A desk or side table on four legs."""
    spot.solids.begin()
    leg = wood.but(colour=shade(wood.colour, 0.9))
    for away in (d[0] + 0.02, d[1] - 0.06):
        for at in (s[0] + 0.02, s[1] - 0.065):
            spot.box("table", (at, at + 0.045), (0, tall - 0.1), (away, away + 0.045), leg)
    spot.box(
        "table",
        (s[0] + 0.01, s[1] - 0.01),
        (tall - (0.16 if drawer else 0.1), tall - 0.03),
        (d[0] + 0.01, d[1] - 0.01),
        wood,
    )
    _top(spot, s, tall, d, wood)
    spot.block(s, (tall - 0.16, tall), d)


def round_table(spot: Spot, s: float, d: float, radius: float, tall: float, wood: Paint) -> None:
    """A little round table on one foot."""
    spot.solids.begin()
    foot = spot.point(s, 0, d)
    dark = wood.but(colour=shade(wood.colour, 0.85))
    spot.solids.drum("table", foot, 0.03, radius * 0.6, radius * 0.55, dark, dark)
    spot.solids.drum("table", (foot[0], 0.03, foot[2]), tall - 0.06, 0.035, 0.03, dark)
    top = wood.but(colour=shade(wood.colour, 1.06), round_=(0.0, 0.0))
    spot.solids.drum("table_top", (foot[0], tall - 0.03, foot[2]), 0.03, radius, radius, top, top)
    spot.block((s - radius, s + radius), (tall - 0.05, tall), (d - radius, d + radius))


def wardrobe(spot: Spot, s: Span, tall: float, d: Span, wood: Paint, knob: Paint, doors: int, mirror: bool) -> None:
    """A wardrobe with doors; `mirror` sets one into a door."""
    spot.solids.begin()
    spot.box("wardrobe", s, (0.05, tall), d, wood)
    spot.box("wardrobe", (s[0] - 0.03, s[1] + 0.03), (tall, tall + 0.06), (d[0], d[1] + 0.03), wood)
    spot.box(
        "wardrobe", (s[0] - 0.01, s[1] + 0.01), (0, 0.08), (d[0], d[1] + 0.01), wood.but(colour=shade(wood.colour, 0.8))
    )
    gap = wood.but(colour=shade(wood.colour, 0.4), pattern="plain")
    spot.upright("wardrobe", (s[0] + 0.02, s[1] - 0.02), (0.1, tall - 0.02), d[1] + 0.002, gap)
    wide = (s[1] - s[0] - 0.04) / doors
    for i in range(doors):
        x = s[0] + 0.02 + wide * i
        face = wood.but(colour=shade(wood.colour, 1.08))
        spot.upright("wardrobe", (x + 0.006, x + wide - 0.006), (0.11, tall - 0.03), d[1] + 0.004, face, join=True)
        if mirror and i == doors // 2:
            glass = Paint((0.66, 0.72, 0.76), (0.86, 0.9, 0.92), "fade", grain=0.0)
            spot.upright("picture", (x + 0.07, x + wide - 0.07), (0.3, tall - 0.2), d[1] + 0.006, glass, join=True)
        else:
            inner = wood.but(colour=shade(wood.colour, 0.93))
            for y in ((0.2, tall * 0.45), (tall * 0.45 + 0.08, tall - 0.13)):
                spot.upright("wardrobe", (x + 0.07, x + wide - 0.07), y, d[1] + 0.006, inner, join=True)
        at = x + wide - 0.04 if i % 2 == 0 else x + 0.04
        spot.upright("wardrobe", (at - 0.012, at + 0.012), (tall * 0.45, tall * 0.55), d[1] + 0.012, knob, join=True)
    spot.block(s, (0, tall), d)


def chair(spot: Spot, s: float, d: float, away: bool, wood: Paint, seat: Paint) -> None:
    """A chair on four legs at (s, d); with `away` its back is on the side of the room, else of the wall."""
    spot.solids.begin()
    half, level = 0.22, 0.45
    back = d + half if away else d - half
    for x in (s - half, s + half - 0.04):
        for z in (d - half, d + half - 0.04):
            spot.box("chair", (x, x + 0.04), (0, level - 0.03), (z, z + 0.04), wood)
    spot.box("chair", (s - half, s + half), (level - 0.04, level), (d - half, d + half), wood)
    spot.box(
        "chair", (s - half + 0.01, s + half - 0.01), (level, level + 0.04), (d - half + 0.01, d + half - 0.01), seat
    )
    rear = (back - 0.04, back) if away else (back, back + 0.04)
    for x in (s - half, s + half - 0.04):
        spot.box("chair", (x, x + 0.04), (level, 0.95), rear, wood)
    for y in (0.58, 0.7, 0.85):
        spot.box("chair", (s - half + 0.04, s + half - 0.04), (y, y + (0.09 if y > 0.8 else 0.05)), rear, wood)
    spot.block((s - half, s + half), (0.2, level), (d - half, d + half))


def armchair(spot: Spot, s: float, d: float, cloth: Paint, cushion: Paint | None) -> None:
    """A padded chair with its back to the wall."""
    spot.solids.begin()
    half = 0.38
    dark = cloth.but(colour=shade(cloth.colour, 0.9))
    for x in (s - half + 0.02, s + half - 0.07):
        spot.box("chair", (x, x + 0.05), (0, 0.12), (d + half - 0.08, d + half - 0.03), Paint((0.25, 0.17, 0.11)))
    spot.box("chair", (s - half, s + half), (0.12, 0.34), (d - half, d + half), dark)
    spot.puff("chair", (s, 0.62, d - half + 0.1), (half - 0.02, 0.34, 0.12), cloth, 5.0, 0.1)
    spot.puff(
        "chair", (s, 0.38, d + 0.06), (half - 0.12, 0.09, half - 0.1), cloth.but(colour=shade(cloth.colour, 1.08)), 5.0
    )
    for x in (s - half + 0.07, s + half - 0.07):
        spot.puff("chair", (x, 0.42, d), (0.085, 0.2, half), cloth, 5.0)
    if cushion:
        spot.puff("cushion", (s, 0.63, d - 0.1), (0.19, 0.19, 0.07), cushion, 3.4, 0.3)
    spot.block((s - half, s + half), (0.1, 0.6), (d - half, d + half))


def pouf(spot: Spot, s: float, d: float, style: str, half: float, cloth: Paint, legs: Paint) -> None:
    """A pouf: round, a cube, or a bench."""
    spot.solids.begin()
    foot = spot.point(s, 0, d)
    if style == "round":
        r = 0.27
        spot.solids.drum("pouf", foot, 0.3, r * 0.95, r, cloth.but(colour=shade(cloth.colour, 0.9)))
        spot.puff("pouf", (s, 0.32, d), (r + 0.01, 0.1, r + 0.01), cloth, 2.0)
        spot.block((s - r, s + r), (0, 0.4), (d - r, d + r))
        return
    deep = 0.25 if style == "cube" else 0.2
    half = 0.26 if style == "cube" else half
    if style == "bench":
        for x in (s - half + 0.03, s + half - 0.08):
            for z in (d - deep + 0.03, d + deep - 0.08):
                spot.box("pouf", (x, x + 0.05), (0, 0.3), (z, z + 0.05), legs)
    low = 0.28 if style == "bench" else 0.02
    spot.cushion("pouf", (s - half, s + half), (low, 0.44), (d - deep, d + deep), 0.05, cloth)
    spot.block((s - half, s + half), (low, 0.44), (d - deep, d + deep))


def stuff(rng: np.random.Generator, spot: Spot, s: Span, y: float, d: Span, many: int) -> None:
    """Things on a table: books, a vase with flowers, a clock, a cup, a bottle, a small frame."""
    room = (s[1] - s[0]) / many
    kinds = rng.permutation(6)[:many]
    for i, kind in enumerate(kinds):
        x = s[0] + room * (i + 0.5)
        z = d[0] + (d[1] - d[0]) * float(rng.uniform(0.45, 0.75))
        _thing(rng, spot, int(kind), x, y, z, min(room * 0.42, 0.13))


_BRIGHT = (
    (0.75, 0.24, 0.2),
    (0.2, 0.38, 0.66),
    (0.22, 0.52, 0.36),
    (0.9, 0.74, 0.3),
    (0.9, 0.88, 0.84),
    (0.5, 0.32, 0.56),
)


def _thing(rng: np.random.Generator, spot: Spot, kind: int, s: float, y: float, d: float, half: float) -> None:
    solids = spot.solids
    solids.begin()
    colour = _BRIGHT[int(rng.integers(len(_BRIGHT)))]
    foot = spot.point(s, y, d)
    if kind == 0:  # books
        for i in range(int(rng.integers(2, 5))):
            cover = Paint(_BRIGHT[int(rng.integers(len(_BRIGHT)))])
            w = half * float(rng.uniform(0.8, 1.0))
            spot.box("table_stuff", (s - w, s + w), (y + 0.035 * i, y + 0.035 * (i + 1)), (d - 0.09, d + 0.09), cover)
    elif kind == 1:  # a vase with flowers
        solids.drum("table_stuff", foot, 0.07, 0.035, 0.06, Paint(colour))
        solids.drum("table_stuff", (foot[0], y + 0.07, foot[2]), 0.09, 0.06, 0.03, Paint(colour))
        bloom = _BRIGHT[int(rng.integers(len(_BRIGHT)))]
        for _ in range(5):
            dx, dy, dz = rng.normal(0, 0.05, 3)
            at = (foot[0] + dx, y + 0.27 + dy, foot[2] + dz)
            green = rng.random() < 0.4
            solids.puff(
                "plant",
                at,
                (0.045, 0, 0),
                (0, 0.045, 0),
                (0, 0, 0.045),
                Paint((0.3, 0.5, 0.25) if green else bloom),
                2.0,
            )
    elif kind == 2:  # a clock
        spot.puff("table_stuff", (s, y + 0.08, d), (0.08, 0.08, 0.03), Paint(colour), 2.0)
        spot.upright(
            "table_stuff",
            (s - 0.055, s + 0.055),
            (y + 0.025, y + 0.135),
            d + 0.035,
            Paint((0.95, 0.94, 0.9)),
            CIRCLE_FINE,
            True,
        )
    elif kind == 3:  # a cup
        solids.drum("table_stuff", foot, 0.09, 0.03, 0.04, Paint(colour), Paint((0.25, 0.15, 0.1)))
    elif kind == 4:  # a bottle
        solids.drum("table_stuff", foot, 0.14, 0.035, 0.035, Paint(colour))
        solids.drum("table_stuff", (foot[0], y + 0.14, foot[2]), 0.08, 0.014, 0.012, Paint(shade(colour, 0.8)))
    else:  # a small picture on a stand
        spot.box(
            "picture_frame", (s - half * 0.7, s + half * 0.7), (y, y + 0.2), (d - 0.02, d), Paint((0.3, 0.22, 0.15))
        )
        spot.upright(
            "picture",
            (s - half * 0.5, s + half * 0.5),
            (y + 0.035, y + 0.165),
            d + 0.003,
            Paint(colour, (0.9, 0.88, 0.8), "fade"),
            join=True,
        )


CIRCLE_FINE = np.stack([np.cos(np.linspace(0, 6.283, 14)), np.sin(np.linspace(0, 6.283, 14))], 1)
