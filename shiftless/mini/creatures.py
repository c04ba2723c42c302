"""A creature in a pose: bones from proportions and chance, then shapes and keypoints on the bones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shiftless.mini.kinds import KINDS, Kind
from shiftless.mini.paint import Sketch

Point = tuple[float, float]


@dataclass
class Bones:
    """Joints of one pose in withers heights, facing +x, y up, the ground at 0."""

    at: dict[str, Point] = field(default_factory=dict)
    legs: dict[str, tuple[Point, Point, Point]] = field(default_factory=dict)  # top, middle, foot by ff fh nf nh
    neck: list[Point] = field(default_factory=list)
    head_turn: float = 0.0
    gait: str = "stand"


def _reach(top: Point, foot: Point, upper: float, lower: float, bend: float) -> Point:
    """The middle joint of a two-bone leg, bent forward (+1) or backward (-1)."""
    dx, dy = foot[0] - top[0], foot[1] - top[1]
    far = min(math.hypot(dx, dy), 0.999 * (upper + lower))
    lean = math.atan2(dy, dx)
    inner = math.acos(max(-1.0, min(1.0, (upper**2 + far**2 - lower**2) / (2 * upper * far))))
    turn = lean + bend * inner
    return top[0] + upper * math.cos(turn), top[1] + upper * math.sin(turn)


def along(a: Point, b: Point, t: float, up: float = 0.0) -> Point:
    """The point a fraction t of the way from a to b, moved up."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t + up


def ray(a: Point, degrees: float, length: float) -> Point:
    """The point at a distance from a in a direction."""
    return a[0] + length * math.cos(math.radians(degrees)), a[1] + length * math.sin(math.radians(degrees))


def pose(rng: np.random.Generator, kind: Kind, calm: bool) -> Bones:
    """Draw a pose by chance: gait, feet, neck, head."""
    bones = Bones()
    gait = "graze" if rng.random() < kind.graze_odds and not calm else str(rng.choice(["stand", "walk", "trot"]))
    bones.gait = gait
    half = kind.length / 2
    tilt = rng.normal(0, 0.02)
    xs = (-half, -half * 0.3, half * 0.35, half)
    for name, x, y in zip(("hip", "loin", "girth", "breast"), xs, kind.spine):
        bones.at[name] = (x, y + tilt * x)
    reach = {"stand": 0.25, "graze": 0.4, "walk": 1.0, "trot": 1.35}[gait] * kind.stride
    phase = rng.uniform(0, 2 * math.pi)
    offsets = {"nf": 0.0, "fh": 0.35, "ff": math.pi, "nh": math.pi + 0.35}
    for leg, shift in offsets.items():
        fore = leg[1] == "f"
        swing = math.sin(phase + shift) * reach + rng.normal(0, 0.02)
        lift = max(0.0, math.cos(phase + shift)) * reach * 0.55 if gait in ("walk", "trot") else 0.0
        far = 0.035 if leg[0] == "f" else -0.02
        if fore:
            top = (half * 0.92 + far + swing * 0.12, kind.elbow + tilt * half)
            foot = (top[0] + swing * 0.9 + (0.07 if lift > 0.05 else 0.0), kind.hoof + lift)
            bone = (kind.elbow - kind.hoof) * 0.515
            middle = _reach(top, foot, bone, bone, 1.0)
        else:
            top = (-half * 0.86 + far + swing * 0.22, kind.stifle - tilt * half)
            foot = (top[0] - 0.10 + swing * 0.9, kind.hoof + lift)
            bone = (kind.stifle - kind.hoof) * 0.53
            middle = _reach(top, foot, bone, bone, -1.0)
        bones.legs[leg] = (top, middle, foot)
    down = gait == "graze"
    angle = (kind.graze_to if down else kind.neck_angle) + rng.normal(0, 3 if down else 9)
    root = (half * 0.95, kind.spine[3] + kind.neck_from)
    poll = ray(root, angle, kind.neck)
    if "swan" in kind.extras:  # the neck dips before it rises
        middle = along(root, poll, 0.45, -0.15)
    else:
        middle = along(root, poll, 0.5, 0.03 if not down else 0.05)
    bones.neck = [root, middle, poll]
    bones.head_turn = (-68 if down else kind.head_angle) + rng.normal(0, 7)
    tip = ray(poll, bones.head_turn, kind.head)
    low = tip[1] - kind.head_r[1] * 1.1
    if low < 0.03:  # the head rests on the ground at most
        lift_by = 0.03 - low
        bones.neck = [root, along(root, poll, 0.5, lift_by * 0.5), (poll[0], poll[1] + lift_by)]
        poll, tip = bones.neck[2], (tip[0], tip[1] + lift_by)
    bones.at["poll"], bones.at["tip"], bones.at["root"] = poll, tip, root
    return bones


