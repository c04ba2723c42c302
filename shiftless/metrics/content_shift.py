"""Content shift: how far a picture, a latent or a feature map has moved from what it should be, and where.

Pictures are H W 3 in [0, 1], latents and feature maps 1 C h w. Nothing that has not moved scores above 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from shiftless.errors import BadInput
from shiftless.metrics.selfsimilarity import agreement, coarser, self_similarity

WINDOW = 11
"""The side of SSIM's Gaussian window (sigma 1.5) in pixels; no picture may be smaller."""
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""How much each of the five scales weighs in multi-scale SSIM, from the finest."""
CANNY = (100, 200)
"""The two thresholds of Canny's hysteresis, those of the published ControlNet."""
TOLERANCE = 0.0075
"""How far an edge may be from the one it answers to, as a share of the picture's diagonal."""
_HAIR = 1e-6
_LEAST = 1e-8  # the smallest unit of a latent without any variance


class Shift(NamedTuple):
    """How far content has shifted, and where.

    value  >= 0; 0 for what has not moved
    where  H W float32 of a picture, h w of a latent's or feature map's cells; >= 0
    """

    value: float
    where: np.ndarray


def structure(a: np.ndarray, b: np.ndarray) -> Shift:
    """Return 1 - SSIM of the lightness of two pictures H W 3; it takes no notice of a change of colour alone.

    `where` is 1 - SSIM of each pixel's window. Raises BadInput if shapes differ or a side is below 11 pixels.
    Source: Wang et al., "Image quality assessment", 2004; lightness is CIE L*.

    >>> picture = np.random.default_rng(0).random((16, 16, 3))
    >>> structure(picture, picture).value, structure(picture, 1 - picture).value > 1
    (0.0, True)
    """
    from skimage.metrics import structural_similarity

    a, b = _lightness(*_windowed(a, b))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    value, full = structural_similarity(a, b, full=True, **options)
    return _shift(1 - float(value), 1 - full)


