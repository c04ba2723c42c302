"""From labels to light: colours, sky, relief, texture and a soft shadow, before any camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from miniworld.world.labels import GROUP_OF, GROUPS, PART_OF, SCENE_OF, TEXTURE_OF, TEXTURES, labels_of
from miniworld.world.paint import crop, field

_SOFTNESS = {
    "far": 1.6,
    "body": 5.0,
    "near": 1.8,
    "head": 2.6,
    "person": 2.0,
    "vehicle": 4.0,
    "thing": 2.0,
    "tack": 1.2,
}
_RELIEF = {"far": 0.5, "body": 1.5, "near": 0.6, "head": 0.9, "person": 0.6, "vehicle": 1.0, "thing": 0.7, "tack": 0.28}
_GRAIN = {"coat": 0.028, "ground": 0.05, "cloud": 0.02, "leaf": 0.05, "water": 0.06}
_FLOOR = labels_of("grass", "sand", "dune", "snow", "road", "line", "kerb", "water", "foam", "flower", "flower2")
_SKY = labels_of("sky")
_FABRIC = labels_of("sky", "grass", "sand", "snow", "water", "road", "kerb", "dune")
NOMINAL = 128  # the size that widths in pixels below are meant for


@dataclass(frozen=True)
class Stage:
    """A drawn scene waiting for light; lengths as shares of the frame's side."""

    canvas: np.ndarray  # label image at SUPER times the size
    labels: np.ndarray  # H W label image
    colours: np.ndarray  # 256 3 float32 RGB by label
    sky_top: np.ndarray
    sky_low: np.ndarray
    horizon: float
    feet: float
    stance: tuple[float, float]  # centre and width of the subject on the ground
    sun: float  # -1: light from the left, +1: from the right
    afloat: bool
    texture: np.ndarray  # one (x, y) offset for each noise field

    def clean(self) -> np.ndarray:
        """The scene before any camera: H W 3 float32 RGB in [0, 1]."""
        return paint(self)

    def codes(self) -> np.ndarray:
        """H W 3 uint8: scene class, part and shading group, which change where an outline is drawn."""
        return cv2.merge([SCENE_OF[self.labels], PART_OF[self.labels], GROUP_OF[self.labels]])

    def fabric(self) -> np.ndarray:
        """H W uint8: 1 where embroidery leaves plain weave, on sky and ground."""
        return _FABRIC[self.labels]


def relief(labels: np.ndarray, sun: float) -> np.ndarray:
    """Shading of every group of shapes under a light from above and one side: H W float32 around 0."""
    groups = GROUP_OF[labels]
    unit = labels.shape[0] / NOMINAL
    total = np.zeros(labels.shape, np.float32)
    for g, name in enumerate(GROUPS):
        if name == "flat":
            continue
        mask = (groups == g).astype(np.float32)
        if not mask.any():
            continue
        soft = cv2.GaussianBlur(mask, (0, 0), _SOFTNESS[name] * unit)
        gx = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=0.125 * unit)
        gy = cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=0.125 * unit)
        lit = (gx * (-sun * 0.55) + gy * 0.85) * (_RELIEF[name] * _SOFTNESS[name] * 0.9)
        total += mask * (lit + 0.10 * (soft - 0.75) * _RELIEF[name])
    return cv2.GaussianBlur(total, (0, 0), 0.65 * unit)  # else its hard borders undo the anti-aliasing


def _texture(labels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Grain of fur, ground, leaves and water, by what each pixel is: H W float32 around 0."""
    size = labels.shape[0]
    kinds = TEXTURE_OF[labels]
    out = np.zeros(labels.shape, np.float32)
    for (name, strength), (x, y) in zip(_GRAIN.items(), offsets):
        grain = crop(field(name), int(x), int(y), NOMINAL)
        if size != NOMINAL:
            grain = cv2.resize(grain, (size, size), interpolation=cv2.INTER_LINEAR)
        out += (kinds == TEXTURES.index(name)) * grain * strength
    return out


def _cast(stage: Stage) -> np.ndarray:
    """A soft shadow on the ground under the subject, H W float32 in [0, 1]."""
    size = stage.labels.shape[0]
    middle, width = stage.stance
    shadow = np.zeros((size, size), np.uint8)
    drop = 0.03 if stage.afloat else 0.012
    centre = (round((middle - stage.sun * 0.05) * size * 16), round((stage.feet + drop) * size * 16))
    axes = (max(1, round(width * 0.98 * size * 16)), max(1, round(0.05 * size * 16)))
    cv2.ellipse(shadow, centre, axes, 0, 0, 360, 255, -1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(shadow, (0, 0), 2.2 * size / NOMINAL).astype(np.float32) * np.float32(1 / 255)


def paint(stage: Stage) -> np.ndarray:
    """The scene as clean light: H W 3 float32 RGB in [0, 1]."""
    labels = stage.labels
    size = labels.shape[0]
    table = np.rint(stage.colours * 255).astype(np.uint8)
    full = cv2.merge([cv2.LUT(stage.canvas, np.ascontiguousarray(table[:, c])) for c in range(3)])
    image = cv2.resize(full, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) * np.float32(1 / 255)
    rows = (np.arange(size, dtype=np.float32) + 0.5) / size
    high = np.clip(1 - rows / max(stage.horizon, 0.05), 0, 1)[:, None, None]
    sky = _SKY[labels][..., None].astype(np.float32)
    image += sky * (high * (stage.sky_top - stage.sky_low))
    tone = 1 + relief(labels, stage.sun) + _texture(labels, stage.texture)
    floor = _FLOOR[labels].astype(np.float32)
    near = np.clip((rows - stage.horizon) / max(1 - stage.horizon, 0.05), 0, 1)[:, None]
    tone -= floor * (0.16 * near - 0.05)
    tone *= 1 - 0.30 * _cast(stage) * floor
    image *= tone[..., None]
    return np.clip(image, 0, 1, out=image)
