"""What the tests of heads share: buckets whose answer is known, smooth fields moved by whole cells beside noise."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shiftless.features import Bucket, FeatureMaps
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap

CHANNELS, CELLS, PIXELS = 8, 8, 64
RECIPES = (Recipe(seed=0), Recipe(seed=1))


def field(seed: int, move: int = 0) -> torch.Tensor:
    coarse = torch.randn(1, CHANNELS, 6, 7, generator=torch.manual_seed(seed))
    wide = F.interpolate(coarse, (CELLS, CELLS + 3), mode="bicubic")
    return wide[..., 3 - move :][..., :CELLS]


def bucket(seed: int, move: int = 0, noise: float = 3.0) -> Bucket:
    """A true reading whose channels lie at +2, and one of noise around -2."""
    mess = torch.randn(1, CHANNELS, CELLS, CELLS, generator=torch.manual_seed(1000 + 2 * seed + (move > 0)))
    grids = (field(seed, move) + 2, noise * mess - 2)
    frame, tap = Frame((PIXELS, PIXELS), (PIXELS, PIXELS)), Tap("up1", CHANNELS, PIXELS // CELLS, "")
    maps = (FeatureMaps({"up1": grid}, {"up1": tap}, frame, r, f"p{seed}") for grid, r in zip(grids, RECIPES))
    return Bucket(tuple(maps))


def pairs(start: int, n: int, move: int = 2) -> list[tuple]:
    """Pairs whose target is the source moved to the right by so many cells."""
    found = []
    for seed in range(start, start + n):
        points = np.random.default_rng(seed).uniform([8, 8], [PIXELS - 8 * move - 8, PIXELS - 8], (6, 2))
        found.append((bucket(seed), bucket(seed, move), points, points + [8.0 * move, 0], (0, 0, 40, 40)))
    return found


@pytest.fixture(scope="session")
def known() -> SimpleNamespace:
    """The functions above, and the recipes and sizes that they use."""
    return SimpleNamespace(bucket=bucket, pairs=pairs, recipes=RECIPES, channels=CHANNELS, cells=CELLS)
