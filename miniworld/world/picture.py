"""The embedded world: from a seed, a picture of a creature or a vehicle with its exact truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from miniworld.world.captions import captions
from miniworld.world.chance import attributes, choose
from miniworld.world.colours import light, palette
from miniworld.world.creatures import draw_creature
from miniworld.world.kinds import KEYPOINTS
from miniworld.world.kinds import KINDS as _KINDS
from miniworld.world.labels import COATED, LEGS, PART_OF, PARTS, SCENE_CLASSES, SCENE_OF, labels_of
from miniworld.world.light import NOMINAL, Stage
from miniworld.world.looks import LOOKS, render
from miniworld.world.marks import mark
from miniworld.world.paint import SUPER, Sketch, crop, pattern
from miniworld.world.scenery import SCENES, background, occluder, water_scene
from miniworld.world.truth import visible
from miniworld.world.vehicles import VEHICLES as _VEHICLES
from miniworld.world.vehicles import draw_vehicle
from shiftless.errors import BadInput

KINDS: tuple[str, ...] = tuple(_KINDS)
VEHICLES: tuple[str, ...] = tuple(_VEHICLES)

__all__ = [
    "KEYPOINTS", "KINDS", "LOOKS", "PARTS", "SCENES", "SCENE_CLASSES", "VEHICLES", "Picture", "draw", "keypoint_names",
]  # fmt: skip

_WEIGHTS = np.array([2.0] + [1.0] * (len(KINDS) - 1) + [0.7] * len(VEHICLES))  # horses twice as often: they carry gear
_ODDS = tuple(_WEIGHTS / _WEIGHTS.sum())
_PERSON = labels_of("far_shoe", "far_trousers", "shirt", "sleeve", "trousers", "shoe", "skin", "hair")
_COAT, _LIMBS = labels_of(*COATED), labels_of(*LEGS)


@dataclass(frozen=True)
class Picture:
    """A drawn image and its truth; points are (x, y) in pixels with centres at +0.5.

    `keypoints` K 2 and `visible` K follow `keypoint_names(kind)`, NaN where the kind has no such point; near and far
    in their names are the viewer's: near limbs are those on the side that faces the camera, in either facing. `box`
    (x0, y0, x1, y1) bounds the subject without its rider, hidden parts included, clipped to the image. `parts` and
    `scene`, H W, index PARTS and SCENE_CLASSES. `captions` grow finer: nothing, the kind, everything.
    """

    image: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    box: tuple[float, float, float, float]
    parts: np.ndarray
    scene: np.ndarray
    kind: str
    facing: str
    captions: tuple[str, str, str]
    attributes: dict[str, Any]


def keypoint_names(kind: str) -> tuple[str, ...]:
    """The names of a kind's keypoints, in the order of `Picture.keypoints`; raises `BadInput` for an unknown kind.

    >>> keypoint_names("bicycle")[:2]
    ('front_wheel', 'rear_wheel')
    """
    if kind in _VEHICLES:
        return _VEHICLES[kind]
    if kind in _KINDS:
        return KEYPOINTS
    raise BadInput(f"kind {kind!r} is unknown: use one of {', '.join(KINDS + VEHICLES)}")


@dataclass(frozen=True)
class _Place:
    """Where the subject stands, in shares of the frame's side."""

    scale: np.ndarray  # of its x and y; x is negative for a subject that faces left
    offset: np.ndarray
    feet: float
    centre: float
    width: float
    share: float

    def __call__(self, points: Any) -> np.ndarray:
        return np.asarray(points, np.float64) * self.scale + self.offset


def _stand(rng: np.random.Generator, bounds: tuple[float, float, float, float], facing: str, floats: bool) -> _Place:
    """Choose size and position: the larger side of the bounds takes a chosen share of the frame."""
    x0, y0, x1, y1 = bounds
    share = float(rng.uniform(0.64, 1.0))
    turn = float(rng.uniform(0.86, 1.04))  # a subject turned a little away from the side view looks shorter
    scale = share / max((x1 - x0) * turn, y1 - y0)
    across = scale * turn * (-1.0 if facing == "left" else 1.0)
    wide, tall = (x1 - x0) * abs(across), (y1 - y0) * scale
    low = min(max(0.97 - tall, 0.0), 0.25)
    feet = 0.97 - low * float(rng.uniform(0.0, 1.0))
    room = max(1 - wide, 0.0) / 2
    centre = 0.5 + float(rng.uniform(-1, 1)) * (room + 0.03)
    lift = y0 * scale if floats else 0.0
    offset = np.array([centre - (x0 + x1) / 2 * across, feet + lift])
    return _Place(np.array([across, -scale]), offset, feet, centre, wide, share)


def _check(look: str, kind: str | None, facing: str | None, scene: str | None) -> None:
    sides = ("left", "right")
    for what, value, legal in (
        ("look", look, LOOKS), ("kind", kind, KINDS + VEHICLES), ("facing", facing, sides), ("scene", scene, SCENES),
    ):  # fmt: skip
        if value is not None and value not in legal:
            raise BadInput(f"{what} {value!r} is unknown: use one of {', '.join(legal)}")


