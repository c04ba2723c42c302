"""View: a random part of a labelled photo, at a random scale, mirrored or not; of its pixels, mask and features."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from shiftless.metrics.segmentation import IGNORE

GREY = (124, 116, 104)
"""What lies around a photo in a view that is larger: ImageNet's mean."""
_TRIES = 10


@dataclass(frozen=True)
class View:
    """A window of a photo, in its unit square [0, 1] x [0, 1]; it may reach beyond.

    left, top, width, height  of the window
    mirrored                  whether the view is turned left to right

    >>> View(0.5, 0, 0.5, 1, True).labels(np.array([[1, 2, 3, 4]], np.uint8), 2).tolist()
    [[4, 3], [4, 3]]
    """

    left: float
    top: float
    width: float
    height: float
    mirrored: bool = False

    @classmethod
    def draw(
        cls, hw: tuple[int, int], rng: np.random.Generator, scales: tuple[float, float] = (0.5, 2.0), flip: bool = True
    ) -> View:
        """Draw a square window of a photo of (h, w).

        scales  at 1 its side is the photo's shorter one; at 2 half of it. Drawn evenly on a logarithmic scale
        flip    mirror half of the views

        Along a side where the photo is longer the window lies anywhere inside; else the photo lies anywhere in it.
        """
        side = min(hw) / float(np.exp(rng.uniform(*np.log(scales))))
        height, width = side / hw[0], side / hw[1]
        top, left = (float(rng.uniform(min(0.0, 1 - one), max(0.0, 1 - one))) for one in (height, width))
        return cls(left, top, width, height, bool(flip and rng.random() < 0.5))

    @classmethod
    def balanced(
        cls,
        mask: np.ndarray,
        rng: np.random.Generator,
        scales: tuple[float, float] = (0.5, 2.0),
        flip: bool = True,
        most: float = 0.75,
        hw: tuple[int, int] | None = None,
    ) -> View:
        """Draw a window in which no class has more than a share `most` of the labelled pixels: the tenth try at last.

        hw  the shape by which the window is square; by default the mask's own
        """
        for _ in range(_TRIES if most < 1 else 1):
            view = cls.draw(hw or (mask.shape[0], mask.shape[1]), rng, scales, flip)
            counts = np.bincount(view.labels(mask, 64).ravel(), minlength=IGNORE + 1)[:IGNORE]
            if np.count_nonzero(counts) > 1 and counts.max() <= most * counts.sum():
                break
        return view

    def places(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the centres of a view's rows and columns lie in the photo's unit square, `count` of each."""
        centres = (np.arange(count) + 0.5) / count
        columns = self.left + self.width * (centres[::-1] if self.mirrored else centres)
        return self.top + self.height * centres, columns

    def labels(self, mask: np.ndarray, side: int) -> np.ndarray:
        """Return the view of a mask H W, side side uint8: the nearest pixel's class, IGNORE beyond the photo."""
        rows, columns = self.places(side)
        (h, w) = mask.shape
        ys, xs = np.floor(rows * h).astype(int), np.floor(columns * w).astype(int)
        seen = mask[ys.clip(0, h - 1)[:, None], xs.clip(0, w - 1)].astype(np.uint8)
        outside = ((ys < 0) | (ys >= h))[:, None] | ((xs < 0) | (xs >= w))
        return np.where(outside, np.uint8(IGNORE), seen)

    def features(self, maps: torch.Tensor, side: int) -> torch.Tensor:
        """Return the view of maps K C h w, K C side side: bilinear; beyond the photo its border goes on.

        A mirrored view holds the photo's features in mirrored places, not those of a mirrored photo.
        """
        rows, columns = (torch.from_numpy(one.copy()).to(maps) * 2 - 1 for one in self.places(side))
        where = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1)
        return F.grid_sample(
            maps, where.expand(len(maps), -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=False
        )

    def picture(self, photo: np.ndarray, side: int) -> np.ndarray:
        """Return the view of a photo H W 3 uint8, side side 3: averaged where it shrinks, grey beyond the photo."""
        (h, w), view = photo.shape[:2], np.empty((side, side, 3), np.uint8)
        view[:] = GREY
        (to_y, from_y), (to_x, from_x) = (
            _shown(start, length, side) for start, length in ((self.top, self.height), (self.left, self.width))
        )
        size = to_x[1] - to_x[0], to_y[1] - to_y[0]
        if min(size) > 0:
            box = (from_x[0] * w, from_y[0] * h, from_x[1] * w, from_y[1] * h)
            part = Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC, box=box)
            view[to_y[0] : to_y[1], to_x[0] : to_x[1]] = np.asarray(part)
        return np.ascontiguousarray(view[:, ::-1]) if self.mirrored else view


def recoloured(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture H W 3 uint8 with another brightness, contrast, saturation and hue, each in half of the cases.

    Brightness moves by up to 32 of 255, contrast and saturation by a factor from 0.5 to 1.5, hue by up to 18 degrees
    of 180, the ranges of Liu et al., ECCV 2016 (SSD), which segmentation took over.

    >>> recoloured(np.full((2, 2, 3), 128, np.uint8), np.random.default_rng(0)).shape
    (2, 2, 3)
    """
    brighter, contrasted, saturated, turned = rng.random(4) < 0.5
    moved = picture.astype(np.float32)
    if brighter:
        moved += rng.uniform(-32, 32)
    if contrasted:
        moved *= rng.uniform(0.5, 1.5)
    if saturated or turned:
        hsv = cv2.cvtColor(moved.clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV).astype(np.float32)
        if saturated:
            hsv[..., 1] = (hsv[..., 1] * rng.uniform(0.5, 1.5)).clip(0, 255)
        if turned:
            hsv[..., 0] = (hsv[..., 0] + rng.uniform(-18, 18)) % 180
        return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    return moved.clip(0, 255).astype(np.uint8)


def _shown(start: float, length: float, side: int) -> tuple[tuple[int, int], tuple[float, float]]:
    """Along one side: which pixels of the view lie in the photo, and what stretch of the photo they show."""
    first, last = (-start / length, (1 - start) / length)  # where the photo begins and ends, in the view
    low, high = (round(min(1.0, max(0.0, one)) * side) for one in (first, last))
    stretch = tuple(min(1.0, max(0.0, start + length * pixel / side)) for pixel in (low, high))
    return (low, high), stretch  # type: ignore[return-value]
