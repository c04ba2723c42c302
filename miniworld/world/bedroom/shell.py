"""The room itself: floor, ceiling, walls, plinths, the door, and the window with what is seen through it."""

from __future__ import annotations

from typing import Any

import numpy as np

from miniworld.world.bedroom.solids import CIRCLE, Colour, Paint, Solids, mix, shade
from miniworld.world.bedroom.spot import Spot

Span = tuple[float, float]
_BEHIND = -2.0  # walls go on behind the camera

#: time: sky above, sky below, hills, and how light the view is
SKIES: dict[str, tuple[Colour, Colour, Colour]] = {
    "day": ((0.42, 0.66, 0.94), (0.84, 0.93, 0.99), (0.42, 0.58, 0.34)),
    "dusk": ((0.40, 0.34, 0.60), (0.98, 0.62, 0.38), (0.30, 0.24, 0.32)),
    "night": ((0.03, 0.05, 0.14), (0.11, 0.16, 0.32), (0.04, 0.06, 0.11)),
}


_HOUSES: tuple[Colour, ...] = (
    (0.86, 0.80, 0.68),
    (0.72, 0.46, 0.38),
    (0.62, 0.68, 0.74),
    (0.88, 0.72, 0.5),
    (0.78, 0.78, 0.76),
)


def draw_shell(solids: Solids, room: tuple[float, float, float], p: dict[str, Paint], wainscot: bool) -> None:
    """Floor, ceiling and the three walls that are seen, with plinths."""
    solids.lining = True
    wide, tall, deep = room
    z, dz = (deep + _BEHIND) / 2, (deep - _BEHIND) / 2
    for name, y, paint in (("floor", 0.0, p["floor"]), ("ceiling", tall, p["ceiling"])):
        solids.begin()
        solids.sheet(name, (wide / 2, y, z), (wide / 2, 0, 0), (0, 0, dz), paint)
    for wall in ("left", "right", "back"):
        solids.begin()
        spot = Spot(solids, wall, wide, deep)
        span = (0.0, wide) if wall == "back" else (_BEHIND, deep)
        paint = p["accent"] if wall == "back" else p["wall"]
        spot.upright("wall", span, (0.0, tall), 0.0, paint)
        if wainscot:
            spot.upright("wall", span, (0.0, 0.9), 0.001, p["wainscot"])
            spot.upright("wall", span, (0.9, 0.95), 0.002, p["trim"])
        spot.box("plinth", span, (0.0, 0.11), (0.0, 0.018), p["trim"])
        spot.upright("ceiling", span, (tall - 0.06, tall), 0.003, p["ceiling"])
    solids.lining = False


def draw_window(rng: np.random.Generator, spot: Spot, s: Span, y: Span, a: dict[str, Any], frame: Paint) -> None:
    """A window between s and y: the view, then the frame, its bars and the sill."""
    spot.solids.begin()
    top, low, hills = SKIES[a["time"]]
    dim = {"day": 1.25, "dusk": 1.0, "night": 1.0}[a["time"]]
    spot.upright("window", s, y, 0.004, Paint(low, top, "fade", glow=dim, grain=0.0))
    _view(rng, spot, s, y, a, low, hills, dim)
    glass = 0.03
    for span in ((s[0] - 0.07, s[0]), (s[1], s[1] + 0.07)):
        spot.box("window_frame", span, (y[0], y[1]), (0.0, 0.06), frame)
    spot.box("window_frame", (s[0] - 0.07, s[1] + 0.07), (y[1], y[1] + 0.07), (0.0, 0.06), frame)
    spot.box("window_frame", (s[0] - 0.12, s[1] + 0.12), (y[0] - 0.06, y[0]), (0.0, 0.13), frame)
    columns, rows = a["panes"]
    for i in range(1, columns):
        x = s[0] + (s[1] - s[0]) * i / columns
        half = 0.035 if columns == 2 or i == columns // 2 else 0.018
        spot.box("window_frame", (x - half, x + half), y, (0.005, glass), frame)
    for i in range(1, rows):
        h = y[0] + (y[1] - y[0]) * i / rows
        spot.box("window_frame", s, (h - 0.018, h + 0.018), (0.005, glass), frame)


