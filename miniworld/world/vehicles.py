"""Vehicles: outlines and named points, facing +x, y up, the ground at 0; units are about half a car's length."""

from __future__ import annotations

import numpy as np

from miniworld.world.paint import Sketch

Point = tuple[float, float]

VEHICLES: dict[str, tuple[str, ...]] = {
    "car": ("front_wheel", "rear_wheel", "headlight", "tail_light", "front_bumper", "rear_bumper", "roof_front",
            "roof_rear", "windscreen_foot", "rear_window_foot", "door_handle"),
    "bus": ("front_wheel", "rear_wheel", "headlight", "tail_light", "front_bumper", "rear_bumper", "roof_front",
            "roof_rear", "first_window", "last_window", "door"),
    "truck": ("front_wheel", "rear_wheel", "headlight", "tail_light", "front_bumper", "rear_bumper", "cab_roof",
              "cargo_front", "cargo_rear", "cab_window", "door_handle"),
    "bicycle": ("front_wheel", "rear_wheel", "handlebar", "seat", "crank", "head_tube", "seat_tube_top", "front_rim",
                "rear_rim"),
    "boat": ("bow", "stern", "mast_top", "mast_foot", "main_sail_corner", "jib_corner", "keel", "cabin"),
}  # fmt: skip


def _wheel(sketch: Sketch, x: float, r: float, far: float = 0.0) -> None:
    if far:
        sketch.ellipse("far_tyre", x + far, r, r * 0.95, r)
        return
    sketch.ellipse("tyre", x, r, r, r)
    sketch.ellipse("rim", x, r, r * 0.58, r * 0.58)
    sketch.ellipse("hub", x, r, r * 0.2, r * 0.2)


def _box(x0: float, y0: float, x1: float, y1: float) -> list[Point]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _car(rng: np.random.Generator, s: Sketch) -> dict[str, Point]:
    r = rng.uniform(0.17, 0.2)
    wf, wr = 0.62 + rng.normal(0, 0.02), -0.62 + rng.normal(0, 0.02)
    roof = rng.uniform(0.66, 0.8)
    rf, rr = rng.uniform(0.05, 0.2), rng.uniform(-0.7, -0.4)
    hood = rng.uniform(0.42, 0.48)
    wf0, rw0 = rf + rng.uniform(0.26, 0.34), rr - rng.uniform(0.12, 0.3)
    for x in (wf, wr):
        _wheel(s, x, r, 0.05)
    s.poly("paint", [(-1, 0.16), (-1.03, 0.3), (-0.98, hood + 0.02), (rw0, hood + 0.05), (rr, roof - 0.03),
                     (rr + 0.08, roof),
                     (rf - 0.08, roof), (rf, roof - 0.03), (wf0, hood + 0.03), (0.9, hood - 0.06), (1.0, 0.32),
                     (1.02, 0.16)])  # fmt: skip
    y0, y1 = hood + 0.04, roof - 0.06
    split = (rf + rr) / 2
    s.poly("glass", [(split + 0.03, y0), (wf0 - 0.08, y0), (rf - 0.03, y1), (split + 0.03, y1)])
    s.poly("glass", [(rw0 + 0.1, y0), (split - 0.03, y0), (split - 0.03, y1), (rr + 0.05, y1)])
    s.poly("shine", [(split + 0.12, y0), (split + 0.2, y0), (split + 0.3, y1), (split + 0.22, y1)])
    s.capsule("trim", (-1.02, 0.19), 0.035, (1.01, 0.19), 0.035)
    s.capsule("paint2", (-0.96, 0.33), 0.012, (0.95, 0.31), 0.012)
    s.capsule("trim", (split - 0.14, hood - 0.05), 0.014, (split - 0.04, hood - 0.05), 0.014)
    s.ellipse("lamp", 0.95, 0.33, 0.05, 0.05)
    s.poly("tail_lamp", _box(-1.02, 0.33, -0.95, 0.43))
    for x in (wf, wr):
        s.ellipse("trim", x, r + 0.01, r * 1.22, r * 1.2)
        _wheel(s, x, r)
    return {"front_wheel": (wf, r), "rear_wheel": (wr, r), "headlight": (0.95, 0.33), "tail_light": (-0.985, 0.38),
            "front_bumper": (0.98, 0.19), "rear_bumper": (-0.98, 0.19), "roof_front": (rf - 0.06, roof - 0.025),
            "roof_rear": (rr + 0.06, roof - 0.025), "windscreen_foot": (wf0 - 0.05, hood + 0.01),
            "rear_window_foot": (rw0 + 0.05, hood + 0.01), "door_handle": (split - 0.09, hood - 0.05)}  # fmt: skip