def _individual(rng: np.random.Generator, kind: Kind) -> Kind:
    """One animal of its kind: proportions vary a little."""
    long, neck, head, fat, tail = np.clip(rng.normal(1, 0.06, 5), 0.86, 1.14)
    return replace(
        kind,
        length=kind.length * long,
        neck=kind.neck * neck,
        head=kind.head * head,
        barrel=tuple(r * fat for r in kind.barrel),
        tail=kind.tail * tail,
    )


def draw_creature(rng: np.random.Generator, name: str, saddle: bool, rider: bool, extras: dict[str, Any]) -> tuple[
    Sketch, dict[str, Point], Bones
]:  # fmt: skip
    """Shapes and keypoints of one creature; `extras` gains what was drawn by chance (gait ...)."""
    kind = _individual(rng, KINDS[name])
    bones = pose(rng, kind, calm=rider)
    extras["gait"] = bones.gait
    sketch, points = Sketch(), {}
    _tail(rng, sketch, kind, bones, points)
    if rider:
        from shiftless.mini.riders import far_leg

        far_leg(sketch, bones, kind)
    for leg in ("fh", "ff"):
        _leg(sketch, kind, bones, leg, points, bool(extras.get("wraps")))
    if "big_ear" not in kind.extras:
        _ear(sketch, kind, bones, points, far=True)
    _body(rng, sketch, kind, bones, points)
    _neck(rng, sketch, kind, bones)
    for leg in ("nh", "nf"):
        _leg(sketch, kind, bones, leg, points, bool(extras.get("wraps")))
    if saddle:
        from shiftless.mini.riders import draw_saddle

        draw_saddle(sketch, bones, kind)
    _head(rng, sketch, kind, bones, points, bool(extras.get("bridle")))
    if rider:
        from shiftless.mini.riders import draw_rider

        draw_rider(rng, sketch, bones, kind)
    return sketch, points, bones


_SIDES = {"n": "near", "f": "far"}


def _leg(sketch: Sketch, kind: Kind, bones: Bones, leg: str, points: dict[str, Point], wraps: bool) -> None:
    top, middle, foot = bones.legs[leg]
    r_top, r_mid, r_low = kind.leg
    fore = leg[1] == "f"
    if leg[0] == "n":  # muscle that joins the leg to the body
        if fore:
            root = (top[0] - 0.02, kind.spine[3] - 0.01)
            sketch.capsule("shoulder", root, kind.barrel[3] * 0.66, top, r_top * 1.15)
        else:
            root = (bones.at["hip"][0] + 0.05, bones.at["hip"][1] - 0.02)
            sketch.capsule("thigh", root, kind.barrel[0] * 0.82, (top[0] + 0.01, top[1]), r_top * 1.45)
    label = leg + "_leg"
    ankle = along(foot, middle, 0.22)
    sketch.capsule(label, top, r_top * (1.0 if fore else 1.3), middle, r_mid)
    sketch.capsule(label, middle, r_mid, ankle, r_low)
    if wraps:
        sketch.capsule(leg + "_wrap", along(middle, ankle, 0.25), r_low * 1.5, along(middle, ankle, 0.95), r_low * 1.5)
    h = kind.hoof
    if "pillars" in kind.extras:
        sketch.capsule(label, middle, r_mid, (foot[0], foot[1] - h * 0.1), r_low)
        w = r_low * 1.08
        y = foot[1] - h
        sketch.poly(leg + "_hoof", [(foot[0] - w, y), (foot[0] + w, y), (foot[0] + w * 0.97, y + h * 0.55),
                                    (foot[0] - w * 0.97, y + h * 0.55)])  # fmt: skip
    elif "hooves" in kind.extras:
        sketch.capsule(label, ankle, r_low, (foot[0] + h * 0.2, foot[1]), r_low * 0.95)
        y, x = foot[1] - h, foot[0] + h * 0.3
        sketch.poly(leg + "_hoof", [(x - h * 0.95, y), (x + h * 1.15, y), (x + h * 0.6, y + h * 1.35),
                                    (x - h * 0.75, y + h * 1.35)])  # fmt: skip
    else:
        sketch.capsule(label, ankle, r_low, (foot[0], foot[1] - h * 0.2), r_low)
        sketch.capsule(leg + "_hoof", (foot[0], foot[1] - h * 0.35), h * 0.65, (foot[0] + h * 0.7, foot[1] - h * 0.45), h * 0.55)
    side = _SIDES[leg[0]]
    if fore:
        points[side + "_fore_knee"] = middle
        points[side + "_fore_hoof"] = (foot[0] + h * 0.25, foot[1] - h * 0.35)
        if side == "near":
            points["near_fore_elbow"] = top
    else:
        points[side + "_hind_hock"] = middle
        points[side + "_hind_hoof"] = (foot[0] + h * 0.25, foot[1] - h * 0.35)
        if side == "near":
            points["near_hind_stifle"] = top


