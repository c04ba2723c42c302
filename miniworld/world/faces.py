"""Heads seen from the front: of creatures that look at the viewer."""

from __future__ import annotations

import math

import numpy as np

from miniworld.world.kinds import Kind
from miniworld.world.paint import Sketch
from miniworld.world.poses import Bones, Point, along, ray, rotated

_NEAR, _FAR = -1.0, 1.0  # a creature that faces +x and turns its head to the viewer has its near side at -x


class _Front:
    """Coordinates of a face: x across, y up, from the poll, turned as the head is."""

    def __init__(self, bones: Bones) -> None:
        self.poll = bones.at["poll"]
        self.roll = bones.head_turn + 90
        self.long = math.dist(self.poll, bones.at["tip"])

    def __call__(self, x: float, y: float) -> Point:
        return rotated((self.poll[0] + x, self.poll[1] + y), self.poll, self.roll)


def draw_face(rng: np.random.Generator, sketch: Sketch, kind: Kind, bones: Bones, points: dict[str, Point],
          bridle: bool) -> None:  # fmt: skip
    """A head that looks at the viewer, and its keypoints; the named eye and ear are those of the near side."""
    at = _Front(bones)
    r, rm = kind.head_r
    low = -at.long
    hanging = "flop_ear" in kind.extras
    for side in (_FAR, _NEAR):
        _horn(sketch, kind, at, side)
        if not hanging:
            _ear(sketch, kind, at, side, points)
    wide = 0.95 if at.long < 2 * r else 0.8  # long faces are narrow
    sketch.capsule("head", at(0, 0), r * wide, at(0, low * 0.82), rm * 1.05)
    if wide > 0.9:
        sketch.ellipse("head", *at(0, -0.15 * r), r * 1.05, r * 0.9, -math.radians(at.roll))
    if "trunk" in kind.extras:
        _trunk(rng, sketch, at, r, points)
    else:
        _muzzle(sketch, kind, at, points)
    if hanging:
        for side in (_FAR, _NEAR):
            _ear(sketch, kind, at, side, points)
    if "mane" in kind.extras:
        sketch.limb("forelock", [at(0, r * 0.9), at(0.012, r * 0.3), at(-0.012, -r * 0.55)], [0.04, 0.036, 0.012])
    e = kind.eye
    for side in (_FAR, _NEAR):
        eye = at(side * r * (0.46 if wide > 0.9 else 0.56), -0.12 * r)
        sketch.ellipse("eye", *eye, e * 1.3, e * 1.35)
        sketch.ellipse("pupil", *eye, e * (0.95 if "round" not in kind.extras else 0.6), e * 1.08)
        sketch.ellipse("glint", eye[0] + e * 0.3, eye[1] + e * 0.45, e * 0.42, e * 0.42)
        points["eye"] = eye
    points["poll"] = at(0, r * 0.55)
    points["throat"] = along(bones.neck[1], bones.neck[2], 0.4, -kind.neck_r[1] * 0.4)
    if bridle:
        rings = [at(side * rm * 1.02, low * 0.72) for side in (_NEAR, _FAR)]
        sketch.capsule("bridle", rings[0], 0.013, rings[1], 0.013)
        for side, ring in zip((_NEAR, _FAR), rings):
            sketch.capsule("bridle", at(side * r * 0.72, r * 0.35), 0.011, ring, 0.011)
        sketch.capsule("bridle", rings[0], 0.011, along(bones.neck[0], bones.neck[1], 0.4), 0.011)


def _muzzle(sketch: Sketch, kind: Kind, at: _Front, points: dict[str, Point]) -> None:
    rm, low, turn = kind.head_r[1], -at.long, -math.radians(at.roll)
    snout, disc = "snout" in kind.extras or "round" in kind.extras, "disc" in kind.extras
    tall = 0.72 if disc or "round" in kind.extras else 0.92
    sketch.ellipse("muzzle", *at(0, low), rm * (0.98 if not snout else 0.88), rm * tall, turn)
    if snout:
        nose = at(0, low + rm * 0.3)
        sketch.ellipse("nostril", *nose, rm * 0.36, rm * 0.26, turn)
        sketch.limb("mouth", [at(-rm * 0.4, low - rm * 0.42), at(0, low - rm * 0.25), at(rm * 0.4, low - rm * 0.42)],
                    [rm * 0.05, rm * 0.08, rm * 0.05])  # fmt: skip
    else:
        nose = at(0, low + rm * 0.05)
        for side in (_FAR, _NEAR):
            sketch.ellipse("nostril", *at(side * rm * 0.42, low + rm * 0.08), rm * 0.16, rm * 0.24, turn)
        if not disc:
            sketch.limb("mouth", [at(-rm * 0.5, low - rm * 0.5), at(0, low - rm * 0.58), at(rm * 0.5, low - rm * 0.5)],
                        [rm * 0.05, rm * 0.09, rm * 0.05])  # fmt: skip
    points["nose"] = nose
    points["mouth"] = at(0, low - rm * (0.5 if not disc else 0.6))


