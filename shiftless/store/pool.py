"""Pooling: maps on a coarser grid, for features that must take less space."""

from __future__ import annotations

from dataclasses import replace

import torch

from shiftless.features import FeatureMaps


def pooled(maps: FeatureMaps, pool: int) -> FeatureMaps:
    """Average `pool` x `pool` cells of every map into one: H x W cells become ceil(H / pool) x ceil(W / pool).

    The new cells divide the image evenly, as those of every map do, also where `pool` does not divide a side: a cell
    is the mean of the old cells by the area that it shares with each. Maps become float32 on the CPU; their strides
    and the origin say that they were pooled.

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
        rows, columns = (_shares(side, -(-side // pool)) for side in value.shape[-2:])
        values[tap] = rows @ value.float().cpu() @ columns.T
    taps = {tap: replace(about, stride=about.stride * pool) for tap, about in maps.taps.items()}
    return replace(maps, maps=values, taps=taps, origin=replace(maps.origin, pool=maps.origin.pool * pool))


def _shares(before: int, after: int) -> torch.Tensor:
    """How much of each new cell along a side every old cell covers: after x before, rows that sum to one."""
    edges = torch.arange(after + 1, dtype=torch.float64) * before / after
    old = torch.arange(before, dtype=torch.float64)
    shared = torch.minimum(edges[1:, None], old + 1) - torch.maximum(edges[:-1, None], old)
    return (shared.clamp_min(0) * after / before).float()
