"""The embedded world: from a seed, a picture of a creature or a vehicle with its exact truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from shiftless.errors import BadInput
from shiftless.mini.captions import captions
from shiftless.mini.colours import light, palette
from shiftless.mini.creatures import draw_creature
from shiftless.mini.kinds import KEYPOINTS
from shiftless.mini.kinds import KINDS as _KINDS
from shiftless.mini.labels import COATED, LEGS, PART_OF, PARTS, SCENE_CLASSES, SCENE_OF, labels_of
from shiftless.mini.looks import LOOKS, render
from shiftless.mini.paint import SUPER, Sketch, crop, pattern
from shiftless.mini.scenery import SCENES, background, occluder, water_scene
from shiftless.mini.vehicles import VEHICLES as _VEHICLES
from shiftless.mini.vehicles import draw_vehicle

KINDS: tuple[str, ...] = tuple(_KINDS)
VEHICLES: tuple[str, ...] = tuple(_VEHICLES)

__all__ = ["KEYPOINTS", "KINDS", "LOOKS", "PARTS", "SCENES", "SCENE_CLASSES", "VEHICLES", "Picture", "draw", "keypoint_names"]


@dataclass(frozen=True)
class Picture:
    """A drawn image and its truth; points are (x, y) in pixels with centres at +0.5."""

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
    """The names of a kind's keypoints, in the order of `Picture.keypoints`.

    >>> keypoint_names("bicycle")[:2]
    ('front_wheel', 'rear_wheel')
    """
    if kind in _VEHICLES:
        return _VEHICLES[kind]
    if kind in _KINDS:
        return KEYPOINTS
    raise BadInput(f"kind {kind!r} is unknown: use one of {', '.join(KINDS + VEHICLES)}")


_ON_LEG = {n: labels_of(f"{n}_leg", f"{n}_hoof", f"{n}_wrap") for n in ("ff", "fh", "nf", "nh")}
_BODY = labels_of(*COATED, "udder", "mane", "nf_leg", "nh_leg", "ear", "muzzle")
_HEAD = labels_of(
    "head", "muzzle", "trunk_nose", "nostril", "mouth", "ear", "ear_in", "eye", "pupil", "glint", "forelock", "mane",
    "horn", "tusk", "bridle", "neck",
)  # fmt: skip
_VEHICLE = labels_of(
    "paint", "paint2", "trim", "glass", "shine", "tyre", "far_tyre", "rim", "hub", "lamp", "tail_lamp", "frame", "sail"
)


_PERSON = labels_of("far_shoe", "far_trousers", "shirt", "sleeve", "trousers", "shoe", "skin", "hair")


def _allowed(name: str) -> np.ndarray:
    side, _, rest = name.partition("_")
    if side in ("near", "far") and rest:
        table = _ON_LEG[("n" if side == "near" else "f") + ("f" if rest.startswith("fore") else "h")]
        if name in ("near_fore_elbow", "near_hind_stifle"):
            return table | labels_of("shoulder", "thigh")
        return table
    if name.startswith("tail"):
        return labels_of("tail", "tuft", "thigh", "barrel", "back")
    if name in ("nose", "mouth", "eye", "ear", "poll"):
        return _HEAD
    if name == "throat":
        return labels_of("neck", "head", "mane", "ear", "bridle")
    return _BODY


_ALLOWED = {name: _allowed(name) for name in KEYPOINTS}


def _choose(rng: np.random.Generator, values: tuple[str, ...], odds: tuple[float, ...] | None = None) -> str:
    return str(values[int(rng.choice(len(values), p=odds))])


def _attributes(rng: np.random.Generator, kind: str, rider: bool | None, scene: str | None) -> dict[str, Any]:
    """Everything about the content that is drawn by chance before geometry."""
    a: dict[str, Any] = {}
    a["scene"] = scene or _choose(rng, SCENES, (0.21, 0.15, 0.14, 0.14, 0.15, 0.14, 0.07))
    time = _choose(rng, ("day", "morning", "dusk", "night"), (0.50, 0.22, 0.21, 0.07))
    a["time"] = "night" if a["scene"] == "night" else time
    a["rider"] = a["saddle"] = a["bridle"] = a["wraps"] = a["mane"] = None
    if kind in _KINDS:
        spec = _KINDS[kind]
        a["pattern"] = _choose(rng, tuple(p for p, _ in spec.patterns), tuple(o for _, o in spec.patterns))
        coats = spec.coats
        a["colour"] = _choose(rng, coats)
        others = tuple(c for c in spec.second if c != a["colour"]) or ("black",)
        a["second"] = _choose(rng, others)
        a["face"] = _choose(rng, ("dark", "white"))
        if kind == "horse":
            a["mane"] = _choose(rng, ("black", "white", "brown", "cream"))
            ridden = bool(rng.random() < 0.4)
            ridden = ridden if rider is None else rider
            tacked = ridden or rng.random() < 0.3
            a["rider"] = ridden
            a["saddle"] = _choose(rng, ("red", "blue", "green", "yellow", "purple", "white")) if tacked else None
            a["bridle"] = tacked
            a["wraps"] = _choose(rng, ("white", "red", "blue", "yellow")) if rng.random() < 0.3 else None
            a["shirt"] = _choose(rng, ("red", "blue", "green", "yellow", "purple", "white", "black"))
            a["trousers"] = _choose(rng, ("blue", "black", "brown", "white", "tan"))
    else:
        a["pattern"] = "plain"
        a["colour"] = _choose(rng, ("red", "blue", "green", "yellow", "white", "black", "orange", "gray"))
        a["second"] = _choose(rng, ("white", "cream", "blue", "gray"))
    a["rider"] = bool(a["rider"])
    a["occluder"] = _choose(rng, ("fence", "grass", "tree")) if rng.random() < 0.28 else None
    return a


def draw(
    seed: int,
    *,
    size: int = 128,
    look: str = "photo",
    kind: str | None = None,
    facing: str | None = None,
    rider: bool | None = None,
    scene: str | None = None,
) -> Picture:
    """Draw the picture of a seed; a look changes how the same scene is rendered, never what is in it.

    The image is H W 3 uint8 RGB. Arguments other than the seed fix what would be drawn by chance;
    a boat is always on the water, whatever `scene` says.
    Raises `BadInput` for an unknown look, kind, facing or scene.

    >>> picture = draw(3, kind="horse", rider=True)
    >>> picture.image.shape, picture.kind, picture.attributes["rider"]
    ((128, 128, 3), 'horse', True)
    """
    for what, value, legal in (
        ("look", look, LOOKS), ("kind", kind, KINDS + VEHICLES), ("facing", facing, ("left", "right")), ("scene", scene, SCENES),
    ):  # fmt: skip
        if value is not None and value not in legal:
            raise BadInput(f"{what} {value!r} is unknown: use one of {', '.join(legal)}")
    if seed < 0 or size < 16:
        raise BadInput(f"seed {seed} and size {size}: the seed must be >= 0 and the size >= 16")
    rng = np.random.default_rng([seed, 1])
    chance = _choose(rng, KINDS + VEHICLES, _ODDS)
    kind = kind or chance
    turned = _choose(rng, ("left", "right"))
    facing = facing or turned
    a = _attributes(rng, kind, rider, scene)
    creature = kind in _KINDS
    if kind == "boat":
        a["scene"], a["occluder"] = "sea", None
    subject: Sketch
    if creature:
        subject, points, _ = draw_creature(rng, kind, bool(a["saddle"]), a["rider"], a)
    else:
        subject, points = draw_vehicle(rng, kind)

    # place it: the larger side of its box takes a chosen share of the frame
    x0, y0, x1, y1 = subject.bounds()
    share = float(rng.uniform(0.64, 1.0))
    turn = float(rng.uniform(0.86, 1.04))  # a subject turned a little away from the side view looks shorter
    scale = share / max((x1 - x0) * turn, y1 - y0)
    across = scale * turn * (-1.0 if facing == "left" else 1.0)
    wide, tall = (x1 - x0) * abs(across), (y1 - y0) * scale
    low = min(max(0.97 - tall, 0.0), 0.25)
    feet = 0.97 - low * float(rng.uniform(0.0, 1.0))
    room = max(1 - wide, 0.0) / 2
    centre = 0.5 + float(rng.uniform(-1, 1)) * (room + 0.03)
    middle = (x0 + x1) / 2 * across
    a["scale"] = round(share, 4)
    lift = y0 * scale if not creature else 0.0
    place = (np.array([across, -scale]), np.array([centre - middle, feet + lift]))

    horizon = float(np.clip(feet - rng.uniform(0.16, 0.4), 0.3, 0.72))
    sea = kind == "boat"
    back = water_scene(rng, a["time"], horizon) if sea else background(rng, a["scene"], a["time"], horizon, feet)

    big = size * SUPER
    canvas = np.zeros((big, big), np.uint8)
    back.raster(canvas, (big, big), (0.0, 0.0))
    before = canvas[SUPER // 2 :: SUPER, SUPER // 2 :: SUPER].copy()
    subject.raster(canvas, tuple(place[0] * big), tuple(place[1] * big))
    own = subject.bounds(_PERSON) if a["rider"] else (x0, y0, x1, y1)
    corners = np.array(own).reshape(2, 2) * place[0] + place[1]
    lo, hi = np.clip(corners.min(0), 0, 1), np.clip(corners.max(0), 0, 1)
    if a["occluder"]:
        occluder(rng, a["occluder"], (*lo, *hi)).raster(canvas, (big, big), (0.0, 0.0))
    _add_pattern(rng, canvas, kind, a)

    names = keypoint_names(kind)
    keypoints = np.array([points.get(n, (np.nan, np.nan)) for n in names]) * place[0] + place[1]
    visible = _visible(canvas, keypoints, names, creature)
    labels = canvas[SUPER // 2 :: SUPER, SUPER // 2 :: SUPER]
    lights = light(rng, a["time"])
    colours = palette(rng, kind, a, lights)
    sun_side = _choose(rng, ("left", "right"))
    a["light_from"] = sun_side
    feet_x = [place[1][0] + place[0][0] * x for x in ((x0 * 0.75 + x1 * 0.25), (x0 * 0.25 + x1 * 0.75))]
    image = render(
        look, np.random.default_rng([seed, 2]), canvas, labels, before, colours, lights, horizon, (feet_x, feet, scale, sea), sun_side, rng
    )
    a["look"] = look
    side = float(size)
    return Picture(
        image=image,
        keypoints=(keypoints * side).astype(np.float32),
        visible=visible,
        box=(float(lo[0]) * side, float(lo[1]) * side, float(hi[0]) * side, float(hi[1]) * side),
        parts=PART_OF[labels] if creature else np.zeros_like(labels),
        scene=SCENE_OF[labels],
        kind=kind,
        facing=facing,
        captions=captions(kind, a, facing),
        attributes=a,
    )


_ODDS = tuple(np.array([2.0] + [1.0] * (len(KINDS) - 1) + [0.7] * len(VEHICLES)) / (1 + len(KINDS) + 0.7 * len(VEHICLES)))


def _add_pattern(rng: np.random.Generator, canvas: np.ndarray, kind: str, a: dict[str, Any]) -> None:
    """Set bit 7 of coat labels where the coat shows its second colour."""
    x, y = (int(v) for v in rng.integers(0, 512, 2))
    name = "netted" if kind == "giraffe" else a["pattern"]
    if name == "plain":
        return
    size = canvas.shape[0]
    coat = labels_of(*COATED)
    on = np.take(coat, canvas) & crop(pattern(name), x, y, size)
    if kind in ("zebra", "giraffe"):
        legs = "banded" if kind == "zebra" else "netted"
        on |= np.take(labels_of(*LEGS), canvas) & crop(pattern(legs), x, y, size)
    canvas |= on << 7


def _visible(canvas: np.ndarray, keypoints: np.ndarray, names: tuple[str, ...], creature: bool) -> np.ndarray:
    """A point is visible where the image, within a pixel of it, shows the thing it belongs to."""
    size = canvas.shape[0]
    out = np.zeros(len(names), bool)
    for i, name in enumerate(names):
        x, y = keypoints[i] * size
        if not (0 <= x < size and 0 <= y < size):  # NaN too
            continue
        cx, cy = int(x), int(y)
        window = canvas[max(cy - 1, 0) : cy + 2, max(cx - 1, 0) : cx + 2]
        out[i] = bool((_ALLOWED[name] if creature else _VEHICLE)[window].any())
    return out
