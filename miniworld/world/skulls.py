"""Heads: skull, muzzle, eyes, ears, horns, trunks and bridles on the bones of a pose."""

from __future__ import annotations

import math

import numpy as np

from miniworld.world.kinds import Kind
from miniworld.world.paint import Sketch
from miniworld.world.poses import Bones, Point, along, ray


def draw_head(rng: np.random.Generator, sketch: Sketch, kind: Kind, bones: Bones, points: dict[str, Point],
          bridle: bool) -> None:  # fmt: skip
    """Draw the head on a pose's neck, with or without a bridle, and add its named points to `points`."""
    root, middle, poll = bones.neck
    tip, turn = bones.at["tip"], bones.head_turn
    r, rm = kind.head_r
    _horns(sketch, kind, bones, far=True)
    brow = along(poll, tip, 0.12)
    sketch.capsule("head", brow, r, along(poll, tip, 0.82), rm * 1.08)
    cheek = ray(along(poll, tip, 0.22), turn - 90, r * 0.32)
    sketch.ellipse("head", *cheek, r * 0.85, r * 0.72)
    end = along(poll, tip, 0.95)
    if "disc" in kind.extras:
        sketch.capsule("muzzle", along(poll, tip, 0.8), rm, end, rm * 0.86)
        front = ray(end, turn, rm * 0.75)
        sketch.ellipse("muzzle", *front, rm * 0.45, rm * 0.95, math.radians(turn))
        sketch.ellipse("nostril", *ray(front, turn + 40, rm * 0.3), rm * 0.13, rm * 0.2)
        sketch.ellipse("nostril", *ray(front, turn - 60, rm * 0.3), rm * 0.13, rm * 0.2)
        points["nose"] = front
    elif "trunk" in kind.extras:
        curl = rng.uniform(-25, 55)
        p0 = along(poll, tip, 0.7)
        p1 = ray(p0, -62, 0.22)
        p2 = ray(p1, -86, 0.22)
        p3 = ray(p2, -86 + curl, 0.16)
        p4 = ray(p3, -80 + 2.2 * curl, 0.1)
        lift = max(0.0, 0.05 - min(p3[1], p4[1]))
        p2, p3, p4 = (p2[0], p2[1] + lift * 0.7), (p3[0], p3[1] + lift), (p4[0], p4[1] + lift)
        sketch.limb("trunk_nose", [p0, p1, p2, p3, p4], [0.15, 0.1, 0.072, 0.056, 0.05])
        root_t = ray(p0, -100, 0.1)
        sketch.limb("tusk", [root_t, ray(root_t, -50, 0.12), ray(root_t, -32, 0.24)], [0.032, 0.027, 0.008])
        points["nose"] = p4
    else:
        round_ = "round" in kind.extras
        sketch.capsule(
            "muzzle", along(poll, tip, 0.86 if not round_ else 0.8), rm * 1.0, end, rm * (0.94 if not round_ else 0.7)
        )
        nose = ray(end, turn + 24, rm * 0.78)
        if "snout" in kind.extras or round_:
            sketch.ellipse("nostril", *nose, rm * (0.42 if not round_ else 0.3), rm * (0.36 if not round_ else 0.22))
        else:
            sketch.ellipse("nostril", *ray(end, turn + 30, rm * 0.5), rm * 0.2, rm * 0.26, math.radians(turn))
        points["nose"] = nose if "snout" in kind.extras or round_ else ray(end, turn + 15, rm * 0.7)
        m0, m1 = ray(end, turn - 45, rm * 0.95), ray(along(poll, tip, 0.72), turn - 90, rm * 0.55)
        sketch.limb("mouth", [m0, along(m0, m1, 0.5), m1], [rm * 0.06, rm * 0.09, rm * 0.05])
    points["mouth"] = ray(along(poll, tip, 0.86), turn - 70, rm * 0.6)
    points["poll"] = ray(poll, turn + 118, r * 0.55)
    points["throat"] = along(middle, poll, 0.55, -kind.neck_r[1] * 0.5)
    if "trunk" in kind.extras:
        points["mouth"] = ray(along(poll, tip, 0.6), -100, 0.12)
    draw_ear(sketch, kind, bones, points, far=False)
    if "mane" in kind.extras:
        f0 = ray(poll, turn + 95, r * 0.9)
        sketch.limb("forelock", [f0, ray(f0, turn + 4, 0.07), ray(f0, turn - 14, 0.15)], [0.035, 0.03, 0.01])
    _horns(sketch, kind, bones, far=False)
    eye = ray(along(poll, tip, 0.3), turn + 90, r * 0.36)
    e = kind.eye
    sketch.ellipse("eye", *eye, e * 1.5, e * 1.3, math.radians(turn))
    sketch.ellipse("pupil", *eye, e * (1.0 if "round" not in kind.extras else 0.6), e * 1.08)
    sketch.ellipse("glint", eye[0] + e * 0.3, eye[1] + e * 0.45, e * 0.42, e * 0.42)
    points["eye"] = eye
    if bridle:
        n0, n1 = ray(along(poll, tip, 0.7), turn + 90, rm * 1.12), ray(along(poll, tip, 0.7), turn - 90, rm * 1.12)
        c0 = ray(poll, turn + 70, r * 0.9)
        ring = ray(along(poll, tip, 0.74), turn - 90, rm * 0.6)
        for a, b in ((n0, n1), (c0, ring), (ring, along(root, middle, 0.4))):
            sketch.capsule("bridle", a, 0.013, b, 0.013)