def draw(
    seed: int,
    *,
    size: int = NOMINAL,
    look: str = "photo",
    kind: str | None = None,
    facing: str | None = None,
    rider: bool | None = None,
    scene: str | None = None,
    lively: bool = False,
    marked: bool = False,
) -> Picture:
    """Draw the picture of a seed; a look changes how the same scene is rendered, never what is in it.

    The image is H W 3 uint8 RGB. Arguments other than the seed fix what would be drawn by chance; only horses take
    riders, and a boat is always on the water. Raises `BadInput` for an unknown look, kind, facing or scene, a negative
    seed or a size below 16.

    With `lively`, about a third of the creatures lie, sit, rear, turn their heads or raise their tails; their captions
    and the attributes gait, head and tail say so. `facing` stays the body's, whichever way the head looks, and a seed
    keeps its kind, colours and scene. With `marked`, some creatures have a head, neck, rump, tail or legs of another
    colour, which their captions and the attribute marks name.

    >>> picture = draw(3, kind="horse", rider=True)
    >>> picture.image.shape, picture.kind, picture.attributes["rider"]
    ((128, 128, 3), 'horse', True)
    """
    _check(look, kind, facing, scene)
    if seed < 0 or size < 16:
        raise BadInput(f"seed {seed} with size {size}: the seed must be 0 or more, the size 16 or more")
    rng = np.random.default_rng([seed, 1])
    any_kind, any_facing = choose(rng, KINDS + VEHICLES, _ODDS), choose(rng, ("left", "right"))
    kind, facing = kind or any_kind, facing or any_facing
    a = attributes(rng, kind, rider, scene)
    creature, sea = kind in _KINDS, kind == "boat"
    marking = np.random.default_rng([seed, 4]) if marked and creature else None
    if marking is not None:
        mark(marking, a)
    subject: Sketch
    if sea:
        a["scene"], a["occluder"] = "sea", None
    if creature:
        subject, points = draw_creature(rng, kind, a, np.random.default_rng([seed, 3]) if lively else None)
    else:
        subject, points = draw_vehicle(rng, kind)
    place = _stand(rng, subject.bounds(), facing, floats=not creature)
    a["scale"] = round(place.share, 4)
    horizon = float(np.clip(place.feet - rng.uniform(0.16, 0.4), 0.3, 0.72))
    if sea:
        behind = water_scene(rng, a["time"], horizon)
    else:
        behind = background(rng, a["scene"], a["time"], horizon, place.feet)

    big = size * SUPER
    canvas = np.zeros((big, big), np.uint8)
    frame = (np.full(2, big), np.zeros(2))
    behind.raster(canvas, *frame)
    subject.raster(canvas, place.scale * big, place.offset * big)
    corners = place(np.reshape(subject.bounds(_PERSON), (2, 2)))
    low, high = np.clip(corners.min(0), 0, 1), np.clip(corners.max(0), 0, 1)
    if a["occluder"]:
        occluder(rng, a["occluder"], (low[0], low[1], high[0], high[1])).raster(canvas, *frame)
    _add_pattern(rng, canvas, kind, a["pattern"])
    names = keypoint_names(kind)
    keypoints = place([points.get(n, (np.nan, np.nan)) for n in names])
    labels = canvas[SUPER // 2 :: SUPER, SUPER // 2 :: SUPER]
    sky_top, sky_low, tint = light(rng, a["time"])
    stage = Stage(
        canvas=canvas,
        labels=labels,
        colours=palette(rng, kind, a, sky_low, tint, marking),
        sky_top=sky_top,
        sky_low=sky_low,
        horizon=horizon,
        feet=place.feet,
        stance=(place.centre, place.width / 2),
        sun=-1.0 if choose(rng, ("left", "right")) == "left" else 1.0,
        afloat=sea,
        texture=rng.integers(0, 512, (5, 2)),
    )
    a["light_from"], a["look"] = "left" if stage.sun < 0 else "right", look
    x0, y0, x1, y1 = (float(v) * size for v in (*low, *high))
    return Picture(
        image=render(look, stage, np.random.default_rng([seed, 2])),
        keypoints=(keypoints * size).astype(np.float32),
        visible=visible(canvas, keypoints, names, turned=a.get("head", "ahead") != "ahead"),
        box=(x0, y0, x1, y1),
        parts=PART_OF[labels] if creature else np.zeros_like(labels),
        scene=SCENE_OF[labels],
        kind=kind,
        facing=facing,
        captions=captions(kind, a, facing),
        attributes=a,
    )


def _add_pattern(rng: np.random.Generator, canvas: np.ndarray, kind: str, name: str) -> None:
    """Set bit 7 of coat labels where the coat shows its second colour."""
    x, y = (int(v) for v in rng.integers(0, 512, 2))
    if name == "plain":
        return

    def window(name: str) -> np.ndarray:
        cut = crop(pattern(name), x, y, NOMINAL * SUPER)
        return cut if cut.shape == canvas.shape else cv2.resize(cut, canvas.shape, interpolation=cv2.INTER_NEAREST)

    on = _COAT[canvas] & window(name)
    if kind in ("zebra", "giraffe"):
        on |= _LIMBS[canvas] & window("banded" if kind == "zebra" else name)
    canvas |= on << 7
