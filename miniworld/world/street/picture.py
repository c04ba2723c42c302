"""Town streets from a car: from a seed, a picture with the exact class of every pixel, and captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from miniworld.world.light import NOMINAL
from miniworld.world.looks import LOOKS, render
from miniworld.world.street.camera import Camera
from miniworld.world.street.captions import captions
from miniworld.world.street.classes import CLASS, CLASSES, COLOURS, VOID
from miniworld.world.street.faces import VALUE, Faces
from miniworld.world.street.ground import draw_ground, draw_skyline
from miniworld.world.street.growth import draw_growth
from miniworld.world.street.houses import draw_borders, draw_houses
from miniworld.world.street.layout import KINDS, draw_attributes, draw_plan
from miniworld.world.street.light import StreetStage
from miniworld.world.street.people import draw_people
from miniworld.world.street.posts import draw_posts
from miniworld.world.street.traffic import draw_traffic
from miniworld.world.street.weather import draw_air
from shiftless.errors import BadInput

__all__ = ["CLASSES", "COLOURS", "KINDS", "VOID", "StreetPicture", "draw_street"]

_LEAST_LIGHT = 0.0006  # share of the frame from which a traffic light is worth naming
_LEAST_TREES = 0.01


@dataclass(frozen=True)
class StreetPicture:
    """A drawn street and its truth.

    `image` is H W 3 uint8 RGB; `labels`, H W uint8, index CLASSES, with VOID at the picture's borders and on the bonnet
    of the camera's car; `captions` grow finer: nothing, the kind of street, everything worth saying. `attributes` hold
    time, weather, season, bend, where the horizon is and every thing that stands or drives in the street.
    """

    image: np.ndarray
    labels: np.ndarray
    kind: str
    captions: tuple[str, str, str]
    attributes: dict[str, Any]


def draw_street(seed: int, *, size: int = NOMINAL, look: str = "photo", kind: str | None = None) -> StreetPicture:
    """Draw the street of a seed; a look changes how the same street is rendered, never what is in it.

    Raises `BadInput` for an unknown look or kind, a negative seed or a size below 16.

    >>> picture = draw_street(3, kind="avenue")
    >>> picture.image.shape, picture.labels.shape, picture.captions[1]
    ((128, 128, 3), (128, 128), 'a photo of an avenue')
    """
    for what, value, legal in (("look", look, LOOKS), ("kind", kind, KINDS)):
        if value is not None and value not in legal:
            raise BadInput(f"{what} {value!r} is unknown: use one of {', '.join(legal)}")
    if seed < 0 or size < 16:
        raise BadInput(f"seed {seed} with size {size}: the seed must be 0 or more, the size 16 or more")
    rng = np.random.default_rng([seed, 11])
    a = draw_attributes(rng, kind)
    faces = _faces(rng, a)
    shape = float(rng.uniform(0.42, 0.58)), float(rng.uniform(0.03, 0.085)), float(rng.uniform(0.3, 0.7))
    hood = np.array(((40, 42, 48), (120, 124, 130), (86, 24, 26), (30, 44, 80))[int(rng.integers(4))]) / 255
    if rng.random() < 0.25:
        shape = shape[0], 0.0, shape[2]
    texture = rng.integers(0, 512, (3, 2))
    canvas = faces.raster(size)
    nominal = canvas if size == NOMINAL else faces.raster(NOMINAL)
    faces.measure(nominal)
    classes = np.bincount(nominal[1::3, 1::3, 3].ravel() % VALUE, minlength=VALUE) / NOMINAL**2
    a["light_shown"] = a["traffic_light"] is not None and bool(classes[CLASS["traffic light"]] >= _LEAST_LIGHT)
    if classes[CLASS["vegetation"]] < _LEAST_TREES:
        a["trees"] = []
    a["things"], a["look"], a["horizon"] = faces.things, look, faces.camera.horizon
    stage = StreetStage(canvas, faces, shape, hood, texture, seed)
    return StreetPicture(
        image=render(look, stage, np.random.default_rng([seed, 12])),
        labels=stage.truth(),
        kind=a["kind"],
        captions=captions(a, faces.things),
        attributes=a,
    )


def _faces(rng: np.random.Generator, a: dict[str, Any]) -> Faces:
    """Everything of a street, in no order."""
    plan = draw_plan(rng, a["kind"])
    air = draw_air(rng, a["time"], a["weather"])
    curve = float(rng.uniform(0.003, 0.010))
    camera = Camera(
        height=float(rng.uniform(1.3, 1.65)),
        focal=float(rng.uniform(0.8, 1.05)),
        horizon=float(rng.uniform(0.45, 0.55)),
        turn=float(rng.normal(0, 0.05)),
        bend={"straight": 0.0, "left": -curve, "right": curve}[a["bend"]],
    )
    faces = Faces(camera, air)
    draw_skyline(rng, faces, plan, a["season"])
    draw_ground(rng, faces, plan, a["season"])
    draw_houses(rng, faces, plan, a["season"])
    draw_borders(rng, faces, plan, a["season"])
    a["trees"] = ["left" if side < 0 else "right" for side in draw_growth(rng, faces, plan, a["season"])]
    draw_posts(rng, faces, plan, a)
    draw_traffic(rng, faces, plan, a)
    draw_people(rng, faces, plan, a)
    return faces
