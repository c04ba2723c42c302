"""Poses: bones of a creature from its kind's proportions and chance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from miniworld.world.kinds import Kind

Point = tuple[float, float]


@dataclass
class Bones:
    """Joints of one pose in withers heights, facing +x, y up, the ground at 0."""

    at: dict[str, Point] = field(default_factory=dict)
    legs: dict[str, tuple[Point, Point, Point]] = field(default_factory=dict)  # top, middle, foot by ff fh nf nh
    neck: list[Point] = field(default_factory=list)
    head_turn: float = 0.0
    gait: str = "stand"
    head: str = "ahead"  # or "back", or "viewer"
    tilt: float = 0.0  # degrees by which the trunk rises from the hip to the breast
    tail_lift: float = 0.0  # degrees by which the tail is raised
    low: bool = False  # the hind quarters, and so the tail, are on the ground


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


def rotated(p: Point, about: Point, degrees: float) -> Point:
    """The point turned about another, counter-clockwise."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = p[0] - about[0], p[1] - about[1]
    return about[0] + c * x - s * y, about[1] + s * x + c * y


def individual(rng: np.random.Generator, kind: Kind) -> Kind:
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
