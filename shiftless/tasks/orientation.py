"""Adaptive pose alignment: which of a photo and its mirror image fits another photo better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.tasks.dense import cosine_maps

AUTO = "auto"
FLIPS = (False, True, AUTO)
SIDE = 64
"""The most cells along a side of the maps that are compared, as published."""
_ROUNDING = 1e-6  # a mirror image that fits better by less than this fits as well


def orientation_fit(a: torch.Tensor, b: torch.Tensor, box: Sequence[float] | None = None) -> float:
    """Return how well one map fits another: the mean cosine of the best match in b of each cell of a.

    a, b  1 C H W each; a map with more than SIDE cells along a side is resized to SIDE there, bilinear
    box   (x0, y0, x1, y1) of the thing in a, in [0, 1]: only the cells that it touches are asked; None asks all

    This is the instance matching distance of Zhang et al., "Telling left from right: identifying geometry-aware
    semantic correspondence" (GeoAware-SC), CVPR 2024, sections 3.4 and 4.1, with three differences. Theirs is the mean
    Euclidean distance between unit vectors, sqrt(2 - 2 cosine), of the same nearest neighbours, and smaller is better.
    It is taken over the thing's mask in a, here over its box or the whole map; and neighbours are sought in the
    thing's mask in b, here in all of b. So no masks are needed.

    >>> a = torch.eye(4).view(1, 4, 2, 2)
    >>> orientation_fit(a, a), orientation_fit(a, a[..., :1]), orientation_fit(a, a[..., :1], box=(0, 0, 0.5, 1))
    (1.0, 0.5, 1.0)
    """
    a, b = _at_most(a), _at_most(b)
    asked = a[0].permute(1, 2, 0)
    if box is not None:
        rows, columns = (cells_touched(box[i], box[i + 2], asked.shape[1 - i]) for i in (1, 0))
        asked = asked[rows, columns]
    grid = (int(b.shape[-2]), int(b.shape[-1]))
    best = [maps.flatten(1).max(1).values.cpu() for maps in cosine_maps(asked.flatten(0, 1), b, grid)]
    return float(torch.cat(best).double().mean())


def fits_mirrored(fits: tuple[float, float]) -> bool:
    """Whether the second of two fits, that of the mirror image, is better by more than rounding.

    >>> fits_mirrored((0.5, 0.6)), fits_mirrored((0.5, 0.5))
    (True, False)
    """
    return fits[1] > fits[0] + _ROUNDING


def check_flip(
    a: FeatureMaps, flip: bool | str, mirrored: FeatureMaps | None, box: Sequence[float] | None
) -> tuple[float, ...] | None:
    """Return the box in [0, 1]; raises BadInput where `flip`, `mirrored` and `box` of `match` do not go together."""
    if flip not in FLIPS:
        raise BadInput(f"flip={flip!r}: must be False, True or {AUTO!r}")
    if flip and mirrored is None:
        raise BadInput(
            f"flip={flip!r} needs the features of the mirrored photo: "
            f"mirrored=shiftless.extract(model, shiftless.mirror({a.name!r}), recipe)"
        )
    if mirrored is not None and not flip:
        raise BadInput(f"{a.name}: mirrored features are given and flip is False; say flip={AUTO!r}, or flip=True")
    if box is not None and flip != AUTO:
        raise BadInput(f"box={tuple(box)!r} is where the orientation is judged, which only flip={AUTO!r} does")
    if mirrored is not None and mirrored.frame != a.frame:
        raise BadInput(f"{mirrored.name}: is not {a.name} mirrored, as it is of another size; mirror that photo")
    return None if box is None else unit_box(a, box)


def mirrored_box(box: Sequence[float] | None) -> tuple[float, ...] | None:
    """Return a box in [0, 1] as it lies in the mirrored photo.

    >>> mirrored_box((0, 0, 0.25, 1))
    (0.75, 0, 1, 1)
    """
    return None if box is None else (1 - box[2], box[1], 1 - box[0], box[3])


def unit_box(a: FeatureMaps, box: Sequence[float], name: str = "box") -> tuple[float, ...]:
    """Return a box in a photo's own pixels as one in [0, 1]; raises BadInput, with the argument's name, for others.

    >>> from shiftless.image import Frame
    >>> unit_box(FeatureMaps({}, {}, Frame((50, 100), (64, 128))), (25, 0, 100, 25))
    (0.25, 0.0, 1.0, 0.5)
    """
    height, width = a.frame.original
    try:
        x0, y0, x1, y1 = (float(v) for v in box)
    except (TypeError, ValueError):
        raise BadInput(f"{a.name}: {name}={box!r} must be four numbers (x0, y0, x1, y1)") from None
    if not (np.isfinite([x0, y0, x1, y1]).all() and x1 > x0 and y1 > y0):
        raise BadInput(
            f"{a.name}: {name}={tuple(box)!r} is empty or not finite; give (x0, y0, x1, y1), x1 > x0, y1 > y0"
        )
    if not (x0 < width and y0 < height and x1 > 0 and y1 > 0):
        raise BadInput(f"{a.name}: {name}={tuple(box)!r} lies outside the {width}x{height} image")
    corners = a.frame.to_unit([(x0, y0), (x1, y1)]).clip(0, 1)
    return tuple(float(v) for v in corners.ravel())


def cells_touched(low: float, high: float, cells: int) -> slice:
    """Return which of so many cells along a side of length 1 a range in [0, 1] touches: one at least.

    >>> cells_touched(0.2, 0.5, 8)
    slice(1, 4, None)
    """
    first = min(cells - 1, int(np.floor(low * cells)))
    return slice(first, max(first + 1, int(np.ceil(high * cells))))


def _at_most(dense: torch.Tensor) -> torch.Tensor:
    h, w = (min(SIDE, side) for side in dense.shape[-2:])
    return dense if (h, w) == dense.shape[-2:] else F.interpolate(dense.float(), (h, w), mode="bilinear")