def _view(rng: np.random.Generator, spot: Spot, s: Span, y: Span, a: dict[str, Any], low: Colour, hills: Colour,
          dim: float) -> None:  # fmt: skip
    """Hills, trees or houses before the sky; the moon and stars at night."""

    def part(outline: np.ndarray, colour: Colour) -> None:
        inside = np.clip(outline, -1, 1)
        spot.upright("window", s, y, 0.0041, Paint(colour, glow=dim, grain=0.0), inside, join=True)

    night = a["time"] == "night"
    ratio = (s[1] - s[0]) / (y[1] - y[0])
    if night:
        for x, h in rng.uniform((-0.95, -0.2), (0.95, 0.95), (9, 2)):
            part(np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (0.018 / ratio, 0.018) + (x, h), (0.95, 0.95, 0.85))
        if rng.random() < 0.6:
            part(CIRCLE * (0.13 / ratio, 0.13) + rng.uniform((-0.7, 0.2), (0.7, 0.7)), (0.97, 0.95, 0.82))
    elif rng.random() < 0.7:
        for _ in range(2):
            x, h = rng.uniform((-0.8, 0.25), (0.8, 0.8))
            for k in range(3):
                part(
                    CIRCLE * (0.2 / ratio, 0.1) + (x + (k - 1) * 0.18 / ratio, h + 0.05 * (k == 1)),
                    mix(low, (1.0, 1.0, 1.0), 0.75),
                )
    line = np.linspace(-1, 1, 9)
    rise = -0.35 + 0.12 * np.sin(line * float(rng.uniform(2, 4)) + float(rng.uniform(0, 6)))
    part(np.concatenate([np.stack([line, rise], 1), [(1, -1), (-1, -1)]]), mix(hills, low, 0.3))
    if a["view"] == "houses":
        x = -1.0 + float(rng.uniform(0, 0.15))
        while x < 0.95:
            w, h = float(rng.uniform(0.25, 0.45)), float(rng.uniform(-0.35, 0.3))
            light = {"day": 1.0, "dusk": 0.42, "night": 0.14}[a["time"]]
            wall = shade(_HOUSES[int(rng.integers(len(_HOUSES)))], light)
            part(np.array([(x, -1), (x, h), (x + w, h), (x + w, -1)]), wall)
            part(np.array([(x - 0.03, h), (x + w / 2, h + 0.26), (x + w + 0.03, h)]), shade((0.52, 0.26, 0.2), light))
            pane = (1.0, 0.84, 0.45) if a["time"] != "day" else (0.35, 0.42, 0.52)
            for k in range(2):
                if rng.random() < 0.75:
                    part(
                        np.array([(0.15, 0), (0.4, 0), (0.4, 0.17), (0.15, 0.17)]) * (w, 1)
                        + (x + 0.45 * w * k, h - 0.3),
                        pane,
                    )
            x += w + 0.04
    elif a["view"] == "trees":
        for x in rng.uniform(-0.95, 0.95, 4):
            h = float(rng.uniform(0.25, 0.5))
            green = shade(hills, float(rng.uniform(0.65, 0.95)))
            part(
                np.array([(-0.03, -1), (0.03, -1), (0.03, -0.3), (-0.03, -0.3)]) * (1 / ratio, 1) + (x, 0),
                shade(hills, 0.45),
            )
            part(CIRCLE * (h / ratio * 0.8, h * 0.8) + (x, -0.3 + h * 0.4), green)
        part(np.array([(-1, -1), (1, -1), (1, -0.75), (-1, -0.7)]), shade(hills, 0.85))
    else:
        part(np.concatenate([np.stack([line, rise[::-1] - 0.25], 1), [(1, -1), (-1, -1)]]), shade(hills, 0.9))


