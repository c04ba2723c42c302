"""What has no class in a bedroom: toys, slippers, a cat, a radiator, a television, a clock."""

from __future__ import annotations

import numpy as np

from miniworld.world.bedroom.decor import FINE, INKS
from miniworld.world.bedroom.solids import Colour, Paint, shade
from miniworld.world.bedroom.spot import Spot

Span = tuple[float, float]
CLUTTER = ("slippers", "ball", "basket", "suitcase", "bear", "books")
_FURS: tuple[Colour, ...] = (
    (0.86, 0.56, 0.28),
    (0.2, 0.19, 0.2),
    (0.62, 0.6, 0.58),
    (0.92, 0.88, 0.8),
    (0.5, 0.34, 0.22),
)


def lying(rng: np.random.Generator, spot: Spot, s: float, d: float, what: str) -> None:
    """Something on the floor: slippers, a ball, a basket, a suitcase, a toy, books."""
    solids = spot.solids
    solids.begin()
    ink = INKS[int(rng.integers(len(INKS)))]
    x, _, z = spot.point(s, 0, d)
    if what == "slippers":
        for k in (-1, 1):
            solids.puff(
                "background", (x + 0.07 * k, 0.045, z), (0.05, 0, 0), (0, 0.045, 0), (0, 0, 0.13), Paint(ink), 3.4
            )
    elif what == "ball":
        paint = Paint(ink, (0.95, 0.93, 0.88), "bands", along=6.0)
        solids.puff("background", (x, 0.13, z), (0.13, 0, 0), (0, 0.13, 0), (0, 0, 0.13), paint, 2.0)
    elif what == "basket":
        weave = Paint((0.74, 0.58, 0.36), (0.55, 0.4, 0.22), "checks", 12.0, 12.0)
        solids.drum("background", (x, 0, z), 0.34, 0.17, 0.21, weave, Paint((0.88, 0.86, 0.82)))
        spot.block((s - 0.18, s + 0.18), (0, 0.3), (d - 0.18, d + 0.18))
    elif what == "suitcase":
        spot.box(
            "background",
            (s - 0.28, s + 0.28),
            (0.0, 0.22),
            (d - 0.2, d + 0.2),
            Paint(ink, shade(ink, 0.7), "stripes", 4.0),
        )
        spot.block((s - 0.28, s + 0.28), (0, 0.22), (d - 0.2, d + 0.2))
    elif what == "bear":
        fur = Paint((0.62, 0.42, 0.24))
        light = Paint((0.86, 0.7, 0.5))
        for dx, y, r, paint in ((-0.1, 0.06, 0.07, fur), (0.1, 0.06, 0.07, fur), (0, 0.14, 0.12, fur),
                                (-0.08, 0.38, 0.04, fur),
                                (0.08, 0.38, 0.04, fur), (0, 0.31, 0.1, fur)):  # fmt: skip
            solids.puff("background", (x + dx, y, z), (r, 0, 0), (0, r, 0), (0, 0, r), paint, 2.0, join=r != 0.07)
        solids.puff(
            "background", (x, 0.28, z - 0.08), (0.045, 0, 0), (0, 0.035, 0), (0, 0, 0.03), light, 2.0, join=True
        )
    else:
        for k in range(3):
            cover = Paint(INKS[int(rng.integers(len(INKS)))])
            spot.box("background", (s - 0.13, s + 0.13), (0.04 * k, 0.04 * k + 0.04), (d - 0.09, d + 0.09), cover)


def cat(rng: np.random.Generator, spot: Spot, s: float, y: float, d: float) -> None:
    """A cat asleep, curled up at (s, y, d)."""
    spot.solids.begin()
    coat = _FURS[int(rng.integers(len(_FURS)))]
    fur = (
        Paint(coat, shade(coat, 0.7), "bands", along=14.0, grain=0.02)
        if rng.random() < 0.5
        else Paint(coat, grain=0.02)
    )
    side = 1.0 if rng.random() < 0.5 else -1.0
    spot.puff("background", (s, y + 0.085, d), (0.19, 0.095, 0.14), fur, 2.0)
    head = (s + 0.13 * side, y + 0.1, d + 0.1)
    for k in (-0.045, 0.045):
        ear = np.array([(-1.0, -1.0), (1.0, -1.0), (0.3 * np.sign(k), 1.0)])
        at = head[0] + k
        spot.upright("background", (at - 0.028, at + 0.028), (head[1] + 0.03, head[1] + 0.105), head[2], fur, ear, True)
    spot.puff("background", head, (0.075, 0.065, 0.07), Paint(shade(coat, 1.08)), 2.0, join=True)
    spot.puff("background", (s - 0.1 * side, y + 0.04, d + 0.14), (0.13, 0.03, 0.03), fur, 2.0, join=True)


def radiator(spot: Spot, s: Span) -> None:
    """A radiator at the wall."""
    spot.solids.begin()
    ribs = Paint((0.9, 0.89, 0.86), (0.62, 0.61, 0.58), "seams", 11.0)
    spot.box("background", s, (0.14, 0.66), (0.03, 0.085), ribs, ("background", Paint((0.93, 0.92, 0.9))))
    spot.block(s, (0.1, 0.66), (0.0, 0.085))


def television(rng: np.random.Generator, spot: Spot, s: float, y: float, d: float) -> None:
    """A television on a dresser, on or off."""
    spot.solids.begin()
    black, wide = Paint((0.07, 0.07, 0.08)), 0.36
    spot.box("background", (s - 0.12, s + 0.12), (y, y + 0.02), (d - 0.08, d + 0.08), black)
    spot.box("background", (s - 0.025, s + 0.025), (y + 0.02, y + 0.08), (d - 0.02, d + 0.02), black)
    spot.box("background", (s - wide, s + wide), (y + 0.08, y + 0.5), (d - 0.02, d + 0.02), black)
    screen = ((s - wide + 0.02, s + wide - 0.02), (y + 0.1, y + 0.48))
    if rng.random() < 0.4:
        ink = INKS[int(rng.integers(len(INKS)))]
        spot.upright(
            "background", *screen, d + 0.022, Paint(ink, (0.55, 0.75, 0.95), "fade", glow=0.8, grain=0.0), join=True
        )
    else:
        spot.upright("background", *screen, d + 0.022, Paint((0.1, 0.11, 0.13), (0.24, 0.26, 0.3), "fade"), join=True)


def clock(spot: Spot, s: float, y: float, r: float, rim: Paint) -> None:
    """A round clock on the wall."""
    spot.solids.begin()
    spot.upright("background", (s - r, s + r), (y - r, y + r), 0.03, rim, FINE)
    q = r * 0.84
    span = ((s - q, s + q), (y - q, y + q))
    spot.upright("background", *span, 0.031, Paint((0.95, 0.94, 0.9)), FINE, join=True)
    for hand in (
        [(-0.06, 0.1), (0.06, -0.1), (0.6, 0.45), (0.55, 0.55)],
        [(-0.05, -0.1), (0.05, -0.1), (0.05, 0.8), (-0.05, 0.8)],
    ):
        spot.upright("background", *span, 0.032, Paint((0.12, 0.12, 0.12)), np.array(hand), join=True)
