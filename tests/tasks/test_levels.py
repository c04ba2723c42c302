"""Levels: taps of one stride are a level, and a bucket of another make is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap
from shiftless.tasks.levels import Levels

FRAME = Frame((32, 48), (32, 48))
TAPS = {"up0": (3, 16), "up1": (2, 8), "up2": (1, 4), "late": (1, 4)}


def reading(seed: int, **changes) -> FeatureMaps:
    draw = torch.Generator().manual_seed(seed)
    maps = {
        name: torch.randn(1, channels, 32 // stride, 48 // stride, generator=draw)
        for name, (channels, stride) in TAPS.items()
    }
    taps = {name: Tap(name, channels, stride, "") for name, (channels, stride) in TAPS.items()}
    return replace(FeatureMaps(maps, taps, FRAME, name="a.jpg"), **changes)


def test_the_finest_level_is_first_and_holds_all_taps_of_its_stride():
    bucket = [reading(0), reading(1)]
    levels = Levels.of(bucket)
    assert (levels.strides, levels.channels) == ((4, 8, 16), (2, 2, 3))
    fine, middle, coarse = levels.tensors(bucket)
    assert [tuple(one.shape) for one in (fine, middle, coarse)] == [(2, 2, 8, 12), (2, 2, 4, 6), (2, 3, 2, 3)]
    assert torch.equal(fine[1], torch.cat([bucket[1]["up2"], bucket[1]["late"]], 1)[0])
    assert torch.equal(coarse[0], bucket[0]["up0"][0])
    assert Levels.from_dict(json.loads(json.dumps(levels.to_dict()))) == levels


def test_maps_in_half_precision_come_out_in_single():
    half = reading(0, maps={name: value.half() for name, value in reading(0).items()})
    assert {one.dtype for one in Levels.of([half]).tensors([half])} == {torch.float32}


def test_another_bucket_is_refused_by_name():
    levels = Levels.of([reading(0), reading(1)])
    with pytest.raises(BadInput, match="a bucket of 1 readings; this head takes 2"):
        levels.tensors([reading(0)])
    fewer = reading(0, maps={"up0": reading(0)["up0"]})
    with pytest.raises(
        BadInput, match=r"a.jpg: reading 1 holds up0 \(3, stride 16\); needed is up0 \(3, stride 16\), up1"
    ):
        levels.tensors([reading(0), fewer])
    with pytest.raises(BadInput, match="reading 1 holds up0"):
        Levels.of([reading(0), fewer])
    with pytest.raises(BadInput, match="reading 1 is joined and not merged"):
        Levels.of([reading(0), reading(0, recipe=Recipe(joined=True))])
    with pytest.raises(BadInput, match="no readings"):
        Levels.of([])
