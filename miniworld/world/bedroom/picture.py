"""The world of bedrooms: from a seed, a picture of a bedroom with the class of every pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from miniworld.world.bedroom.captions import captions
from miniworld.world.bedroom.choices import KINDS, attributes, paints
from miniworld.world.bedroom.classes import CLASS, CLASSES
from miniworld.world.bedroom.fill import fill
from miniworld.world.bedroom.lighting import Light, Opening
from miniworld.world.bedroom.plan import Plan, stand
from miniworld.world.bedroom.solids import Colour, Lamp, Solids, times
from miniworld.world.bedroom.stage import RoomStage, raster
from miniworld.world.light import NOMINAL
from miniworld.world.looks import LOOKS, render
from shiftless.errors import BadInput

_LEAST_HUNG = 12  # pixels of 128 x 128 by which a picture or mirror counts

__all__ = ["CLASSES", "KINDS", "BedroomPicture", "draw_bedroom"]


@dataclass(frozen=True)
class BedroomPicture:
    """A drawn bedroom and its truth.

    `image` H W 3 uint8 RGB; `labels` H W uint8 index CLASSES, 0 where something has no class. `captions` grow finer:
    nothing, the kind of bedroom, everything.
    """

    image: np.ndarray
    labels: np.ndarray
    captions: tuple[str, str, str]
    attributes: dict[str, Any]
    kind: str


def draw_bedroom(seed: int, *, size: int = NOMINAL, look: str = "photo") -> BedroomPicture:
    """Draw the bedroom of a seed; a look changes how the same room is rendered, never what is in it.

    Every size shows the same room. Raises `BadInput` for an unknown look, a negative seed or a size below 16.

    >>> picture = draw_bedroom(3)
    >>> picture.image.shape, picture.labels.shape, picture.captions[0]
    ((128, 128, 3), (128, 128), 'a photo')
    """
    if look not in LOOKS:
        raise BadInput(f"look {look!r} is unknown: use one of {', '.join(LOOKS)}")
    if seed < 0 or size < 16:
        raise BadInput(f"seed {seed} with size {size}: the seed must be 0 or more, the size 16 or more")
    stage, a = build(seed, size)
    shown = stage.seen if size == NOMINAL else replace(stage, canvas=raster(stage.faces, NOMINAL)).seen
    classes, things = stage.faces.classes[shown], stage.faces.things[shown]
    hung = np.flatnonzero(np.bincount(things[classes == CLASS["picture"]]) >= _LEAST_HUNG)
    a["look"] = look
    return BedroomPicture(
        image=render(look, stage, np.random.default_rng([seed, 4])),
        labels=stage.classes,
        captions=captions(a, np.bincount(classes.ravel(), minlength=len(CLASSES)), hung.tolist()),
        attributes=a,
        kind=a["kind"],
    )


def build(seed: int, size: int) -> tuple[RoomStage, dict[str, Any]]:
    """The room of a seed as faces and light, and what was chosen about it."""
    rng = np.random.default_rng([seed, 3])
    a = attributes(rng)
    room, camera = stand(rng, a)
    plan = Plan(rng, a, paints(rng, a), room, Solids(camera))
    fill(plan)
    faces = plan.solids.frozen()
    stage = RoomStage(
        canvas=raster(faces, size),
        faces=faces,
        camera=camera,
        light=_light(rng, plan),
        texture=rng.integers(0, 512, 2),
        brightness={"day": 0.58, "dusk": 0.42, "night": 0.31}[a["time"]] * float(rng.uniform(0.88, 1.12)),
    )
    return stage, a


def _light(rng: np.random.Generator, plan: Plan) -> Light:
    """The room's light: day through the windows, and at night the lamps."""
    a, (wide, tall, deep) = plan.a, plan.room
    base: Colour = {"day": (0.62, 0.625, 0.63), "dusk": (0.42, 0.37, 0.38), "night": (0.21, 0.21, 0.26)}[a["time"]]
    behind = {"day": (0.42, 0.41, 0.39), "dusk": (0.24, 0.17, 0.15), "night": (0.07, 0.07, 0.09)}[a["time"]]
    lamps = tuple(plan.solids.lamps)
    a["lit"] = bool(lamps)
    if a["time"] == "night" and not lamps:  # the moon must do
        base, behind = (0.30, 0.34, 0.45), (0.20, 0.24, 0.36)
    if a["time"] == "day":  # lamps hardly show by day
        lamps = tuple(Lamp(lamp.at, times(lamp.colour, 0.35), lamp.shaded) for lamp in lamps)
    else:
        extra = 0.05 * min(len(lamps), 3)
        base = (base[0] + extra, base[1] + 0.86 * extra, base[2] + 0.66 * extra)
    off = float(rng.uniform(-0.35, 0.35))
    back = Opening((wide * (0.5 + off), 1.6, -1.2), (1.0, 0.0, 0.0), 0.8, (0.0, 0.0, 1.0), behind)
    return Light(base, (*plan.openings, back), lamps, (wide, tall, deep), tuple(plan.solids.blockers))