def _trunk(rng: np.random.Generator, sketch: Sketch, at: _Front, r: float, points: dict[str, Point]) -> None:
    curl = rng.uniform(-25, 55)
    path = [at(0, -r * 0.35)]
    for by, length in ((-90, 0.2), (-88, 0.22), (-88 + curl * 0.6, 0.16), (-88 + curl * 1.4, 0.1)):
        path.append(ray(path[-1], by, length))
    lift = max(0.0, 0.05 - min(p[1] for p in path))
    path = [(x, y + lift * i / 4) for i, (x, y) in enumerate(path)]
    for side in (_FAR, _NEAR):
        base = at(side * r * 0.55, -r * 0.75)
        sketch.limb("tusk", [base, (base[0] + side * 0.05, base[1] - 0.11), (base[0] + side * 0.06, base[1] - 0.22)],
                    [0.032, 0.027, 0.008])  # fmt: skip
    sketch.limb("trunk_nose", path, [0.14, 0.1, 0.072, 0.056, 0.05])
    points["nose"], points["mouth"] = path[-1], at(r * 0.3, -r * 0.85)


def _ear(sketch: Sketch, kind: Kind, at: _Front, side: float, points: dict[str, Point]) -> None:
    r, (long, wide) = kind.head_r[0], kind.ear
    if "big_ear" in kind.extras:
        outline = ((0.5, 0.5), (0.75, 0.85), (1.35, 0.75), (1.7, 0.05), (1.35, -0.75), (0.95, -1.05), (0.6, -0.4))
        sketch.blob("ear", [at(side * x * r, y * r) for x, y in outline])
        points["ear"] = at(side * r * 1.3, 0)
        return
    if "flop_ear" in kind.extras:
        base, way = at(side * r * 0.78, r * 0.5), -90 + side * 10
    elif kind.ear_angle > 130:  # ears that stand out sideways
        base, way = at(side * r * 0.75, r * 0.4), 90 - side * 82
    else:
        base, way = at(side * r * 0.56, r * 0.62), 90 - side * 16
    way += at.roll
    tip = ray(base, way, long)
    middle = along(base, tip, 0.5)
    if "round" in kind.extras:  # a cat's triangles
        base = at(side * r * 0.55, r * 0.55)
        tip = ray(base, way, long * 1.15)
        middle = along(base, tip, 0.5)
        a, b = ray(base, way + 90, wide), ray(base, way - 90, wide)
        sketch.poly("ear", [a, tip, b])
        sketch.poly("ear_in", [along(a, tip, 0.2), along(tip, base, 0.22), along(b, tip, 0.2)])
    else:
        sketch.limb("ear", [base, middle, tip], [wide * 0.7, wide, wide * 0.25])
        if "flop_ear" not in kind.extras:
            sketch.limb("ear_in", [along(base, tip, 0.15), middle, along(base, tip, 0.85)],
                        [wide * 0.3, wide * 0.5, wide * 0.1])  # fmt: skip
    points["ear"] = middle


def _horn(sketch: Sketch, kind: Kind, at: _Front, side: float) -> None:
    r = kind.head_r[0]
    if "horns" in kind.extras:
        base = at(side * r * 0.55, r * 0.75)
        bend = at(side * (r * 0.55 + 0.08), r * 0.75 + 0.05)
        sketch.limb("horn", [base, bend, at(side * (r * 0.55 + 0.09), r * 0.75 + 0.14)], [0.032, 0.024, 0.007])
    if "ossicones" in kind.extras:
        top = at(side * r * 0.5, r * 0.75 + 0.085)
        sketch.capsule("horn", at(side * r * 0.4, r * 0.7), 0.016, top, 0.013)
        sketch.ellipse("horn", *top, 0.022, 0.022)
