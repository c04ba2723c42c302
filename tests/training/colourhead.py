"""An ensemble that tells two plain colours apart, made once, and what reads photos for it without a model."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from shiftless.bench.parts import colour_and_position
from shiftless.features import Bucket
from shiftless.image import open_photo
from shiftless.tasks.pixels import PixelEnsemble
from shiftless.tasks.pixelsample import LabelledBuckets, PixelSample
from shiftless.training.pixels import fit_pixels
from tests.training.coloured import CLASSES, PALETTE, coloured


def buckets_of(photo):
    return [Bucket((colour_and_position(open_photo(photo), side=16),))]


@cache
def colour_head() -> PixelEnsemble:
    rows = (LabelledBuckets(buckets_of(one.photo), one.labels, one.name) for one in map(coloured, range(4)))
    sample = PixelSample.gather(rows, 4, per_photo=200, dtype=torch.float32)
    settings = {"members": 3, "hidden": 4, "layers": (8, 8), "epochs": 8, "patience": 5, "most_epochs": 20}
    return fit_pixels(sample, CLASSES, palette=PALETTE, **settings).head


class Streams:
    """In the place of `stream_together`: colours of each photo, and which photos were read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, readers, photos, **options):
        for photo in photos:
            self.read.append(str(photo))
            yield buckets_of(photo)


def unsure(seed: int) -> np.ndarray:
    """A photo of colours between those that the ensemble knows."""
    return np.random.default_rng(seed).integers(100, 170, (32, 32, 3), dtype=np.uint8)
