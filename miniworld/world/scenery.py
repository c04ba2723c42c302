"""Places: what stands behind and before the subject. Units are the frame's side, y down."""

from __future__ import annotations

import math

import numpy as np

from miniworld.world.paint import Sketch

SCENES = ("meadow", "desert", "snow", "beach", "town", "forest", "night")
GROUND = {
    "meadow": "grass",
    "desert": "sand",
    "snow": "snow",
    "beach": "sand",
    "town": "road",
    "forest": "grass",
    "night": "grass",
}


def _rolling(rng: np.random.Generator, s: Sketch, label: str, y: float, tall: float, waves: float) -> None:
    x = np.linspace(-0.05, 1.05, 24)
    a, b = rng.uniform(0, 6.28, 2)
    line = y - tall * (0.5 + 0.35 * np.sin(waves * x * 6.28 + a) + 0.15 * np.sin(2.3 * waves * x * 6.28 + b))
    s.poly(label, np.concatenate([np.stack([x, line], 1), [(1.05, y + 0.05), (-0.05, y + 0.05)]]))


def _peaks(rng: np.random.Generator, s: Sketch, label: str, y: float, tall: float, cap: str | None) -> None:
    x = -0.1
    while x < 1.05:
        w, h = rng.uniform(0.25, 0.45), tall * rng.uniform(0.55, 1.0)
        top = (x + w * rng.uniform(0.42, 0.58), y - h)
        s.poly(label, [(x, y + 0.02), top, (x + w, y + 0.02)])
        if cap:
            k = 0.32
            l_, r_ = (top[0] + (x - top[0]) * k, top[1] + h * k), (top[0] + (x + w - top[0]) * k, top[1] + h * k)
            s.poly(
                cap,
                [l_, top, r_, (top[0] + w * 0.06, top[1] + h * k * 0.7), (top[0] - w * 0.03, top[1] + h * k * 1.05)],
            )
        x += w * rng.uniform(0.5, 0.8)


def _mesas(rng: np.random.Generator, s: Sketch, y: float) -> None:
    for _ in range(int(rng.integers(1, 4))):
        x, w, h = rng.uniform(-0.1, 0.9), rng.uniform(0.14, 0.3), rng.uniform(0.07, 0.17)
        s.poly("ridge", [(x, y + 0.01), (x + w * 0.14, y - h), (x + w * 0.86, y - h), (x + w, y + 0.01)])


def _clouds(rng: np.random.Generator, s: Sketch, y: float) -> None:
    for _ in range(int(rng.integers(0, 4))):
        x, cy, r = rng.uniform(0, 1), rng.uniform(0.05, max(0.1, y - 0.15)), rng.uniform(0.028, 0.05)
        for k in range(4):
            s.ellipse("cloud", x + (k - 1.5) * r * 1.25, cy - (r * 0.45 if 0 < k < 3 else 0), r * 1.25, r * 0.8)


def _leafy(rng: np.random.Generator, s: Sketch, x: float, y: float, h: float) -> None:
    s.capsule("trunk", (x, y), h * 0.06, (x, y - h * 0.6), h * 0.04)
    for k, (dx, dy) in enumerate(((-0.2, -0.6), (0.2, -0.62), (0.0, -0.82), (-0.04, -0.58))):
        s.ellipse("leaf" if k != 2 else "leaf2", x + dx * h, y + dy * h, h * 0.23, h * 0.2)


def _pine(rng: np.random.Generator, s: Sketch, x: float, y: float, h: float) -> None:
    s.poly("trunk", [(x - h * 0.04, y), (x + h * 0.04, y), (x + h * 0.04, y - h * 0.25), (x - h * 0.04, y - h * 0.25)])
    for k in range(3):
        b, w = y - h * (0.14 + 0.25 * k), h * (0.27 - 0.06 * k)
        s.poly("pine", [(x - w, b), (x + w, b), (x, b - h * 0.38)])


