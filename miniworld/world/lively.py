"""Livelier poses: some creatures lie, sit or rear, turn their heads, or raise their tails."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from miniworld.world.kinds import Kind
from miniworld.world.poses import Bones, Point, along, ray, rotated

SHARE = 0.36
"""The share of creatures that are given a livelier pose."""
_SITS = ("dog", "cat")
_REARS = ("horse", "zebra")
_STANDS = ("elephant",)  # never lies
_SHORT_TAILED = ("sheep", "pig")


def enliven(rng: np.random.Generator, name: str, kind: Kind, bones: Bones, a: dict[str, Any]) -> None:
    """Give some creatures a livelier pose: changes the bones, and the attributes to match.

    `head` is ahead, back or viewer, `tail` loose, raised or lowered, and `gait` gains lie, sit and rear.

    Horses with a saddle stay on their legs; only their heads and tails move.
    """
    a["head"], a["tail"] = "ahead", "loose"
    if rng.random() >= SHARE:
        return
    moves = ["back", "viewer"] + ([] if name in _SHORT_TAILED else ["tail"])
    if not a["saddle"]:
        moves += [] if name in _STANDS else ["lie", "lie"]
        moves += ["sit", "sit", "sit"] if name in _SITS else []
        moves += ["rear"] if name in _REARS else []
    move = str(rng.choice(moves))
    if move == "lie":
        _lie(rng, kind, bones, stretched=name in _SITS)
    elif move == "sit":
        _sit(rng, kind, bones)
    elif move == "rear":
        _rear(rng, kind, bones)
    elif move == "tail":
        bones.tail_lift += float(rng.uniform(55, 100)) if kind.tail_angle < 0 else float(rng.uniform(-75, -40))
        a["tail"] = "raised" if kind.tail_angle < 0 else "lowered"
    if move in ("lie", "sit") and rng.random() < 0.45:
        move = str(rng.choice(["back", "viewer"]))
    if move in ("back", "viewer"):
        a["head"] = move
        _turn_head(rng, kind, bones, back=move == "back", ridden=a["rider"])
    a["gait"] = bones.gait


def _hold(bones: Bones, kind: Kind, root: Point, angle: float, head_angle: float) -> None:
    """Hold the head ahead on a straight neck."""
    poll = ray(root, angle, kind.neck)
    middle = along(root, poll, 0.45, -0.15) if "swan" in kind.extras else along(root, poll, 0.5, 0.03)
    bones.neck, bones.head_turn = [root, middle, poll], head_angle
    bones.at["root"], bones.at["poll"], bones.at["tip"] = root, poll, ray(poll, head_angle, kind.head)


def _turn_head(rng: np.random.Generator, kind: Kind, bones: Bones, back: bool, ridden: bool) -> None:
    """Turn the head towards the viewer, or past it until it looks back along the body."""
    bones.head = "back" if back else "viewer"
    if bones.gait == "graze":
        bones.gait = "stand"
    root, n = bones.neck[0], kind.neck
    long = n > 0.35
    angle = max(kind.neck_angle, 12) + bones.tilt * 0.4 + float(rng.normal(0, 5))
    if back:
        up = 74 if ridden else 94  # a rider's hands are where the head would be
        poll = ray(root, up + float(rng.normal(0, 5)) if long else 58, n * (0.88 if long else 0.75))
        middle = along(root, poll, 0.5)
        middle = (middle[0] + 0.2 * n, middle[1] - 0.02 * n)
        bones.head_turn = kind.head_angle * 0.8 + float(rng.normal(0, 5))
        ahead = ray(poll, bones.head_turn, kind.head)
        tip = (2 * poll[0] - ahead[0], ahead[1])
    else:
        poll = ray(root, angle + 10, n * 0.9)
        middle = along(root, poll, 0.45, -0.15 if "swan" in kind.extras else 0.03)
        bones.head_turn = -90 + float(rng.normal(0, 6))
        tip = ray(poll, bones.head_turn, kind.head * _shown(kind))
    bones.neck = [root, middle, poll]
    bones.at["poll"], bones.at["tip"] = poll, tip


def _shown(kind: Kind) -> float:
    """How long a head looks from the front: all of it where it hangs, little where it points at the viewer."""
    return min(0.92, max(0.35, 0.35 + 0.6 * math.sin(math.radians(-kind.head_angle))))


def _lay_tail(rng: np.random.Generator, kind: Kind, bones: Bones) -> None:
    """Let the tail lie on the ground behind."""
    bones.low = True
    bones.tail_lift = (-35 if "hair_tail" in kind.extras else -15) - kind.tail_angle + float(rng.normal(0, 5))


def _lie(rng: np.random.Generator, kind: Kind, bones: Bones, stretched: bool) -> None:
    """Body on the ground; the fore legs folded under it or, of cats and dogs, stretched ahead."""
    bones.gait = "lie"
    half, h = kind.length / 2, kind.hoof
    drop = min(y - r for y, r in zip(kind.spine, kind.barrel)) - 0.01
    for joint, x, y in zip(("hip", "loin", "girth", "breast"), (-half, -half * 0.3, half * 0.35, half), kind.spine):
        bones.at[joint] = (x, y - drop)
    hip, breast = bones.at["hip"], bones.at["breast"]
    bones.at["shoulder"] = (breast[0] - 0.06, breast[1] - 0.02)
    upper, lower = (kind.elbow - h) * 0.5, (kind.stifle - h) * 0.5
    ahead = [stretched, stretched or bool(rng.random() < 0.4)]
    for i, leg in enumerate(("nf", "ff")):
        shift = float(rng.normal(0, 0.02)) + 0.08 * i
        top = (half * 0.86 + shift, max(0.12, breast[1] - kind.barrel[3] * 0.6) + 0.02 * i)
        if ahead[i]:
            middle = (top[0] + upper * 0.95, kind.leg[1] + 0.04)
            foot = (middle[0] + upper * 0.9, h + 0.01 * i)
        else:
            middle = (top[0] + upper * 0.98, kind.leg[1] + 0.06)
            foot = (middle[0] - upper * 0.9, h)
        bones.legs[leg] = (top, middle, foot)
    for i, leg in enumerate(("nh", "fh")):
        shift = float(rng.normal(0, 0.02)) + 0.07 * i
        top = (hip[0] + 0.30 + shift, max(0.16, hip[1] - 0.03))
        middle = (hip[0] + 0.06 + shift, kind.leg[1] + 0.03)
        bones.legs[leg] = (top, middle, (middle[0] + lower * 1.1, h))
    _lay_tail(rng, kind, bones)
    angle = kind.neck_angle + (8 if kind.neck_angle < 40 else 0) + float(rng.normal(0, 8))
    root = (half * 0.95, breast[1] + kind.neck_from)
    _hold(bones, kind, root, angle, kind.head_angle + float(rng.normal(0, 7)))


def _tilted(kind: Kind, bones: Bones, hip: Point, tilt: float, arch: float) -> Point:
    """Set the trunk at an angle on the hip, a little arched; gives the root of the neck."""
    half = kind.length / 2
    at = (0.0, half * 0.7, half * 1.35, half * 2)
    for joint, x, y, up in zip(("hip", "loin", "girth", "breast"), at, kind.spine, (0, arch, arch, 0)):
        bones.at[joint] = rotated((hip[0] + x, hip[1] + y - kind.spine[0] + up), hip, tilt)
    bones.tilt = tilt
    breast = bones.at["breast"]
    bones.at["shoulder"] = rotated((breast[0] - 0.05, breast[1] - 0.02), breast, tilt)
    return rotated((breast[0] - half * 0.05, breast[1] + kind.neck_from), breast, tilt)


def _sit(rng: np.random.Generator, kind: Kind, bones: Bones) -> None:
    """Hind quarters on the ground, fore legs straight."""
    bones.gait = "sit"
    h = kind.hoof
    hip = (-kind.length / 2, kind.barrel[0] * 0.92)
    rise = kind.spine[3] + (0.16 if "round" in kind.extras else 0.06) - hip[1]
    tilt = math.degrees(math.asin(min(0.9, rise / kind.length))) + float(rng.normal(0, 3))
    root = _tilted(kind, bones, hip, tilt, -0.02)
    breast = bones.at["breast"]
    for i, leg in enumerate(("nf", "ff")):
        shift = float(rng.normal(0, 0.012)) + 0.07 * i
        top = (breast[0] - 0.02 + shift, kind.elbow + 0.02)
        foot = (top[0] + 0.05, h)
        bones.legs[leg] = (top, along(top, foot, 0.5), foot)
    lower = (kind.stifle - h) * 0.5
    for i, leg in enumerate(("nh", "fh")):
        shift = float(rng.normal(0, 0.012)) + 0.06 * i
        top = (hip[0] + 0.27 + shift, hip[1] + 0.07)
        middle = (hip[0] + 0.03 + shift, kind.leg[1] + 0.02)
        bones.legs[leg] = (top, middle, (middle[0] + lower * 1.25, h))
    _lay_tail(rng, kind, bones)
    neck, head = rng.normal((max(kind.neck_angle, 58), kind.head_angle), 6)
    _hold(bones, kind, root, float(neck), float(head))


def _rear(rng: np.random.Generator, kind: Kind, bones: Bones) -> None:
    """On the hind legs, the fore legs in the air."""
    bones.gait = "rear"
    tilt = float(rng.uniform(32, 48))
    hip = (-kind.length / 2, kind.spine[0] - 0.06)
    root = _tilted(kind, bones, hip, tilt, 0.0)
    breast = bones.at["breast"]
    bone = (kind.elbow - kind.hoof) * 0.515
    for i, leg in enumerate(("nf", "ff")):
        top = rotated((breast[0] - 0.04 + 0.05 * i, breast[1] - 0.19), breast, tilt)
        middle = ray(top, tilt - 45 + float(rng.normal(0, 12)) + 16 * i, bone)
        bones.legs[leg] = (top, middle, ray(middle, -105 + float(rng.normal(0, 12)), bone))
    lower = (kind.stifle - kind.hoof) * 0.53
    for i, leg in enumerate(("nh", "fh")):
        top = (hip[0] + 0.16 + 0.05 * i, hip[1] - 0.2)
        foot = (hip[0] + 0.08 + 0.16 * i + float(rng.normal(0, 0.03)), kind.hoof)
        middle = along(top, foot, 0.48)
        bones.legs[leg] = (top, (middle[0] - lower * 0.35, middle[1]), foot)
    bones.tail_lift = float(rng.uniform(0, 30)) - tilt * 0.3
    _hold(bones, kind, root, kind.neck_angle + tilt * 0.6, kind.head_angle + tilt * 0.5 + float(rng.normal(0, 6)))