def _bus(rng: np.random.Generator, s: Sketch) -> dict[str, Point]:
    top, r = rng.uniform(0.86, 1.0), 0.16
    wf, wr = rng.uniform(0.55, 0.66), rng.uniform(-0.68, -0.55)
    for x in (wf, wr):
        _wheel(s, x, r, 0.05)
    s.blob("paint", [(-1.08, 0.13), (-1.1, 0.5), (-1.08, top - 0.03), (-0.6, top), (0.6, top), (1.04, top - 0.04),
                     (1.1, 0.5),
                     (1.1, 0.14), (0.5, 0.12), (-0.5, 0.12)])  # fmt: skip
    s.poly("paint2", _box(-1.08, 0.36, 1.09, 0.45))
    n = int(rng.integers(4, 6))
    left, right = -0.98, 0.62
    w = (right - left) / n
    y0, y1 = 0.54, top - 0.13
    for i in range(n):
        s.poly("glass", _box(left + i * w + 0.03, y0, left + (i + 1) * w - 0.03, y1))
        s.poly(
            "shine",
            [
                (left + (i + 0.25) * w, y0),
                (left + (i + 0.45) * w, y0),
                (left + (i + 0.7) * w, y1),
                (left + (i + 0.5) * w, y1),
            ],
        )
    s.poly("glass", _box(0.68, 0.2, 0.86, y1))
    s.capsule("paint", (0.77, 0.2), 0.008, (0.77, y1), 0.008)
    s.poly("glass", [(0.94, 0.5), (1.09, 0.5), (1.06, y1 + 0.02), (0.94, y1 + 0.02)])
    s.capsule("trim", (-1.09, 0.14), 0.035, (1.09, 0.14), 0.035)
    s.ellipse("lamp", 1.05, 0.28, 0.045, 0.05)
    s.poly("tail_lamp", _box(-1.09, 0.24, -1.03, 0.33))
    for x in (wf, wr):
        s.ellipse("trim", x, r + 0.01, r * 1.2, r * 1.2)
        _wheel(s, x, r)
    return {"front_wheel": (wf, r), "rear_wheel": (wr, r), "headlight": (1.05, 0.28), "tail_light": (-1.06, 0.285),
            "front_bumper": (1.06, 0.14), "rear_bumper": (-1.06, 0.14), "roof_front": (1.0, top - 0.06),
            "roof_rear": (-1.04, top - 0.06),
            "first_window": (right - w / 2, (y0 + y1) / 2), "last_window": (left + w / 2, (y0 + y1) / 2),
            "door": (0.77, 0.4)}  # fmt: skip


def _truck(rng: np.random.Generator, s: Sketch) -> dict[str, Point]:
    r, top, cab = 0.19, rng.uniform(0.95, 1.1), rng.uniform(0.72, 0.84)
    back = rng.uniform(0.28, 0.36)
    wf, wr = 0.72, rng.uniform(-0.72, -0.6)
    for x in (wf, wr):
        _wheel(s, x, r, 0.05)
    s.poly("trim", _box(-1.05, 0.2, 0.6, 0.3))
    s.poly("paint2", _box(-1.08, 0.29, back, top))
    for i in range(1, 5):
        x = -1.08 + (back + 1.08) * i / 5
        s.capsule("sail", (x, 0.34), 0.008, (x, top - 0.05), 0.008)
    s.poly("paint", [(back + 0.04, 0.18), (back + 0.04, cab), (0.78, cab), (0.9, 0.55), (1.06, 0.5), (1.08, 0.18)])
    s.poly("glass", [(back + 0.14, 0.5), (0.82, 0.5), (0.74, cab - 0.07), (back + 0.14, cab - 0.07)])
    s.poly("shine", [(back + 0.22, 0.5), (back + 0.28, 0.5), (back + 0.36, cab - 0.07), (back + 0.3, cab - 0.07)])
    s.capsule("trim", (back + 0.16, 0.42), 0.015, (back + 0.26, 0.42), 0.015)
    s.capsule("trim", (back + 0.1, 0.17), 0.04, (1.08, 0.17), 0.04)
    s.ellipse("lamp", 1.03, 0.33, 0.05, 0.055)
    s.poly("tail_lamp", _box(-1.08, 0.22, -1.0, 0.3))
    for x in (wf, wr):
        s.ellipse("trim", x, r + 0.01, r * 1.2, r * 1.2)
        _wheel(s, x, r)
    return {"front_wheel": (wf, r), "rear_wheel": (wr, r), "headlight": (1.03, 0.33), "tail_light": (-1.04, 0.26),
            "front_bumper": (1.06, 0.17), "rear_bumper": (-1.02, 0.25), "cab_roof": (0.72, cab - 0.03),
            "cargo_front": (back - 0.05, top - 0.05),
            "cargo_rear": (-1.03, top - 0.05), "cab_window": ((back + 0.96) / 2, 0.58),
            "door_handle": (back + 0.21, 0.42)}  # fmt: skip


