"""Blocks: the unit vectors of every cell of the photos in a store, some photos at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from shiftless.features import FeatureMaps
from shiftless.progress import Progress
from shiftless.store.featurestore import FeatureStore

_BYTES = 2**22  # of vectors in one block, about


@dataclass(frozen=True, eq=False)
class Block:
    """Some photos with maps of one size.

    numbers  of the P photos in the store     vectors  P C N float32 of unit length, for the N cells of a map, by rows
    """

    numbers: np.ndarray
    vectors: torch.Tensor


def unit_cells(maps: FeatureMaps, taps: Sequence[str] | None = None, out: torch.Tensor | None = None) -> torch.Tensor:
    """Return the vectors of a photo's cells, of unit length: 1 C H W float32, taps joined as `FeatureMaps.dense` does.

    out  where they are written, if given

    >>> from shiftless.image import Frame
    >>> from shiftless.taps.names import Tap
    >>> maps = FeatureMaps({"up1": torch.ones(1, 4, 2, 2)}, {"up1": Tap("up1", 4, 8, "")}, Frame((16, 16), (16, 16)))
    >>> unit_cells(maps)[0, :, 0, 0].tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    several = len(maps if taps is None else taps) > 1
    dense = maps.dense(taps, normalise=several)
    length = dense.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)  # six times as fast as F.normalize's norm
    return torch.div(dense, length, out=out)


def blocks(store: FeatureStore, taps: Sequence[str] | None = None, progress: Progress | None = None) -> Iterator[Block]:
    """Yield the photos of a store in blocks of about 4 MB, which is the memory needed for each size of map.

    progress  counts photos

    Raises BadInput for a map that is damaged.
    """
    filling: dict[tuple[int, ...], tuple[list[int], torch.Tensor]] = {}
    for number in range(len(store)):
        maps = store[number]
        shape = _shape(maps, taps)
        if shape not in filling:
            filling[shape] = [], torch.empty(max(1, _BYTES // (4 * math.prod(shape))), *shape)
        numbers, vectors = filling[shape]
        unit_cells(maps, taps, vectors[len(numbers)][None])
        numbers.append(number)
        if len(numbers) == len(vectors):
            yield Block(np.array(numbers), vectors.flatten(2))
            del filling[shape]
        if progress is not None:
            progress.advance()
    for numbers, vectors in filling.values():
        yield Block(np.array(numbers), vectors[: len(numbers)].flatten(2))


def _shape(maps: FeatureMaps, taps: Sequence[str] | None) -> tuple[int, int, int]:
    """C H W of a photo's joined maps."""
    shapes = [tuple(maps[tap].shape[1:]) for tap in (list(maps) if taps is None else taps)]
    _, h, w = max(shapes, key=lambda shape: shape[1] * shape[2])
    return sum(shape[0] for shape in shapes), h, w