def scales(a: np.ndarray, b: np.ndarray) -> Shift:
    """Return 1 - multi-scale SSIM of the lightness of two pictures H W 3.

    Of the five published scales, each half as fine as the one before, it takes as many as fit (five from 176 pixels
    on, four at 128), their weights made to sum to 1. `where` and errors are those of `structure`.
    Source: Wang, Simoncelli & Bovik, "Multi-scale structural similarity", 2003.

    >>> picture = np.random.default_rng(0).random((32, 32, 3))
    >>> scales(picture, picture).value, scales(picture, np.roll(picture, 3, 0)).value > 0.5
    (0.0, True)
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as multiscale

    finest = structure(a, b)
    side = min(a.shape[:2])
    count = max(n for n in range(1, len(SCALES) + 1) if n == 1 or _scale_fits(side, n))
    weights = tuple(weight / sum(SCALES[:count]) for weight in SCALES[:count])
    first, second = _lightness(a, b)
    if np.array_equal(first, second):
        return _shift(0.0, finest.where)
    # in float32 it is ten times as fast, and off by less than 2e-4 where a picture is flat
    similarity = multiscale(_single(first), _single(second), data_range=1.0, betas=weights)
    return _shift(1 - float(similarity), finest.where)


def edges(a: np.ndarray, b: np.ndarray) -> Shift:
    """Return 1 - F1 of the lightness edges of two pictures H W 3: a's that b lost, and b's that a never had.

    An edge pixel is found again if the other picture has one within 0.75% of the diagonal (at least a pixel); many may
    answer to one. Two pictures without edges agree; `where` is 1 on edges lost or invented. Raises BadInput if shapes
    differ. Source: Canny 1986, OpenCV's; F1 within a tolerance: Martin, Fowlkes & Malik 2004.

    >>> half = np.zeros((32, 32, 3))
    >>> half[:, 16:] = 1
    >>> edges(half, half[:, ::-1]).value, edges(half, half * 0).value
    (0.0, 1.0)
    """
    a, b = _pictures(a, b)
    drawn = [cv2.Canny((light * 255).round().astype(np.uint8), *CANNY) > 0 for light in _lightness(a, b)]
    near = max(1.0, TOLERANCE * float(np.hypot(*a.shape[:2]))) + _HAIR
    lost, invented = (mine & ~_within(other, near) for mine, other in (drawn, drawn[::-1]))
    counts = [int(mine.sum()) for mine in drawn]
    if not all(counts):
        return _shift(float(any(counts)), lost | invented)
    recall, precision = 1 - lost.sum() / counts[0], 1 - invented.sum() / counts[1]
    both = float(recall + precision)
    return _shift(1 - 2 * float(recall * precision) / both if both else 1.0, lost | invented)


def colour(a: np.ndarray, b: np.ndarray) -> Shift:
    """Return the mean CIEDE2000 difference of two pictures H W 3; about 1 can just be noticed.

    `where` is each pixel's difference. Raises BadInput if shapes differ.
    Source: Sharma, Wu & Dalal, "The CIEDE2000 color-difference formula", 2005.

    >>> black = np.zeros((8, 8, 3))
    >>> colour(black, black).value, round(colour(black, black + 1).value)
    (0.0, 100)
    """
    from skimage.color import deltaE_ciede2000, rgb2lab

    a, b = _pictures(a, b)
    apart = deltaE_ciede2000(rgb2lab(a), rgb2lab(b))
    return _shift(float(apart.mean()), apart)


def perceptual(a: torch.Tensor, b: torch.Tensor) -> Shift:
    """Return 1 - the mean cosine of what a perceptual model sees at each cell of two pictures: maps 1 C h w.

    `where` is 1 - cosine, h w. Raises BadInput if shapes differ. For the models see `shiftless.backbones.perceptual`.

    >>> one = torch.randn(1, 8, 4, 4, generator=torch.manual_seed(0))
    >>> perceptual(one, 3 * one).value, perceptual(one, -one).value
    (0.0, 2.0)
    """
    a, b = _maps("perceptual", a, b)
    cosine = (F.normalize(a, dim=1) * F.normalize(b, dim=1)).sum(1)[0]
    neither = (a == 0).all(1)[0] & (b == 0).all(1)[0]
    return _of_cells(1 - torch.where(neither, 1.0, cosine))


def latent(a: torch.Tensor, b: torch.Tensor) -> Shift:
    """Return the squared error of latent b 1 c h w, in variances of the clean latent a over its cells.

    The unit is the mean over channels of a's variance, so that 1 is as wrong as knowing nothing but the means;
    `where` is each cell's error, the mean over channels. Raises BadInput if shapes differ.

    >>> clean = torch.arange(4.0).view(1, 1, 2, 2)
    >>> latent(clean, clean).value, latent(clean, torch.full_like(clean, 1.5)).value
    (0.0, 1.0)
    """
    a, b = _maps("latent", a, b)
    return _of_cells((a - b).square().mean(1)[0] / _unit(a))


def spread(predicted: Sequence[torch.Tensor], clean: torch.Tensor) -> Shift:
    """Return how much predicted latents 1 c h w of one picture vary with the noise, in variances of the clean latent.

    It is the unbiased variance over noise seeds, the mean over channels and cells; `where` is each cell's; the unit is
    `latent`'s. Raises BadInput if shapes differ or there are fewer than two.

    >>> clean = torch.arange(4.0).view(1, 1, 2, 2)
    >>> spread([clean, clean], clean).value, round(spread([clean, clean + 1], clean).value, 3)
    (0.0, 0.4)
    """
    if len(predicted) < 2:
        raise BadInput(f"spread: {len(predicted)} predicted latents; give those of at least two noise seeds")
    pairs = [_maps("spread", clean, one) for one in predicted]
    return _of_cells(torch.cat([one for _, one in pairs]).var(0).mean(0) / _unit(pairs[0][0]))


def features(a: torch.Tensor, b: torch.Tensor, most: int = 1024) -> Shift:
    """Return 1 - how well the self-similarities of two feature maps 1 C h w agree, the mean over cells, in [0, 2].

    most  cells; larger maps are averaged down to about as many first

    Which cells resemble which is compared (`agreement`), so that turning or scaling the feature space changes nothing
    and the maps need not have the same C. `where` is 1 - agreement of each cell of the grid, averaged down or not.
    Raises BadInput if the grids differ or have fewer than three cells.

    >>> one = torch.randn(1, 8, 4, 4, generator=torch.manual_seed(0))
    >>> features(one, one.flip(1)).value
    0.0
    """
    a, b = _maps("features", a, b, channels=False)
    h, w = a.shape[-2:]
    if h * w < 3 or most < 3:
        raise BadInput(f"features: {h} x {w} cells, at most {most}; self-similarity needs three or more")
    if h * w > most:
        h, w = coarser(h, w, most)
        a, b = (F.adaptive_avg_pool2d(one, (h, w)) for one in (a, b))
    first, second = (self_similarity(one[0].flatten(1).T) for one in (a, b))
    return _of_cells(1 - agreement(first, second).view(h, w))


def smoothed(where: np.ndarray, sigma: float) -> np.ndarray:
    """Return a map H W blurred by a Gaussian of sigma pixels, float32, for pictures; 0 leaves it as it is.

    >>> smoothed(np.ones((4, 6)), 1.5).round(4).min()
    np.float32(1.0)
    """
    where = np.asarray(where, np.float32)
    return where if sigma <= 0 else np.asarray(cv2.GaussianBlur(where, (0, 0), sigma))


def _shift(value: float, where: np.ndarray) -> Shift:
    """A Shift whose last bits are not taken for one."""
    return Shift(max(0.0, round(value, 12)), np.maximum(where, 0).astype(np.float32))


def _of_cells(where: torch.Tensor) -> Shift:
    return _shift(float(where.mean()), where.numpy())


def _lightness(*pictures: np.ndarray) -> list[np.ndarray]:
    from skimage.color import rgb2lab

    return [rgb2lab(picture)[..., 0] / 100 for picture in pictures]


def _single(light: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(light.astype(np.float32))[None, None]


def _within(mask: np.ndarray, distance: float) -> np.ndarray:
    """Whether each pixel has one of the mask's within a distance."""
    if not mask.any():
        return mask
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= distance)