def _palm(rng: np.random.Generator, s: Sketch, x: float, y: float, h: float) -> None:
    lean = rng.normal(0, 0.12) * h
    top = (x + lean, y - h)
    s.limb("trunk", [(x, y), (x + lean * 0.3, y - h * 0.5), top], [h * 0.05, h * 0.036, h * 0.03])
    for a in (-170, -140, -95, -45, -10):
        t = math.radians(a + rng.normal(0, 8))
        m = (top[0] + 0.22 * h * math.cos(t), top[1] + 0.22 * h * math.sin(t))
        s.limb("leaf", [top, m, (m[0] + 0.2 * h * math.cos(t), m[1] + 0.16 * h)], [h * 0.025, h * 0.05, h * 0.008])


def _cactus(rng: np.random.Generator, s: Sketch, x: float, y: float, h: float) -> None:
    r = h * 0.085
    s.capsule("cactus", (x, y), r, (x, y - h), r)
    for side, at in ((-1, rng.uniform(0.35, 0.5)), (1, rng.uniform(0.45, 0.6))):
        elbow = (x + side * h * 0.26, y - h * at)
        s.capsule("cactus", (x, y - h * at), r * 0.75, elbow, r * 0.75)
        s.capsule("cactus", elbow, r * 0.75, (elbow[0], elbow[1] - h * 0.28), r * 0.75)


def _house(rng: np.random.Generator, s: Sketch, x: float, y: float, w: float) -> None:
    h = w * rng.uniform(0.5, 0.7)
    s.poly("wall", [(x, y), (x + w, y), (x + w, y - h), (x, y - h)])
    s.poly("roof", [(x - w * 0.1, y - h), (x + w * 1.1, y - h), (x + w * 0.8, y - h * 1.7), (x + w * 0.2, y - h * 1.7)])
    for k in (0.15, 0.62):
        s.poly(
            "pane",
            [
                (x + w * k, y - h * 0.75),
                (x + w * (k + 0.22), y - h * 0.75),
                (x + w * (k + 0.22), y - h * 0.35),
                (x + w * k, y - h * 0.35),
            ],
        )


def _street(rng: np.random.Generator, s: Sketch, y: float) -> None:
    x, k = -0.08, 0
    while x < 1.0:
        w, h = rng.uniform(0.17, 0.3), rng.uniform(0.26, 0.5)
        label = ("wall", "wall2")[k % 2]
        s.poly(label, [(x, y), (x + w, y), (x + w, y - h), (x, y - h)])
        if rng.random() < 0.5:
            s.poly("roof", [(x - 0.01, y - h), (x + w + 0.01, y - h), (x + w / 2, y - h - w * 0.4)])
        rows = int(h / 0.105)
        for i in range(rows):
            for j in range(2):
                wx, wy = x + w * (0.18 + 0.4 * j), y - h + 0.035 + i * 0.105
                s.poly("pane", [(wx, wy), (wx + w * 0.22, wy), (wx + w * 0.22, wy + 0.055), (wx, wy + 0.055)])
        x, k = x + w, k + 1


