"""What kept features will take is told before anything is read, to the byte."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import shiftless
from shiftless.backbones.registry import taps
from shiftless.bench.heads import keep
from shiftless.bench.memory import Memory, memory_of_kept
from shiftless.data.photopair import PhotoPair
from shiftless.errors import BadInput
from shiftless.image import open_photo
from shiftless.presets import preset
from shiftless.recipe import Recipe

BASE = Recipe(timestep=20, taps=("up0", "up1"), size=64)
JOINED = BASE.but(taps=("up.cross.map.s16", "up.cross.map.s32"), joined=True)


@pytest.fixture(scope="module")
def twin():
    return shiftless.load("twin:sd15")


def pairs_of(*sizes: tuple[int, int]) -> list[PhotoPair]:
    """Each photo with the first one; the categories alternate."""
    photos = [open_photo(np.random.default_rng(i).integers(0, 256, (*hw, 3), np.uint8)) for i, hw in enumerate(sizes)]
    points, box = np.array([[5.0, 5.0]]), (0.0, 0.0, 9.0, 9.0)
    return [
        PhotoPair(photos[0], b, points, points, photos[0].hw, b.hw, box, ("cat", "dog")[i % 2], str(i))
        for i, b in enumerate(photos[1:])
    ]


@pytest.mark.parametrize("side", [None, 3])
@pytest.mark.parametrize("prompt", ["", "a {category}"])
def test_it_is_what_is_kept(twin, side, prompt):
    pairs = pairs_of((64, 64), (40, 80), (90, 60))
    recipes = [BASE.but(prompt=prompt), BASE.but(seed=1), JOINED]
    told, kept = memory_of_kept(twin, pairs, recipes, side=side), keep(twin, pairs, recipes, side=side)
    assert told.total == kept.bytes()
    assert told.photos == len(list(kept.sides())) == (4 if prompt else 3)  # by category the first one is read twice


def test_a_photo_of_gates_bucket_takes_0_17_gb_and_one_of_hyperfeatures_0_95():
    """As docs/gate.md and docs/reproduce.md have it."""
    real = SimpleNamespace(taps=taps("sd15"), spec=SimpleNamespace(name="sd15", size=512, multiple=64))
    real.encode_prompt = lambda prompts: SimpleNamespace(words=[("",) * 77])
    for name, gigabytes in (("gate-spair", 0.174), ("hyperfeatures", 0.951)):
        told = memory_of_kept(real, pairs_of((64, 64), (64, 80)), preset(name).recipes)
        assert told.total / told.photos / 1e9 == pytest.approx(gigabytes, abs=0.001)


def test_more_than_the_machine_has_is_refused_with_the_remedy():
    Memory(10, 64, 10, 10).check()
    Memory(10, 64, 10, None).check()
    with pytest.raises(BadInput, match=r"11 B for 10 photos .* has 10 B; give --side 32 \(a quarter of it\), "):
        Memory(10, 64, 11, 10).check()