def _tail(rng: np.random.Generator, sketch: Sketch, kind: Kind, bones: Bones, points: dict[str, Point]) -> None:
    hip = bones.at["hip"]
    r = kind.barrel[0]
    base = (hip[0] - r * 0.80, hip[1] + r * 0.50)
    swish = rng.normal(0, 12)
    angle = 180 - (kind.tail_angle + swish)
    a, b = kind.tail_r
    if "pigtail" in kind.extras:
        base = (hip[0] - r * 0.95, hip[1] + r * 0.2)
        c = (base[0] - 0.07, base[1] + 0.05)
        loop = [(c[0] + 0.055 * math.cos(t), c[1] + 0.055 * math.sin(t)) for t in np.linspace(-0.8, 4.6, 7)]
        sketch.limb("tail", [base, *loop], [a] + [b] * 7)
        tip = loop[-1]
    elif "curl_tail" in kind.extras:
        m = ray(base, angle, kind.tail * 0.45)
        tip = ray(m, angle - 40 - swish, kind.tail * 0.4)
        sketch.limb("tail", [(hip[0], hip[1]), base, m, tip], [a, a, (a + b) / 2, b])
    elif "hair_tail" in kind.extras:
        m = ray(base, angle - 28, kind.tail * 0.4)
        tip = ray(m, 262 - swish, kind.tail * 0.6)
        sketch.limb("tail", [base, m, along(m, tip, 0.6), tip], [a, b * 1.35, b * 1.25, 0.012])
    else:
        m = ray(base, angle - 12, kind.tail * 0.5)
        tip = ray(m, angle + (14 if kind.tail_angle < 0 else -25), kind.tail * 0.5)
        sketch.limb("tail", [(hip[0], hip[1] + r * 0.3), base, m, tip], [a, a, a * 0.8, b])
        if "tuft" in kind.extras:
            sketch.limb("tuft", [along(m, tip, 0.75), ray(tip, angle, 0.05), ray(tip, angle + 6, 0.14)], [0.02, 0.045, 0.01])
            tip = ray(tip, angle, 0.08)
    points["tail_base"], points["tail_tip"] = (base[0] + 0.02, base[1] - 0.01), tip


