"""The palette of one picture: label to RGB in [0, 1], from the scene, the light and the subject's colours."""

from __future__ import annotations

from typing import Any

import numpy as np

from miniworld.world.kinds import COLOURS, KINDS
from miniworld.world.labels import COATED, COUNT, FAR, LABEL, LEGS
from miniworld.world.marks import mark_colours

_BASE: dict[str, tuple[int, int, int]] = {
    "star": (250, 246, 220), "cloud": (246, 246, 248), "sun": (255, 236, 160), "ridge": (132, 146, 172),
    "peak": (128, 140, 166),
    "hill": (116, 160, 96), "grass": (112, 158, 72), "flower": (242, 214, 92), "flower2": (230, 130, 150),
    "sand": (226, 198, 146),
    "dune": (214, 180, 124), "snow": (236, 241, 248), "water": (72, 138, 176), "foam": (230, 242, 244),
    "road": (128, 128, 134),
    "line": (226, 222, 206), "kerb": (176, 170, 164), "wall": (214, 190, 160), "wall2": (186, 120, 98),
    "roof": (146, 82, 70),
    "pane": (92, 112, 140), "trunk": (112, 82, 58), "leaf": (76, 128, 64), "leaf2": (98, 152, 76), "pine": (52, 98, 76),
    "cactus": (80, 142, 88), "fence": (150, 112, 76), "udder": (240, 176, 172), "nostril": (62, 42, 44),
    "mouth": (84, 54, 52),
    "eye": (240, 238, 230), "pupil": (30, 22, 22), "glint": (255, 255, 255), "horn": (226, 210, 176),
    "far_horn": (176, 160, 130),
    "tusk": (246, 240, 222), "bridle": (74, 44, 30), "trim": (54, 56, 62), "glass": (112, 150, 172),
    "shine": (176, 206, 220),
    "tyre": (42, 42, 46), "far_tyre": (26, 26, 30), "rim": (176, 180, 186), "hub": (92, 96, 102),
    "lamp": (255, 244, 190),
    "tail_lamp": (214, 48, 42), "sail": (246, 242, 230), "near_grass": (84, 136, 56), "near_trunk": (104, 78, 58),
    "near_fence": (170, 130, 90), "shoe": (52, 38, 34), "far_shoe": (34, 26, 24),
}  # fmt: skip

#: time of day: sky at the top, sky at the horizon, tint of everything below the sky
_LIGHT = {
    "day": ((84, 150, 220), (186, 220, 244), (1.0, 1.0, 1.0)),
    "morning": ((128, 170, 214), (250, 222, 196), (1.0, 0.96, 0.90)),
    "dusk": ((92, 84, 142), (246, 158, 104), (0.98, 0.84, 0.76)),
    "night": ((18, 24, 56), (52, 66, 112), (0.56, 0.61, 0.80)),
}  # fmt: skip


