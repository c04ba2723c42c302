"""Self-similarities of readings of a few photos, from which the content shift of any bucket of them is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.backbones.base import Backbone
from shiftless.backbones.fixed_batch import FixedBatch
from shiftless.features import FeatureMaps
from shiftless.metrics.selfsimilarity import agreement, coarser, self_similarity
from shiftless.reading import stream
from shiftless.reading.counted import Counted
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe

CELLS = 256
"""Most cells of a map that are compared; larger maps are averaged down, so that memory stays small."""


class Similarities:
    """The self-similarity of every option's features on every photo, and of the matching nearly clean reading.

    The self-similarity of a bucket joined along channels is the mean of its readings' self-similarities, so that the
    shift of any bucket follows without reading it: 1 - agreement of mean self-similarities.
    """

    def __init__(
        self,
        model: Backbone,
        images: Sequence[Any],
        options: Sequence[Recipe],
        *,
        cleanest: int,
        fill: Fill | None = None,
        batch: int | None = None,
        skipped: list[str] | None = None,
        report: Callable[[int], object] | None = None,
    ) -> None:
        """Read images by every option; what cannot be read is left out and its message added to `skipped`."""
        clean = [_nearly_clean(recipe, cleanest) for recipe in options]
        every = readings(options, cleanest)
        anchors = every[len(options) :]
        self._anchor = [anchors.index(one) for one in clean]
        self._read: list[list[torch.Tensor]] = []
        self._clean: list[list[torch.Tensor]] = []
        fixed = cast(
            Backbone, FixedBatch(model) if report is None else Counted(cast(Backbone, FixedBatch(model)), report)
        )
        for bucket in stream(fixed, images, every, fill=fill, batch=batch, dtype=None, skipped=skipped):
            similarities = [_similar(maps) for maps in bucket]
            self._read.append(similarities[: len(options)])
            self._clean.append(similarities[len(options) :])

    def __len__(self) -> int:
        return len(self._read)

    def shifts(self, bucket: Sequence[int], photos: Sequence[int] | None = None) -> np.ndarray:
        """Return how far a bucket of options (indices) has shifted on each photo, in [0, 2]."""
        rows = range(len(self)) if photos is None else photos
        return np.array([self._shift(i, bucket) for i in rows])

    def _shift(self, i: int, bucket: Sequence[int]) -> float:
        read = torch.stack([self._read[i][k] for k in bucket]).mean(0)
        clean = torch.stack([self._clean[i][self._anchor[k]] for k in bucket]).mean(0)
        return float(1 - agreement(read, clean).mean())


def readings(options: Sequence[Recipe], cleanest: int) -> list[Recipe]:
    """Return all that is read of a photo for its similarities: the options, and each nearly clean reading of them."""
    return [*options, *dict.fromkeys(_nearly_clean(recipe, cleanest) for recipe in options)]


def _nearly_clean(recipe: Recipe, cleanest: int) -> Recipe:
    """One anchor for all noise draws and timesteps of a technique."""
    return recipe.but(timestep=cleanest, start=None, steps=None, noise="draw", seed=0, ensemble=1, label="")


def _similar(maps: FeatureMaps) -> torch.Tensor:
    """The mean over taps of the self-similarity of their cells, on one grid: N N float32."""
    grid = min((one.shape[-2:] for one in maps.values()), key=lambda hw: hw[0] * hw[1])
    size = coarser(int(grid[0]), int(grid[1]), CELLS)
    pooled = [F.adaptive_avg_pool2d(one.float(), size)[0].flatten(1).T for one in maps.values()]
    return torch.stack([self_similarity(one) for one in pooled]).mean(0).float()