def _bicycle(rng: np.random.Generator, s: Sketch) -> dict[str, Point]:
    r = rng.uniform(0.40, 0.46)
    f, b = (0.66, r), (-0.66, r)
    crank = (-0.1, r * 0.85)
    seat_top = (-0.27 + rng.normal(0, 0.02), r + rng.uniform(0.52, 0.62))
    head = (0.42, r + rng.uniform(0.5, 0.6))
    for x, y in (f, b):
        ring = np.linspace(0, 2 * np.pi, 33)
        circle = np.stack([np.cos(ring), np.sin(ring)], 1)
        s.poly("tyre", np.concatenate([circle * r, circle[::-1] * r * 0.86]) + (x, y))
    p = {"front_wheel": f, "rear_wheel": b, "crank": crank}
    turn = rng.uniform(0, 6.28)
    for x, y in (f, b):
        for k in range(4):
            lean = k * np.pi / 4 + turn
            dx, dy = 0.86 * r * float(np.cos(lean)), 0.86 * r * float(np.sin(lean))
            s.capsule("rim", (x - dx, y - dy), 0.009, (x + dx, y + dy), 0.009)
        s.ellipse("hub", x, y, 0.05, 0.05)
    t = 0.03
    fork = (0.48, head[1] - 0.16)
    for a, c in ((crank, seat_top), (crank, fork), (seat_top, head), (b, crank),
                 (b, (seat_top[0] + 0.03, seat_top[1] - 0.1)),
                 (head, f)):  # fmt: skip
        s.capsule("frame", a, t, c, t)
    grip = (head[0] - 0.02, head[1] + 0.16)
    s.capsule("trim", head, 0.025, grip, 0.025)
    s.limb("trim", [grip, (grip[0] + 0.1, grip[1] + 0.03), (grip[0] + 0.16, grip[1] - 0.06)], [0.03, 0.03, 0.03])
    post = (seat_top[0] - 0.03, seat_top[1] + 0.13)
    s.capsule("trim", seat_top, 0.022, post, 0.022)
    s.capsule("trim", (post[0] - 0.1, post[1] + 0.02), 0.045, (post[0] + 0.11, post[1] + 0.015), 0.028)
    s.ellipse("hub", *crank, 0.085, 0.085)
    s.capsule("trim", crank, 0.018, (crank[0] + 0.12, crank[1] - 0.1), 0.018)
    s.capsule("trim", (crank[0] + 0.07, crank[1] - 0.11), 0.022, (crank[0] + 0.18, crank[1] - 0.11), 0.022)
    return p | {"handlebar": grip, "seat": (post[0], post[1] + 0.02), "head_tube": head, "seat_tube_top": seat_top,
                "front_rim": (f[0] + r * 0.93, r), "rear_rim": (b[0] - r * 0.93, r)}  # fmt: skip


def _boat(rng: np.random.Generator, s: Sketch) -> dict[str, Point]:
    tall, mast = rng.uniform(1.3, 1.6), rng.uniform(0.05, 0.2)
    s.capsule("trim", (mast, 0.3), 0.022, (mast, tall), 0.016)
    boom = -rng.uniform(0.6, 0.78)
    s.blob(
        "sail",
        [
            (mast - 0.04, 0.5),
            (boom * 0.5, 0.45),
            (boom, 0.5),
            (boom * 0.55, 0.8),
            (mast - 0.12, tall * 0.85),
            (mast - 0.04, tall - 0.03),
        ],
    )
    jib = rng.uniform(0.72, 0.84)
    s.blob(
        "paint2",
        [(mast + 0.05, tall * 0.84), (mast + 0.12, tall * 0.72), (jib, 0.45), (mast + 0.4, 0.42), (mast + 0.06, 0.46)],
    )
    s.poly("sail", _box(-0.45, 0.3, -0.02, 0.44))
    s.poly("glass", _box(-0.36, 0.34, -0.12, 0.41))
    s.blob(
        "paint",
        [
            (-0.92, 0.34),
            (-0.4, 0.29),
            (0.3, 0.3),
            (1.05, 0.42),
            (0.75, 0.08),
            (0.2, -0.02),
            (-0.6, -0.02),
            (-0.85, 0.1),
        ],
    )
    s.limb("trim", [(-0.9, 0.31), (-0.3, 0.27), (0.3, 0.275), (1.0, 0.39)], [0.022, 0.022, 0.022, 0.02])
    return {"bow": (0.99, 0.385), "stern": (-0.87, 0.3), "mast_top": (mast, tall - 0.02), "mast_foot": (mast, 0.36),
            "main_sail_corner": (boom + 0.06, 0.52), "jib_corner": (jib - 0.05, 0.47), "keel": (0.0, 0.04),
            "cabin": (-0.24, 0.375)}  # fmt: skip


_DRAW = {"car": _car, "bus": _bus, "truck": _truck, "bicycle": _bicycle, "boat": _boat}


def draw_vehicle(rng: np.random.Generator, name: str) -> tuple[Sketch, dict[str, Point]]:
    """Shapes and named points of one vehicle."""
    sketch = Sketch()
    return sketch, _DRAW[name](rng, sketch)