def draw_door(spot: Spot, s: Span, tall: float, paint: Paint, frame: Paint, knob: Paint, panels: int) -> None:
    """A closed door in its frame."""
    spot.solids.begin()
    for span in ((s[0] - 0.09, s[0]), (s[1], s[1] + 0.09)):
        spot.box("door", span, (0.0, tall), (0.0, 0.045), frame)
    spot.box("door", (s[0] - 0.09, s[1] + 0.09), (tall, tall + 0.09), (0.0, 0.045), frame)
    spot.upright("door", s, (0.0, tall), 0.02, paint)
    wide = s[1] - s[0]
    inner, edge = paint.but(colour=shade(paint.colour, 0.9)), paint.but(colour=shade(paint.colour, 0.72))
    columns = 2 if panels > 2 else 1
    rows = max(panels // columns, 1)
    for i in range(columns if panels else 0):
        for j in range(rows):
            x = (s[0] + wide * (i / columns) + 0.09, s[0] + wide * ((i + 1) / columns) - 0.09)
            h = (0.15 + (tall - 0.25) * j / rows, 0.15 + (tall - 0.25) * (j + 1) / rows - 0.1)
            spot.upright("door", x, h, 0.021, edge, join=True)
            spot.upright("door", (x[0] + 0.02, x[1] - 0.02), (h[0] + 0.02, h[1] - 0.02), 0.022, inner, join=True)
    spot.box("door", (s[1] - 0.12, s[1] - 0.05), (0.98, 1.02), (0.02, 0.07), knob)


def draw_curtains(rng: np.random.Generator, spot: Spot, s: Span, y: Span, a: dict[str, Any], cloth: Paint,
                  rod: Paint) -> None:  # fmt: skip
    """Curtains on a rod: open to both sides, half drawn, on one side, or closed."""
    spot.solids.begin()
    wide = s[1] - s[0]
    left, right = s[0] - float(a["overhang"]), s[1] + float(a["overhang"])
    up = y[1] + 0.16
    foot = {"floor": 0.03, "sill": y[0] - 0.14}[a["curtain_length"]]
    open_ = a["curtains"]
    width = {"open": 0.2, "half": 0.36, "one side": 0.4, "closed": 0.5}[open_] * wide + float(a["overhang"])
    spans = [(left, left + width), (right - width, right)]
    if open_ == "one side":
        spans = spans[:1]
    for i, span in enumerate(spans):
        n = max(int((span[1] - span[0]) / 0.075), 4)
        t = np.linspace(-1, 1, 2 * n + 1)
        hem = np.where(np.arange(2 * n + 1) % 2 == 0, -1.0, -0.985)
        waist = 1.0
        if a["tied"] and open_ in ("open", "half"):  # held by a band at the height of the sill
            waist = 0.62
        outer = -1.0 if i == 0 else 1.0
        rows = np.linspace(1, -1, 9)
        pinch = 1 - (1 - waist) * np.exp(-(((rows + 0.25) / 0.4) ** 2))
        near = np.where(i == 0, 1.0, -1.0) * (2 * pinch - 1)
        inner = np.stack([near, rows], 1)
        bottom = np.stack([t if i else t[::-1], hem], 1)
        outline = (
            np.concatenate([[(outer, 1.0)], inner, bottom[:, :]])
            if i == 0
            else np.concatenate([[(outer, 1.0)], inner, bottom])
        )
        spot.upright("curtain", span, (foot, up), 0.1, cloth, outline)
        spot.block(span, (foot, up), (0.02, 0.1))
    thick = 0.018
    spot.box("curtain_rod", (left - 0.08, right + 0.08), (up - 0.005, up + 2 * thick), (0.085, 0.085 + 2 * thick), rod)
    for x in (left - 0.1, right + 0.1):
        spot.puff("curtain_rod", (x, up + 0.015, 0.103), (0.04, 0.04, 0.04), rod, 2.0)


def draw_beams(solids: Solids, room: tuple[float, float, float], wood: Paint) -> None:
    """Beams under the ceiling, from wall to wall."""
    wide, tall, deep = room
    for k in range(3):
        solids.begin()
        z = deep * (0.3 + 0.24 * k)
        solids.box("ceiling", (0.0, tall - 0.14, z - 0.08), (wide, tall, z + 0.08), wood)
