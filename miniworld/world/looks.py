"""How a drawn scene becomes pixels: the photo look, and three looks that the base model never sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np

from miniworld.world.light import NOMINAL
from miniworld.world.paint import crop, field

_GRAY = np.array([0.30, 0.59, 0.11], np.float32)


class Scene(Protocol):
    """A drawn scene, of any world, that waits for a look."""

    @property
    def labels(self) -> np.ndarray:
        """H W uint8: which thing each pixel shows; embroidery stitches every value in a direction of its own."""

    def clean(self) -> np.ndarray:
        """The scene in its own light, before any camera: H W 3 float32 RGB in [0, 1]."""

    def codes(self) -> np.ndarray:
        """H W C uint8: a line is drawn where two neighbours differ."""

    def fabric(self) -> np.ndarray:
        """H W: what embroidery leaves in plain weave is above 0."""


def photo(stage: Scene, rng: np.random.Generator) -> np.ndarray:
    """A camera: slight blur, sensor noise."""
    image = cv2.GaussianBlur(stage.clean(), (0, 0), float(rng.uniform(0.35, 0.6)))
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return image + noise * np.float32(rng.uniform(0.008, 0.016))


def _noise(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = rng.integers(0, 512, 2)
    return cv2.resize(crop(field(name), int(x), int(y), NOMINAL), (size, size), interpolation=cv2.INTER_LINEAR)


def _borders(codes: np.ndarray) -> np.ndarray:
    """1 where two different things meet, H W float32, a pixel wide on either side."""
    spread = cv2.dilate(codes, np.ones((2, 2), np.uint8)) != cv2.erode(codes, np.ones((2, 2), np.uint8))
    return spread.any(2).astype(np.float32)


def pencil(stage: Scene, rng: np.random.Generator) -> np.ndarray:
    """Graphite on paper: outlines, and hatching that thickens and crosses where the scene is dark."""
    clean = stage.clean()
    size = clean.shape[0]
    unit = size / NOMINAL
    gray = clean @ _GRAY
    dark = 1 - np.sqrt(cv2.GaussianBlur(gray, (0, 0), 0.8 * unit))
    wobble = _noise("cloud", size, rng)
    y, x = np.mgrid[:size, :size].astype(np.float32) / np.float32(unit)
    ink = 0.3 * dark * dark
    base = float(rng.uniform(0.5, 1.0))
    for turn, start in ((base, 0.12), (base + 0.25, 0.34), (base + 1.5, 0.52)):
        wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * np.float32(2 * np.pi / 3.6) + 1.6 * wobble)
        ink += np.clip(wave * 0.9 + 0.25, 0, 1) * np.clip((dark - start) * 3.2, 0, 1) * 0.42
    gx, gy = cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)
    line = np.clip(np.hypot(gx, gy) * 0.5 - 0.12, 0, 0.6) + 0.75 * _borders(stage.codes())
    ink += cv2.GaussianBlur(line, (0, 0), 0.55 * unit) * (1 + 0.25 * _noise("leaf", size, rng))
    paper = 0.95 + 0.02 * _noise("coat", size, rng) + 0.015 * rng.standard_normal(gray.shape, dtype=np.float32)
    tone = paper * (1 - 0.85 * np.clip(ink, 0, 1))
    return tone[..., None] * np.array([1.0, 0.985, 0.95], np.float32) + np.array([0.02, 0.02, 0.03], np.float32)


def nightvision(stage: Scene, rng: np.random.Generator) -> np.ndarray:
    """An image intensifier: one green channel, blooming lights, coarse grain, scan lines, a round vignette."""
    gray = stage.clean() @ _GRAY
    size = gray.shape[0]
    unit = size / NOMINAL
    gain = 0.62 / max(float(np.percentile(gray, 85)), 0.1)
    amplified = np.clip(gray * gain, 0, 1.4) ** 1.25
    glow = cv2.GaussianBlur(np.clip(amplified - 0.5, 0, 1), (0, 0), 5 * unit)
    grain = cv2.GaussianBlur(rng.standard_normal(gray.shape, dtype=np.float32), (0, 0), 0.7)
    tone = amplified * 1.05 + 0.8 * glow + (0.05 + 0.09 * np.sqrt(amplified)) * grain
    side = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    radius = np.hypot(side[:, None], side[None])
    tone *= np.clip(1.25 - 2.2 * radius**2, 0.05, 1) * (1 - 0.08 * (np.arange(size) % 3 == 0))[:, None]
    tone = np.clip(tone, 0, 1)
    return np.stack([tone**2.2 * 0.55 + 0.02, tone * 0.95 + 0.04, tone**1.8 * 0.5 + 0.03], 2).astype(np.float32)


def embroidery(stage: Scene, rng: np.random.Generator) -> np.ndarray:
    """Thread on linen: every region in satin stitch of its own direction, sky and ground in plain weave."""
    labels = stage.labels
    size = labels.shape[0]
    unit = np.float32(size / NOMINAL)
    smooth = cv2.GaussianBlur(stage.clean(), (0, 0), 1.1 * float(unit))
    y, x = np.mgrid[:size, :size].astype(np.float32) / unit
    angles = np.tile(rng.uniform(0, np.pi, 128).astype(np.float32), 2)[labels]
    c, s = np.cos(angles), np.sin(angles)
    along, across = x * c + y * s, y * c - x * s
    row = np.floor(across / 3.0).astype(np.int32)
    shifts = rng.uniform(0, 9, 256).astype(np.float32)
    place = (along + shifts[row & 255]) / np.float32(9.0)
    stitch = np.floor(place).astype(np.int32)
    profile = np.abs(np.sin(across * np.float32(np.pi / 3.0))) ** 0.5 * np.clip(
        np.abs(np.sin(place * np.pi)) * 3.2, 0.55, 1
    )
    tints = rng.normal(1, 0.07, 1024).astype(np.float32)
    thread = (0.55 + 0.5 * profile) * tints[(row * 37 + stitch * 101 + labels.astype(np.int32) * 17) & 1023]
    weave = 0.86 + 0.13 * np.where(
        (x.astype(int) // 2 + y.astype(int) // 2) % 2 == 0, np.abs(np.sin(x * 1.571)), np.abs(np.sin(y * 1.571))
    )
    fabric = stage.fabric().astype(np.float32)
    linen = np.array([0.90, 0.86, 0.78], np.float32)
    plain = 0.45 * smooth + 0.55 * linen * (0.55 + 0.45 * (smooth @ _GRAY))[..., None]
    rich = np.clip((smooth - 0.5) * 1.1 + 0.5, 0, 1)
    image = np.where(fabric[..., None] > 0, plain * weave[..., None], rich * thread[..., None])
    groove = cv2.GaussianBlur(_borders(stage.codes()), (0, 0), 0.6 * float(unit))
    image *= (1 - 0.4 * groove)[..., None]
    return image.astype(np.float32)


_RENDER: dict[str, Callable[[Scene, np.random.Generator], np.ndarray]] = {
    "photo": photo,
    "pencil": pencil,
    "nightvision": nightvision,
    "embroidery": embroidery,
}
LOOKS: tuple[str, ...] = tuple(_RENDER)


def render(look: str, stage: Scene, rng: np.random.Generator) -> np.ndarray:
    """The scene in a look: H W 3 uint8 RGB."""
    image = _RENDER[look](stage, rng)
    image *= 255
    return np.clip(np.rint(image, out=image), 0, 255).astype(np.uint8)