def _scale_fits(side: int, count: int) -> bool:
    """Whether the window fits the coarsest of so many scales, and torchmetrics' stricter rule for them is kept."""
    return side >> (count - 1) >= WINDOW and side // (count - 1) ** 2 >= WINDOW


def _unit(clean: torch.Tensor) -> torch.Tensor:
    return clean.var((-2, -1), unbiased=False).mean().clamp_min(_LEAST)


def _windowed(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = _pictures(a, b)
    if min(a.shape[:2]) < WINDOW:
        raise BadInput(f"pictures of {a.shape[0]} x {a.shape[1]}: SSIM needs at least {WINDOW} pixels a side")
    return a, b


def _pictures(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for one in (a, b):
        if one.ndim != 3 or one.shape[2] != 3 or not one.size or not np.issubdtype(one.dtype, np.floating):
            raise BadInput(f"a picture of shape {one.shape}, {one.dtype}: give H W 3 floats in [0, 1]")
        if not (one.min() >= 0 and one.max() <= 1):  # not a number is refused too
            raise BadInput(f"a picture with values from {one.min():g} to {one.max():g}: give floats in [0, 1]")
    if a.shape != b.shape:
        raise BadInput(f"pictures of {a.shape[:2]} and {b.shape[:2]}: give two of the same size")
    return a.astype(np.float64), b.astype(np.float64)


def _maps(name: str, a: torch.Tensor, b: torch.Tensor, channels: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    for one in (a, b):
        if one.ndim != 4 or len(one) != 1 or not one.numel():
            raise BadInput(f"{name}: a map of shape {tuple(one.shape)}; give 1 C h w")
        if not one.isfinite().all():
            raise BadInput(f"{name}: a map holds values that are not finite; read it again in fp32")
    start = 1 if channels else 2
    if a.shape[start:] != b.shape[start:]:
        raise BadInput(f"{name}: maps of shapes {tuple(a.shape)} and {tuple(b.shape)}; give two of the same grid")
    return a.detach().cpu().double(), b.detach().cpu().double()