def background(rng: np.random.Generator, scene: str, time: str, horizon: float, feet: float) -> Sketch:
    """Everything behind the subject; `feet` is the line on the ground where the subject stands."""
    s = Sketch()
    y = horizon
    s.poly("sky", [(-0.1, -0.1), (1.1, -0.1), (1.1, y + 0.1), (-0.1, y + 0.1)])
    if time == "night":
        for sx, sy, r in zip(rng.random(26), rng.random(26) * y, rng.uniform(0.003, 0.007, 26)):
            s.ellipse("star", sx, sy, r, r)
    if rng.random() < (0.85 if time in ("night", "dusk") else 0.45):
        r = rng.uniform(0.04, 0.065)
        low = {"dusk": y - 0.06, "morning": y - 0.1}.get(time, y * 0.35)
        s.ellipse("sun", rng.uniform(0.08, 0.92), max(low + rng.normal(0, 0.03), 0.05), r, r)
    if time != "night":
        _clouds(rng, s, y)
    ground = GROUND[scene]
    if scene in ("meadow", "night"):
        if rng.random() < 0.5:
            _peaks(rng, s, "ridge", y, rng.uniform(0.1, 0.22), None)
        _rolling(rng, s, "hill", y + 0.01, rng.uniform(0.05, 0.13), rng.uniform(0.5, 1.3))
    elif scene == "snow":
        _peaks(rng, s, "peak", y + 0.01, rng.uniform(0.16, 0.3), "snow")
    elif scene == "desert":
        _mesas(rng, s, y)
        _rolling(rng, s, "dune", y + 0.01, rng.uniform(0.03, 0.09), rng.uniform(0.4, 0.9))
    elif scene == "town":
        _street(rng, s, y + 0.01)
    elif scene == "forest":
        _rolling(rng, s, "pine", y + 0.01, rng.uniform(0.16, 0.26), 2.5)
    s.poly(ground, [(-0.1, y), (1.1, y), (1.1, 1.1), (-0.1, 1.1)])
    _middle(rng, s, scene, y, feet)
    return s


def _shore(rng: np.random.Generator, s: Sketch, y: float, feet: float) -> None:
    shore = y + max(feet - y, 0.05) * rng.uniform(0.4, 0.7)
    across = np.linspace(-0.05, 1.05, 20)
    edge = np.stack([across, shore + 0.012 * np.sin(across * 9 + rng.uniform(0, 6))], 1)
    s.poly("foam", np.concatenate([edge + (0, 0.014), [(1.05, y), (-0.05, y)]]))
    s.poly("water", np.concatenate([edge, [(1.05, y), (-0.05, y)]]))
    for _ in range(4):
        x, wave, w = rng.uniform(0, 0.9), rng.uniform(y + 0.02, shore - 0.01), rng.uniform(0.06, 0.2)
        s.limb("foam", [(x, wave), (x + w / 2, wave - 0.006), (x + w, wave)], [0.001, 0.005, 0.001])
    if rng.random() < 0.6:
        x = float(rng.choice([rng.uniform(0.03, 0.25), rng.uniform(0.75, 0.97)]))
        _palm(rng, s, x, shore + 0.05, rng.uniform(0.4, 0.6))


def _middle(rng: np.random.Generator, s: Sketch, scene: str, y: float, feet: float) -> None:
    def spot() -> tuple[float, float]:
        return float(rng.uniform(0.0, 1.0)), float(y + rng.uniform(0.01, 0.4) * max(feet - y, 0.02))

    if scene in ("meadow", "night"):
        for _ in range(int(rng.integers(0, 3))):
            _leafy(rng, s, *spot(), rng.uniform(0.16, 0.34))
        if rng.random() < 0.35:
            _house(rng, s, rng.uniform(0, 0.8), spot()[1], rng.uniform(0.14, 0.24))
        if scene == "meadow":
            for fx, fy, r, c in zip(
                rng.random(16), rng.uniform(y + 0.04, 1.0, 16), rng.uniform(0.5, 1.0, 16), rng.random(16)
            ):
                q = 0.011 * r * (0.5 + fy)
                s.ellipse("flower" if c < 0.5 else "flower2", fx, fy, q * 1.2, q)
    elif scene == "desert":
        for _ in range(int(rng.integers(1, 4))):
            _cactus(rng, s, *spot(), rng.uniform(0.12, 0.3))
    elif scene == "snow":
        for _ in range(int(rng.integers(1, 5))):
            _pine(rng, s, *spot(), rng.uniform(0.2, 0.42))
    elif scene == "beach":
        _shore(rng, s, y, feet)
    elif scene == "town":
        s.poly("kerb", [(-0.1, y), (1.1, y), (1.1, y + 0.3 * (feet - y)), (-0.1, y + 0.3 * (feet - y))])
        ly, x = min(feet + 0.06, 0.97), rng.uniform(-0.2, 0.0)
        while x < 1.0:
            s.poly("line", [(x, ly), (x + 0.14, ly), (x + 0.13, ly + 0.016), (x - 0.012, ly + 0.016)])
            x += 0.26
    elif scene == "forest":
        for _ in range(int(rng.integers(3, 7))):
            x, base = spot()
            if rng.random() < 0.5:
                _pine(rng, s, x, base, rng.uniform(0.4, 0.7))
            else:
                _leafy(rng, s, x, base, rng.uniform(0.4, 0.65))


