"""Labelled photos whose features say what is there: for tests of training on scenes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.features import Bucket, FeatureMaps
from shiftless.header import Origin
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap
from shiftless.training.scenesource import KeptScenes

CLASSES = ("sky", "road", "car")
HW = (32, 48)
RECIPES = (Recipe(seed=0), Recipe(seed=1))


@dataclass(frozen=True)
class Scene:
    """A photo with its mask."""

    name: str
    photo: np.ndarray
    values: np.ndarray

    def mask(self) -> np.ndarray:
        return self.values


def scene(seed: int) -> Scene:
    """Sky above a road, at a height of its own, and a car on the road."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(HW, np.uint8)
    horizon, left = int(rng.integers(10, 20)), int(rng.integers(4, 30))
    mask[horizon:] = 1
    mask[horizon + 2 : horizon + 12, left : left + 14] = 2
    photo = np.array([(90, 120, 220), (90, 90, 90), (220, 40, 40)], np.uint8)[mask]
    return Scene(f"scene {seed}", photo, mask)


def bucket(one: Scene, noise: float = 0.3) -> Bucket:
    """Two readings of levels at strides 4 and 8: a channel for each class, with noise, more of it in the second."""
    truth = F.one_hot(torch.from_numpy(one.values).long(), len(CLASSES)).movedim(-1, 0)[None].float()
    taps = {"up1": Tap("up1", 3, 8, ""), "up2": Tap("up2", 3, 4, "")}
    draw = torch.Generator().manual_seed(int(one.name.split()[1]))
    readings = []
    for k, recipe in enumerate(RECIPES):
        maps = {
            name: F.avg_pool2d(truth, tap.stride)
            + (k + 1) * noise * torch.randn(1, 3, HW[0] // tap.stride, HW[1] // tap.stride, generator=draw)
            for name, tap in taps.items()
        }
        origin = Origin(photo=one.name, model="made", fingerprint="1f")
        readings.append(FeatureMaps(maps, taps, Frame(HW, HW), recipe, one.name, origin=origin))
    return Bucket(tuple(readings))


def kept(first: int, count: int, **changes) -> KeptScenes:
    scenes = [scene(seed) for seed in range(first, first + count)]
    return KeptScenes(scenes, [bucket(one) for one in scenes], len(CLASSES), **changes)
