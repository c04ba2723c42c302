"""The mutual matches of two images, when nobody points: mutual ones, best first, spread out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.tasks.correspondence import Matches, match


def mutual_matches(
    a: FeatureMaps, b: FeatureMaps, count: int = 12, side: int = 16, refine: str = "upsample", **flipping: Any
) -> Matches:
    """Try a side x side grid of points of a, keep those that find their way back, best cosine first.

    flipping  `flip`, `mirrored` and `box`, as in `shiftless.match`

    No two of the `count` kept are closer than two steps of the grid, so that they show the whole picture.

    Raises BadInput when no point finds its way back.

    >>> import torch
    >>> from shiftless.image import Frame
    >>> from shiftless.taps.names import Tap
    >>> maps = FeatureMaps({"up1": torch.randn(1, 8, 8, 8)}, {"up1": Tap("up1", 8, 8, "")}, Frame((64, 64), (64, 64)))
    >>> len(mutual_matches(maps, maps, count=5))
    5
    """
    h, w = a.frame.original
    steps = (np.arange(side) + 0.5) / side
    points = np.stack(np.meshgrid(steps * w, steps * h), axis=-1).reshape(-1, 2)
    matches = match(a, b, points, refine=refine, mutual=True, **flipping)
    assert matches.mutual is not None
    kept: list[int] = []
    apart = 2 / side
    for i in np.argsort(-matches.scores, kind="stable"):
        if matches.mutual[i] and all(np.abs((points[i] - points[k]) / (w, h)).max() >= apart * 0.99 for k in kept):
            kept.append(int(i))
        if len(kept) == count:
            break
    if not kept:
        raise BadInput(f"{a.name}: no point finds its way back from {b.name}; point at one with --at X,Y")
    best = {name: getattr(matches, name)[kept] for name in ("points", "scores", "mutual", "source")}
    return replace(matches, **best)