def _body(rng: np.random.Generator, sketch: Sketch, kind: Kind, bones: Bones, points: dict[str, Point]) -> None:
    hip, loin, girth, breast = (bones.at[n] for n in ("hip", "loin", "girth", "breast"))
    r0, r1, r2, r3 = kind.barrel
    if "wool" in kind.extras:
        for i in range(16):
            t = 2 * math.pi * i / 16
            x = (hip[0] + breast[0]) / 2 + (kind.length / 2 + r0 * 0.72) * math.cos(t)
            sketch.ellipse("barrel", x, girth[1] + r1 * 0.92 * math.sin(t), *(2 * [0.085 + 0.02 * rng.random()]))
    sketch.limb("barrel", [hip, loin, girth, breast], [r0, r1, r2, r3])
    top = [(hip[0] - r0 * 0.2, hip[1] + r0 * 0.72), (loin[0], loin[1] + r1 * 0.72), (girth[0], girth[1] + r2 * 0.72),
           (breast[0], breast[1] + r3 * 0.72)]  # fmt: skip
    if "hump" in kind.extras:
        x, y = (loin[0] + girth[0]) / 2, loin[1] + r1 * 0.6
        sketch.blob("back", [(x - 0.3, y + 0.02), (x - 0.14, y + 0.2), (x, y + 0.29), (x + 0.14, y + 0.2), (x + 0.3, y + 0.02),
                             (x, y - 0.08)])  # fmt: skip
        points["back"] = (x, y + 0.2)
    else:
        points["back"] = along(top[1], top[2], 0.5)
    sketch.limb("back", top, [r0 * 0.22, r1 * 0.24, r2 * 0.24, r3 * 0.24])
    if "udder" in kind.extras:
        sketch.ellipse("udder", hip[0] + 0.24, hip[1] - r1 * 1.02, 0.1, 0.075)
    sketch.ellipse("chest", breast[0] + r3 * 0.42, breast[1] - r3 * 0.12, r3 * 0.62, r3 * 0.85)
    points["withers"] = top[3]
    points["rump"] = (hip[0] - r0 * 0.1, hip[1] + r0 * 0.72)
    points["chest"] = (breast[0] + r3 * 0.8, breast[1] - r3 * 0.2)
    points["belly"] = ((loin[0] + girth[0]) / 2, (loin[1] + girth[1]) / 2 - (r1 + r2) / 2 * 0.82)


def _ear(sketch: Sketch, kind: Kind, bones: Bones, points: dict[str, Point], far: bool) -> None:
    poll, turn = bones.at["poll"], bones.head_turn
    long, wide = kind.ear
    up = turn + kind.ear_angle + (14 if not far else -12)
    r = kind.head_r[0]
    base = ray(poll, turn + 118 - (26 if far else 0), r * 0.78)
    if "big_ear" in kind.extras:
        c = (poll[0] - 0.17, poll[1] - 0.07)
        sketch.blob("ear", [(c[0] + 0.14, c[1] + 0.2), (c[0] - 0.12, c[1] + 0.2), (c[0] - 0.22, c[1] - 0.02),
                            (c[0] - 0.1, c[1] - 0.24), (c[0] + 0.02, c[1] - 0.3), (c[0] + 0.1, c[1] - 0.08)])  # fmt: skip
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
            sketch.limb("ear_in", [along(base, tip, 0.15), middle, along(base, tip, 0.85)], [wide * 0.3, wide * 0.5, wide * 0.1])
    if not far:
        points["ear"] = middle


def _neck(rng: np.random.Generator, sketch: Sketch, kind: Kind, bones: Bones) -> None:
    root, middle, poll = bones.neck
    ra, rb = kind.neck_r
    back_in = (root[0] - ra * 0.6, root[1] - ra * 0.2)
    sketch.limb("neck", [back_in, root, middle, poll], [ra * 0.9, ra, (ra * 0.45 + rb * 0.55), rb])
    if "mane" in kind.extras or "crest" in kind.extras:
        lean = math.degrees(math.atan2(poll[1] - root[1], poll[0] - root[0])) + 90
        erect = "crest" in kind.extras
        spine = [ray(p, lean, w * (0.95 if erect else 0.8)) for p, w in ((along(root, middle, 0.1), ra), (middle, ra * 0.45 + rb * 0.55), (poll, rb))]
        if erect:
            sketch.limb("mane", spine, [0.02, 0.04 if "ossicones" not in kind.extras else 0.022, 0.035 if "ossicones" not in kind.extras else 0.02])
        else:
            fall = rng.uniform(0.05, 0.1)
            low = [(p[0] - fall * 0.35, p[1] - fall) for p in spine]
            sketch.blob("mane", [spine[0], spine[1], spine[2], along(spine[2], poll, 1.0), (low[2][0], low[2][1] - 0.02),
                                 along(low[1], low[2], 0.4, -0.05), (low[1][0], low[1][1] - 0.02), along(low[0], low[1], 0.4, -0.06),
                                 (low[0][0], low[0][1] - 0.05)])  # fmt: skip


def _head(rng: np.random.Generator, sketch: Sketch, kind: Kind, bones: Bones, points: dict[str, Point],
          bridle: bool) -> None:  # fmt: skip
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
        sketch.capsule("muzzle", along(poll, tip, 0.86 if not round_ else 0.8), rm * 1.0, end, rm * (0.94 if not round_ else 0.7))
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
    _ear(sketch, kind, bones, points, far=False)
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
