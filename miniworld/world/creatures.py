"""A creature in a pose: shapes and keypoints on its bones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from miniworld.world.faces import draw_face
from miniworld.world.kinds import KINDS, Kind
from miniworld.world.lively import enliven
from miniworld.world.paint import Sketch
from miniworld.world.poses import Bones, Point, along, individual, pose, ray, rotated
from miniworld.world.riders import draw_rider, draw_saddle, far_leg
from miniworld.world.skulls import draw_ear, draw_head


def draw_creature(
    rng: np.random.Generator, name: str, a: dict[str, Any], lively: np.random.Generator | None = None
) -> tuple[Sketch, dict[str, Point]]:
    """Shapes and keypoints of one creature with the given attributes, which gain its gait; `lively` enlivens some."""
    kind = individual(rng, KINDS[name])
    bones = pose(rng, kind, calm=a["rider"])
    a["gait"] = bones.gait
    if lively is not None:
        enliven(lively, name, kind, bones, a)
    sketch = Sketch()
    points: dict[str, Point] = {}
    _tail(rng, sketch, kind, bones, points)
    if a["rider"]:
        far_leg(sketch, bones, kind)
    for leg in ("fh", "ff"):
        _leg(sketch, kind, bones, leg, points, bool(a["wraps"]))
    if "big_ear" not in kind.extras and bones.head == "ahead":
        draw_ear(sketch, kind, bones, points, far=True)
    _level(sketch, bones, points, lambda part, level, named: _body(rng, part, kind, level, named))
    _neck(rng, sketch, kind, bones)
    for leg in ("nh", "nf"):
        _leg(sketch, kind, bones, leg, points, bool(a["wraps"]))
    if a["saddle"]:
        draw_saddle(sketch, bones, kind)
    if bones.head == "ahead":
        draw_head(rng, sketch, kind, bones, points, bool(a["bridle"]))
    elif bones.head == "back":
        _head_back(rng, sketch, kind, bones, points, bool(a["bridle"]))
    else:
        draw_face(rng, sketch, kind, bones, points, bool(a["bridle"]))
    if a["rider"]:
        draw_rider(rng, sketch, bones, kind)
    return sketch, points


def _level(
    sketch: Sketch, bones: Bones, points: dict[str, Point], draw: Callable[[Sketch, Bones, dict[str, Point]], None]
) -> None:
    """Draw on the trunk as if it were level, then turn what was drawn as the trunk is."""
    if not bones.tilt:
        return draw(sketch, bones, points)
    hip, part, named = bones.at["hip"], Sketch(), dict[str, Point]()
    level = {joint: rotated(p, hip, -bones.tilt) for joint, p in bones.at.items()}
    draw(part, replace(bones, at=level), named)
    origin, x, y = (rotated(p, hip, bones.tilt) for p in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    sketch.add(part, np.subtract([x, y], origin), np.array(origin))
    points |= {name: rotated(p, hip, bones.tilt) for name, p in named.items()}
    return None


def _head_back(rng: np.random.Generator, sketch: Sketch, kind: Kind, bones: Bones, points: dict[str, Point],
               bridle: bool) -> None:  # fmt: skip
    """A head that looks back along the body: one that looks ahead, mirrored at the poll."""

    def mirrored(p: Point) -> Point:
        return 2 * bones.at["poll"][0] - p[0], p[1]

    part, named = Sketch(), dict[str, Point]()
    ahead = replace(
        bones,
        at={joint: mirrored(p) for joint, p in bones.at.items()},
        neck=[mirrored(p) for p in bones.neck],
    )
    if "big_ear" not in kind.extras:
        draw_ear(part, kind, ahead, named, far=True)
    draw_head(rng, part, kind, ahead, named, bridle)
    sketch.add(part, np.diag([-1.0, 1.0]), np.array([2 * bones.at["poll"][0], 0.0]))
    points |= {name: mirrored(p) for name, p in named.items()}


_SIDES = {"n": "near", "f": "far"}


def _leg(sketch: Sketch, kind: Kind, bones: Bones, leg: str, points: dict[str, Point], wraps: bool) -> None:
    top, middle, foot = bones.legs[leg]
    r_top, r_mid, r_low = kind.leg
    fore = leg[1] == "f"
    if leg[0] == "n":  # muscle that joins the leg to the body
        if fore:
            root = bones.at.get("shoulder", (top[0] - 0.02, kind.spine[3] - 0.01))
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
        sketch.capsule(
            leg + "_hoof", (foot[0], foot[1] - h * 0.35), h * 0.65, (foot[0] + h * 0.7, foot[1] - h * 0.45), h * 0.55
        )
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
    base = rotated((hip[0] - r * 0.80, hip[1] + r * 0.50), hip, bones.tilt) if bones.tilt else (
        hip[0] - r * 0.80, hip[1] + r * 0.50)  # fmt: skip
    swish = rng.normal(0, 12)
    lift = bones.tail_lift
    angle = 180 - (kind.tail_angle + swish + lift)

    def laid(*path: Point) -> list[Point]:
        """The path, on the ground where it would be below."""
        return [(x, max(y, b + 0.01)) for x, y in path] if bones.low else list(path)

    a, b = kind.tail_r
    if "pigtail" in kind.extras:
        base = (hip[0] - r * 0.95, hip[1] + r * 0.2)
        c = (base[0] - 0.07, base[1] + 0.05)
        loop = [(c[0] + 0.055 * math.cos(t), c[1] + 0.055 * math.sin(t)) for t in np.linspace(-0.8, 4.6, 7)]
        sketch.limb("tail", laid(base, *loop), [a] + [b] * 7)
        tip = loop[-1]
    elif "curl_tail" in kind.extras:
        m = ray(base, angle, kind.tail * 0.45)
        tip = ray(m, angle - 40 - swish, kind.tail * 0.4)
        m, tip = laid(m, tip)
        sketch.limb("tail", [(hip[0], hip[1]), base, m, tip], [a, a, (a + b) / 2, b])
    elif "hair_tail" in kind.extras:
        m = ray(base, angle - 28, kind.tail * 0.4)
        m, tip = laid(m, ray(m, 262 - swish - lift, kind.tail * 0.6))
        sketch.limb("tail", [base, m, along(m, tip, 0.6), tip], [a, b * 1.35, b * 1.25, 0.012])
    else:
        m = ray(base, angle - 12, kind.tail * 0.5)
        tip = ray(m, angle + (14 if kind.tail_angle < 0 else -25), kind.tail * 0.5)
        m, tip = laid(m, tip)
        sketch.limb("tail", [(hip[0], hip[1] + r * 0.3), base, m, tip], [a, a, a * 0.8, b])
        if "tuft" in kind.extras:
            sketch.limb(
                "tuft", [along(m, tip, 0.75), ray(tip, angle, 0.05), ray(tip, angle + 6, 0.14)], [0.02, 0.045, 0.01]
            )
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
        sketch.blob("back", [(x - 0.3, y + 0.02), (x - 0.14, y + 0.2), (x, y + 0.29), (x + 0.14, y + 0.2),
                             (x + 0.3, y + 0.02),
                             (x, y - 0.08)])  # fmt: skip
        points["back"] = (x, y + 0.2)
    else:
        points["back"] = along(top[1], top[2], 0.5)
    sketch.limb("back", top, [r0 * 0.22, r1 * 0.24, r2 * 0.24, r3 * 0.24])
    if "udder" in kind.extras and not bones.low:
        sketch.ellipse("udder", hip[0] + 0.24, hip[1] - r1 * 1.02, 0.1, 0.075)
    sketch.ellipse("chest", breast[0] + r3 * 0.42, breast[1] - r3 * 0.12, r3 * 0.62, r3 * 0.85)
    points["withers"] = top[3]
    points["rump"] = (hip[0] - r0 * 0.1, hip[1] + r0 * 0.72)
    points["chest"] = (breast[0] + r3 * 0.8, breast[1] - r3 * 0.2)
    points["belly"] = ((loin[0] + girth[0]) / 2, (loin[1] + girth[1]) / 2 - (r1 + r2) / 2 * 0.82)


def _neck(rng: np.random.Generator, sketch: Sketch, kind: Kind, bones: Bones) -> None:
    root, middle, poll = bones.neck
    ra, rb = kind.neck_r
    back_in = (root[0] - ra * 0.6, root[1] - ra * 0.2)
    sketch.limb("neck", [back_in, root, middle, poll], [ra * 0.9, ra, (ra * 0.45 + rb * 0.55), rb])
    if "mane" in kind.extras or "crest" in kind.extras:
        lean = math.degrees(math.atan2(poll[1] - root[1], poll[0] - root[0])) + 90
        erect = "crest" in kind.extras
        spine = [
            ray(p, lean, w * (0.95 if erect else 0.8))
            for p, w in ((along(root, middle, 0.1), ra), (middle, ra * 0.45 + rb * 0.55), (poll, rb))
        ]
        if bones.head == "back":  # from the withers over the bent neck to the nape, which now is in front
            thick = 0.55 if "ossicones" in kind.extras else 1.0 if erect else 1.0 + 5 * rng.uniform(0.05, 0.1)
            over = [spine[0], along(middle, poll, 0.2), ray(poll, 15, rb * 0.9)]
            return sketch.limb("mane", over, [0.02 * thick, 0.036 * thick, 0.035 * thick])
        if erect:
            sketch.limb(
                "mane",
                spine,
                [
                    0.02,
                    0.04 if "ossicones" not in kind.extras else 0.022,
                    0.035 if "ossicones" not in kind.extras else 0.02,
                ],
            )
        else:
            fall = rng.uniform(0.05, 0.1)
            low = [(p[0] - fall * 0.35, p[1] - fall) for p in spine]
            sketch.blob("mane", [spine[0], spine[1], spine[2], along(spine[2], poll, 1.0),
                                 (low[2][0], low[2][1] - 0.02),
                                 along(low[1], low[2], 0.4, -0.05), (low[1][0], low[1][1] - 0.02),
                                 along(low[0], low[1], 0.4, -0.06),
                                 (low[0][0], low[0][1] - 0.05)])  # fmt: skip
    return None