def water_scene(rng: np.random.Generator, time: str, horizon: float) -> Sketch:
    """Open water for boats, with an island sometimes."""
    s = Sketch()
    y = horizon
    s.poly("sky", [(-0.1, -0.1), (1.1, -0.1), (1.1, y + 0.1), (-0.1, y + 0.1)])
    r = rng.uniform(0.04, 0.065)
    if rng.random() < 0.6:
        s.ellipse("sun", rng.uniform(0.08, 0.92), y - 0.08 if time in ("dusk", "morning") else y * 0.3, r, r)
    if time != "night":
        _clouds(rng, s, y)
    if rng.random() < 0.6:
        _rolling(rng, s, "hill", y + 0.01, rng.uniform(0.05, 0.12), rng.uniform(0.4, 1.0))
    s.poly("water", [(-0.1, y), (1.1, y), (1.1, 1.1), (-0.1, 1.1)])
    for _ in range(14):
        wy = rng.uniform(y + 0.03, 0.98)
        wx, w = rng.uniform(-0.1, 0.95), rng.uniform(0.05, 0.12) * (0.4 + wy)
        s.limb("foam", [(wx, wy), (wx + w / 2, wy - 0.008), (wx + w, wy)], [0.001, 0.005, 0.001])
    return s


def occluder(rng: np.random.Generator, name: str, box: tuple[float, float, float, float]) -> Sketch:
    """Something in front of the subject, whose box is given."""
    s = Sketch()
    x0, _, x1, y1 = box
    if name == "fence":
        base, tall = min(y1 + 0.05, 1.0), rng.uniform(0.16, 0.24)
        for k in (0.35, 0.8):
            s.capsule("near_fence", (-0.1, base - tall * k), 0.013, (1.1, base - tall * k + 0.01), 0.013)
        x = rng.uniform(-0.1, 0.1)
        while x < 1.05:
            s.poly("near_fence", [(x - 0.016, base + 0.03), (x + 0.016, base + 0.03), (x + 0.016, base - tall),
                                  (x, base - tall - 0.02),
                                  (x - 0.016, base - tall)])  # fmt: skip
            x += rng.uniform(0.2, 0.3)
    elif name == "tree":
        x = x0 + (x1 - x0) * rng.uniform(0.15, 0.85)
        w = rng.uniform(0.028, 0.045)
        s.limb("near_trunk", [(x, 1.08), (x + rng.normal(0, 0.01), 0.6), (x + rng.normal(0, 0.02), 0.25),
                              (x + rng.normal(0, 0.03), -0.08)],
               [w * 1.35, w, w * 0.9, w * 0.8])  # fmt: skip
    else:
        for gx in np.linspace(x0 - 0.12, x1 + 0.12, int(rng.integers(26, 40))).tolist():
            base, tall = min(y1 + rng.uniform(0.03, 0.09), 1.05), rng.uniform(0.09, 0.2)
            lean = rng.normal(0, 0.035)
            s.poly("near_grass", [(gx - 0.011, base), (gx + 0.011, base),
                                  (gx + lean * 0.4 + 0.006, base - tall * 0.6), (gx + lean, base - tall),
                                  (gx + lean * 0.4 - 0.006, base - tall * 0.6)])  # fmt: skip
    return s