def light(rng: np.random.Generator, time: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sky at the top, sky at the horizon and the tint, each RGB in [0, 1] with a little chance."""
    top, low, tint = (np.array(c, np.float32) for c in _LIGHT[time])
    shift = rng.normal(0, 5, 3).astype(np.float32)
    return (top + shift) / 255, (low + shift) / 255, tint * np.float32(rng.uniform(0.94, 1.05))


class _Paints:
    """Two colours for every label, 0..255: its own, and the one under the coat's pattern."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.first = np.zeros((COUNT, 3), np.float64)
        for name, rgb in _BASE.items():
            self.first[LABEL[name]] = rgb
        self.first = (self.first.astype(np.float32) + rng.normal(0, 5, self.first.shape)).astype(np.float32)
        self.second = self.first.copy()

    def put(self, colour: np.ndarray | tuple[float, ...], *names: str) -> None:
        for name in names:
            self.first[LABEL[name]] = self.second[LABEL[name]] = colour

    def named(self, name: str) -> np.ndarray:
        """A colour by its name, a little off."""
        return np.array(COLOURS[name], np.float32) + self.rng.normal(0, 8) + self.rng.normal(0, 3.5, 3)


def palette(
    rng: np.random.Generator,
    kind: str,
    attributes: dict[str, Any],
    low: np.ndarray,
    tint: np.ndarray,
    marking: np.random.Generator | None = None,
) -> np.ndarray:
    """256 x 3 float32 in [0, 1]; entries 128 and up are the same labels under the coat's second colour.

    `low` is the sky at the horizon, which far things fade into; `tint` the light on everything else; `marking` shades a
    creature's marks.
    """
    paints = _Paints(rng)
    if kind in KINDS:
        _creature(paints, kind, attributes)
        _gear(paints, attributes)
        if marking is not None:
            for label, colour in mark_colours(marking, attributes["marks"]):
                paints.first[label] = paints.second[label] = colour
    else:
        paint = paints.named(attributes["colour"])
        paints.put(paint, "paint", "frame")
        paints.put(paint * 0.7 if kind == "car" else paints.named(attributes["second"]), "paint2")
    whole = np.zeros((2, 128, 3), np.float32)
    whole[0, :COUNT] = np.clip(paints.first, 4, 252) / 255
    whole[1, :COUNT] = np.clip(paints.second, 4, 252) / 255
    shining = whole[0].copy()
    whole *= tint
    whole[:, LABEL["sky"]] = low
    for name in ("star", "sun"):
        whole[:, LABEL[name]] = shining[LABEL[name]]
    for name, mix in _AIR.items():
        whole[:, LABEL[name]] = whole[:, LABEL[name]] * (1 - mix) + low * mix
    if attributes["time"] in ("night", "dusk"):
        whole[:, LABEL["pane"]] = np.array((250, 208, 118)) / 255
        whole[:, LABEL["lamp"]] = np.array((255, 246, 190)) / 255
    return np.clip(whole.reshape(256, 3), 0, 1)


#: how much of the horizon's colour lies between the viewer and far things
_AIR = {"cloud": 0.35, "ridge": 0.45, "peak": 0.3, "hill": 0.2}
_SKIN = ((244, 206, 176), (214, 164, 124), (150, 104, 74), (98, 66, 48))
_HAIR = ((60, 42, 32), (30, 26, 28), (196, 150, 84), (120, 66, 40))
_EYES = ((196, 200, 80), (120, 180, 110), (220, 160, 60))


def _gear(paints: _Paints, attributes: dict[str, Any]) -> None:
    put, named, rng = paints.put, paints.named, paints.rng
    if attributes["rider"]:
        put(named(attributes["shirt"]), "shirt")
        put(named(attributes["shirt"]) * 0.92, "sleeve")
        trousers = named(attributes["trousers"]) * 0.8
        put(trousers, "trousers")
        put(trousers * 0.6, "far_trousers")
        put(_SKIN[int(rng.integers(4))], "skin")
        put(_HAIR[int(rng.integers(4))], "hair")
    if attributes["saddle"]:
        saddle = named(attributes["saddle"])
        put(saddle, "cloth")
        put(saddle * 0.45 + np.array((30, 16, 8)), "saddle")
    if attributes["wraps"]:
        wrap = named(attributes["wraps"])
        put(wrap, "nf_wrap", "nh_wrap")
        put(wrap * 0.66, "ff_wrap", "fh_wrap")


def _creature(paints: _Paints, kind: str, attributes: dict[str, Any]) -> None:
    put, named, rng, table, second = paints.put, paints.named, paints.rng, paints.first, paints.second
    spec = KINDS[kind]
    coat, other = named(attributes["colour"]), named(attributes["second"])
    body = (*COATED, "nf_leg", "nh_leg", "tail", "tuft", "ear", "trunk_nose")
    put(coat, *body)
    for name, lift in (
        ("neck", 1.02),
        ("thigh", 1.03),
        ("shoulder", 1.03),
        ("head", 1.04),
        ("chest", 1.0),
        ("back", 0.97),
    ):
        table[LABEL[name]] = coat * lift
    for name in (*COATED, *LEGS):
        second[LABEL[name]] = other
    for near, far in (("nf_leg", "ff_leg"), ("nh_leg", "fh_leg")):
        table[LABEL[far]], second[LABEL[far]] = table[LABEL[near]] * FAR, second[LABEL[near]] * FAR
    put(coat * 0.68, "far_ear")
    put(coat * 0.55 + np.array((110, 70, 66)), "ear_in")
    put(coat * 0.86 + np.array((26, 18, 16)), "muzzle")
    table[LABEL["tail"]] = coat * 0.92
    hair = np.array((48, 40, 40), np.float32)
    put(hair, "tuft")
    if attributes.get("mane"):
        put(named(attributes["mane"]), "mane", "forelock", "tail")
    elif "crest" in spec.extras:
        put(coat * 0.55 if kind == "giraffe" else hair, "mane")
    hoof = {"black": np.array((54, 46, 46)), "coat": coat * 0.94, "skin": coat * 0.8 + 30}[spec.hoof_colour]
    put(hoof, "nf_hoof", "nh_hoof")
    put(hoof * FAR, "ff_hoof", "fh_hoof")
    if "muzzle" in spec.extras:
        put(np.array((222, 176, 160)) if attributes["colour"] != "black" else np.array((150, 130, 130)), "muzzle")
    if "dark_muzzle" in spec.extras:
        put(np.array((70, 60, 60)), "muzzle")
    if "disc" in spec.extras:
        put(coat * 0.8 + np.array((46, 22, 26)), "muzzle")
    if "wool" in spec.extras:  # face and legs are another colour than the wool
        face = np.array((70, 62, 62)) if attributes["colour"] != "black" else np.array((40, 36, 40))
        if attributes["face"] == "white":
            face = np.array((222, 206, 186))
        put(face, "head", "ear", "nf_leg", "nh_leg")
        put(face * 0.9 + 14, "muzzle", "ear_in")
        put(face * FAR, "ff_leg", "fh_leg", "far_ear")
    if "big_ear" in spec.extras:
        put(coat * 0.9 + np.array((14, 4, 4)), "ear")
    if "snout" in spec.extras or "round" in spec.extras:
        put(np.minimum(coat * 0.8 + 50, 245), "muzzle")
        put(np.array((44, 34, 36)) if "snout" in spec.extras else np.array((206, 120, 120)), "nostril")
    if "flop_ear" in spec.extras:
        put(coat * 0.7 if attributes["pattern"] == "plain" else other * 0.8, "ear")
    if "round" in spec.extras:
        put(_EYES[int(rng.integers(3))], "eye")
    if kind in ("horse", "zebra", "cow", "camel", "giraffe", "pig", "elephant", "sheep"):
        put(np.array((60, 40, 32)), "eye")
    if kind == "giraffe":  # plates are the coat, seams the light colour
        put(other * 0.95, "muzzle", "nf_hoof", "nh_hoof")
        put(np.array((70, 54, 44)), "nf_hoof", "nh_hoof")
