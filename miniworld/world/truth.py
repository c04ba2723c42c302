"""Which keypoints can be seen: a point is visible where the image shows the thing that it belongs to."""

from __future__ import annotations

import numpy as np

from miniworld.world.kinds import KEYPOINTS
from miniworld.world.labels import COATED, labels_of

_LEG = {n: labels_of(f"{n}_leg", f"{n}_hoof", f"{n}_wrap") for n in ("ff", "fh", "nf", "nh")}
_BODY = labels_of(*COATED, "udder", "mane", "nf_leg", "nh_leg", "ear", "muzzle")
_HEAD = labels_of(
    "head", "muzzle", "trunk_nose", "nostril", "mouth", "ear", "ear_in", "eye", "pupil", "glint", "forelock", "mane",
    "horn", "tusk", "bridle", "neck",
)  # fmt: skip
_THROAT = labels_of("neck", "head", "mane", "ear", "bridle")
_TAIL = labels_of("tail", "tuft", "thigh", "barrel", "back")
_VEHICLE = labels_of(
    "paint", "paint2", "trim", "glass", "shine", "tyre", "far_tyre", "rim", "hub", "lamp", "tail_lamp", "frame", "sail"
)


def _owner(name: str) -> np.ndarray:
    """The labels, as a 256-entry table, that show a creature's keypoint."""
    if name in ("near_fore_elbow", "near_hind_stifle"):
        return _LEG["nf"] | _LEG["nh"] | labels_of("shoulder", "thigh")
    if name.startswith(("near_", "far_")):
        side, limb = name.split("_")[:2]
        return _LEG[side[0] + limb[0]]
    if name.startswith("tail"):
        return _TAIL
    if name in ("nose", "mouth", "eye", "ear", "poll"):
        return _HEAD
    return _THROAT if name == "throat" else _BODY


_OWNER = {name: _owner(name) for name in KEYPOINTS}
_COVERED = ("throat", "withers", "back", "rump", "chest", "belly")  # by a head that is turned aside
_TURNED = _OWNER | {name: _OWNER[name] & ~labels_of("head", "muzzle", "ear") for name in _COVERED}


def visible(canvas: np.ndarray, keypoints: np.ndarray, names: tuple[str, ...], *, turned: bool = False) -> np.ndarray:
    """K bool for K points in shares of the frame's side, looked up in a label image within a pixel of it.

    `turned` says that the head is turned aside, so that it may lie over the trunk.
    """
    owner = _TURNED if turned else _OWNER
    size = canvas.shape[0]
    out = np.zeros(len(names), bool)
    for i, name in enumerate(names):
        x, y = keypoints[i] * size
        if 0 <= x < size and 0 <= y < size:
            column, row = int(x), int(y)
            window = canvas[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            out[i] = bool(owner.get(name, _VEHICLE)[window].any())
    return out
