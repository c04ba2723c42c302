"""How a drawn scene becomes pixels: the photo look, and three looks that the base model never sees."""

from __future__ import annotations

import cv2
import numpy as np

from shiftless.mini.labels import GROUP_OF, GROUPS, LABEL, TEXTURE_OF, TEXTURES, labels_of
from shiftless.mini.paint import crop, field

LOOKS = ("photo", "pencil", "nightvision", "embroidery")

_SOFTNESS = {"far": 1.6, "body": 5.0, "near": 1.8, "head": 2.6, "person": 2.0, "vehicle": 4.0, "thing": 2.0, "tack": 1.2}
_RELIEF = {"far": 0.5, "body": 1.5, "near": 0.6, "head": 0.9, "person": 0.6, "vehicle": 1.0, "thing": 0.7, "tack": 0.28}
_GRAIN = {"none": 0.0, "coat": 0.028, "ground": 0.05, "cloud": 0.02, "leaf": 0.05, "water": 0.06}
_GRAIN_OF = np.array([_GRAIN[t] for t in TEXTURES], np.float32)[TEXTURE_OF]
_FIELDS = ("coat", "ground", "cloud", "leaf", "water")
_FLOOR = labels_of("grass", "sand", "dune", "snow", "road", "line", "kerb", "water", "foam", "flower", "flower2")
_SKY = labels_of("sky")


def shade(labels: np.ndarray, sun: float) -> np.ndarray:
    """Relief of every group of shapes under a light from above and one side: H W float32 around 0."""
    groups = GROUP_OF[labels]
    unit = labels.shape[0] / 128
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


def _texture(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Grain of fur, ground, leaves and water, by what each pixel is: H W float32 around 0."""
    size = labels.shape[0]
    kinds = TEXTURE_OF[labels]
    out = np.zeros(labels.shape, np.float32)
    offsets = rng.integers(0, 512, (len(_FIELDS), 2))
    for name, (x, y) in zip(_FIELDS, offsets):
        out += (kinds == TEXTURES.index(name)) * crop(field(name), int(x), int(y), size) * _GRAIN[name]
    return out


def paint(canvas, labels, before, colours, lights, horizon, stance, sun_side, rng):  # type: ignore[no-untyped-def]
    """The scene as clean light: H W 3 float32 in [0, 1], before any camera."""
    size = labels.shape[0]
    table = np.ascontiguousarray(np.rint(colours * 255).astype(np.uint8))
    full = cv2.merge([cv2.LUT(canvas, np.ascontiguousarray(table[:, c])) for c in range(3)])
    image = cv2.resize(full, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) * np.float32(1 / 255)
    rows = (np.arange(size, dtype=np.float32) + 0.5) / size
    high = np.clip(1 - rows / max(horizon, 0.05), 0, 1)[:, None, None]
    sky = _SKY[labels][..., None].astype(np.float32)
    image += sky * (high * (lights[0] - lights[1]))
    sun = -1.0 if sun_side == "left" else 1.0
    tone = 1 + shade(labels, sun) + _texture(rng, labels)
    floor = _FLOOR[labels].astype(np.float32)
    near = np.clip((rows - horizon) / max(1 - horizon, 0.05), 0, 1)[:, None]
    tone -= floor * (0.16 * near - 0.05)
    tone *= 1 - 0.30 * _cast(labels.shape[0], stance, sun) * floor
    image *= tone[..., None]
    return np.clip(image, 0, 1, out=image)


def _cast(size: int, stance, sun: float) -> np.ndarray:  # type: ignore[no-untyped-def]
    """A soft shadow on the ground under the subject, H W float32 in [0, 1]."""
    (xa, xb), feet, scale, sea = stance
    shadow = np.zeros((size, size), np.uint8)
    centre = (round(((xa + xb) / 2 - sun * 0.05) * size * 16), round((feet + (0.012 if not sea else 0.03)) * size * 16))
    axes = (max(1, round(abs(xb - xa) * 0.98 * size * 16)), max(1, round(0.05 * size * 16)))
    cv2.ellipse(shadow, centre, axes, 0, 0, 360, 255, -1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(shadow, (0, 0), 2.2 * size / 128).astype(np.float32) * np.float32(1 / 255)


def photo(rng: np.random.Generator, clean: np.ndarray) -> np.ndarray:
    """A camera: slight blur, sensor noise, eight bits."""
    image = cv2.GaussianBlur(clean, (0, 0), float(rng.uniform(0.35, 0.6)))
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image += noise * np.float32(rng.uniform(0.008, 0.016))
    image *= 255
    return np.clip(np.rint(image, out=image), 0, 255).astype(np.uint8)


def render(look, look_rng, canvas, labels, before, colours, lights, horizon, stance, sun_side, rng):  # type: ignore[no-untyped-def]
    """Paint the scene and finish it in a look: H W 3 uint8."""
    clean = paint(canvas, labels, before, colours, lights, horizon, stance, sun_side, rng)
    return photo(look_rng, clean)
