"""What horses carry: saddles and riders."""

from __future__ import annotations

import numpy as np

from miniworld.world.kinds import Kind
from miniworld.world.paint import Sketch
from miniworld.world.poses import Bones


def seat(bones: Bones, kind: Kind) -> tuple[float, float]:
    """Where a rider sits: on the back, a little behind the withers."""
    girth = bones.at["girth"]
    return girth[0] - 0.06, girth[1] + kind.barrel[2]


def draw_saddle(sketch: Sketch, bones: Bones, kind: Kind) -> None:
    """A cloth and a saddle with its girth strap."""
    x, y = seat(bones, kind)
    deep = kind.barrel[2]
    sketch.blob("cloth", [(x - 0.2, y), (x + 0.2, y - 0.01), (x + 0.19, y - deep * 0.9), (x - 0.19, y - deep * 0.85)])
    sketch.limb("saddle", [(x - 0.17, y + 0.055), (x, y + 0.012), (x + 0.15, y + 0.06)], [0.03, 0.042, 0.028])
    sketch.blob("saddle", [(x - 0.08, y + 0.02), (x + 0.12, y), (x + 0.14, y - deep * 0.75), (x, y - deep * 0.8)])
    sketch.capsule("saddle", (x + 0.06, y - deep * 0.6), 0.016, (x + 0.06, y - deep * 1.9), 0.014)


def far_leg(sketch: Sketch, bones: Bones, kind: Kind) -> None:
    """The rider's leg on the far side: only its foot shows below the belly."""
    x, y = seat(bones, kind)
    sketch.capsule("far_trousers", (x + 0.13, y - 0.2), 0.05, (x + 0.12, y - 0.47), 0.04)
    sketch.capsule("far_shoe", (x + 0.10, y - 0.5), 0.03, (x + 0.18, y - 0.52), 0.026)


def draw_rider(rng: np.random.Generator, sketch: Sketch, bones: Bones, kind: Kind) -> None:
    """A person on the back, reins in hand."""
    x, y = seat(bones, kind)
    lean = rng.normal(0.05, 0.04)
    hip, neck = (x - 0.02, y + 0.09), (x - 0.01 + lean, y + 0.42)
    head = (neck[0] + 0.02 + lean * 0.4, neck[1] + 0.14)
    sketch.capsule("shirt", hip, 0.085, neck, 0.085)
    sketch.capsule("skin", neck, 0.04, head, 0.06)
    sketch.ellipse("skin", *head, 0.078, 0.09)
    hair = [(head[0] - 0.09, head[1] - 0.03), (head[0] - 0.085, head[1] + 0.06), (head[0], head[1] + 0.115),
            (head[0] + 0.085, head[1] + 0.06), (head[0] + 0.06, head[1] + 0.035),
            (head[0] - 0.03, head[1] + 0.02)]  # fmt: skip
    sketch.blob("hair", hair)
    knee = (x + 0.19 + rng.normal(0, 0.015), y - 0.08)
    foot = (x + 0.1 + rng.normal(0, 0.02), y - 0.38)
    sketch.capsule("trousers", (hip[0], hip[1] - 0.01), 0.078, knee, 0.058)
    sketch.capsule("trousers", knee, 0.056, (foot[0], foot[1] + 0.05), 0.038)
    sketch.capsule("shoe", (foot[0] - 0.01, foot[1]), 0.036, (foot[0] + 0.09, foot[1] - 0.015), 0.028)
    hand = (x + 0.27, y + 0.14 + rng.normal(0, 0.015))
    elbow = (x + 0.08 + lean, y + 0.19)
    root = bones.neck[1]
    sketch.capsule("bridle", hand, 0.01, (root[0], root[1] - 0.02), 0.01)
    sketch.capsule("sleeve", (neck[0], neck[1] - 0.02), 0.052, elbow, 0.042)
    sketch.capsule("sleeve", elbow, 0.042, hand, 0.03)
    sketch.ellipse("skin", *hand, 0.034, 0.032)