def draw_ear(sketch: Sketch, kind: Kind, bones: Bones, points: dict[str, Point], far: bool) -> None:
    """Draw the near or the far ear, and add its named points to `points`."""
    poll, turn = bones.at["poll"], bones.head_turn
    long, wide = kind.ear
    up = turn + kind.ear_angle + (14 if not far else -12)
    r = kind.head_r[0]
    base = ray(poll, turn + 118 - (26 if far else 0), r * 0.78)
    if "big_ear" in kind.extras:
        c = (poll[0] - 0.17, poll[1] - 0.07)
        sketch.blob("ear", [(c[0] + 0.14, c[1] + 0.2), (c[0] - 0.12, c[1] + 0.2), (c[0] - 0.22, c[1] - 0.02),
                            (c[0] - 0.1, c[1] - 0.24), (c[0] + 0.02, c[1] - 0.3),
                            (c[0] + 0.1, c[1] - 0.08)])  # fmt: skip
        points["ear"] = (c[0] - 0.06, c[1] - 0.02)
        return
    if "flop_ear" in kind.extras:
        up = kind.ear_angle + (6 if not far else 24)
    if kind.ear_angle > 130:  # ears that stand out sideways: backward from the poll
        up = 180 + (turn + 48) * 0.4 + (0 if not far else -150) + (kind.ear_angle - 180)
        base = ray(poll, turn + 130 - (60 if far else 0), r * 0.72)
    tip = ray(base, up, long)
    middle = along(base, tip, 0.5)
    label = "far_ear" if far else "ear"
    if far and "round" not in kind.extras and "flop_ear" in kind.extras:
        return
    if "round" in kind.extras:  # a cat's triangles
        a, b = ray(base, turn + 200, wide), ray(base, turn + 10, wide)
        sketch.poly(label, [a, tip, b])
        if not far:
            sketch.poly("ear_in", [along(a, tip, 0.2), along(tip, base, 0.22), along(b, tip, 0.2)])
    else:
        sketch.limb(label, [base, middle, tip], [wide * 0.7, wide, wide * 0.25])
        if not far and "flop_ear" not in kind.extras:
            sketch.limb(
                "ear_in", [along(base, tip, 0.15), middle, along(base, tip, 0.85)], [wide * 0.3, wide * 0.5, wide * 0.1]
            )
    if not far:
        points["ear"] = middle


def _horns(sketch: Sketch, kind: Kind, bones: Bones, far: bool) -> None:
    poll, turn, r = bones.at["poll"], bones.head_turn, kind.head_r[0]
    label = "far_horn" if far else "horn"
    if "horns" in kind.extras:
        base = ray(poll, turn + (100 if not far else 72), r * 0.82)
        up = turn + 128
        sketch.limb(label, [base, ray(base, up - 20, 0.09), ray(base, up - 34, 0.17)], [0.032, 0.024, 0.007])
    if "ossicones" in kind.extras:
        base = ray(poll, turn + (112 if not far else 84), r * 0.8)
        top = ray(base, turn + 118, 0.085)
        sketch.capsule(label, base, 0.016, top, 0.013)
        sketch.ellipse(label, *top, 0.022, 0.022)
