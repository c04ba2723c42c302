"""Pooling: maps on a coarser grid, for features that must take less space."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F

from shiftless.features import FeatureMaps


def pooled(maps: FeatureMaps, pool: int) -> FeatureMaps:
    """Average `pool` x `pool` cells of every map into one: H x W cells become ceil(H / pool) x ceil(W / pool).

    The new cells divide the image evenly, as those of every map do, also where `pool` does not divide a side: a cell
    is then the mean of the old cells that it touches. Strides and the origin say that the maps were pooled.

    >>> import torch
    >>> from shiftless.image import Frame
    >>> from shiftless.taps.names import Tap
    >>> grid = torch.arange(16.0).view(1, 1, 4, 4)
    >>> maps = FeatureMaps({"up1": grid}, {"up1": Tap("up1", 1, 8, "")}, Frame((32, 32), (32, 32)))
    >>> pooled(maps, 2)["up1"].flatten().tolist(), pooled(maps, 2).taps["up1"].stride
    ([2.5, 4.5, 10.5, 12.5], 16)
    """
    if pool == 1:
        return maps
    values = {}
    for tap, value in maps.items():
        grid = -(-value.shape[-2] // pool), -(-value.shape[-1] // pool)
        values[tap] = F.adaptive_avg_pool2d(value.float(), grid).to(value.dtype)
    taps = {tap: replace(about, stride=about.stride * pool) for tap, about in maps.taps.items()}
    return replace(maps, maps=values, taps=taps, origin=replace(maps.origin, pool=maps.origin.pool * pool))
