"""Reads in memory: how much is kept, what goes first, and what points are compared by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import shiftless
from shiftless.errors import BadInput
from shiftless.explore.explorer import Explorer
from shiftless.explore.limits import Limits
from shiftless.explore.readings import FeatureMemory, Read
from shiftless.features import FeatureMaps
from shiftless.image import Frame
from shiftless.presets import Preset
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap
from tests.explore.conftest import BUCKET, PLAIN


def maps(seed, recipe=PLAIN, channels=4):
    grid = torch.randn(1, channels, 4, 4, generator=torch.manual_seed(seed))
    return FeatureMaps({"up1": grid}, {"up1": Tap("up1", channels, 8, "")}, Frame((32, 32), (32, 32)), recipe)


def test_what_was_used_longest_ago_is_forgotten_first():
    reads = [Read((maps(seed),)) for seed in range(4)]
    size = reads[0].bytes()
    assert size == 4 * (4 * 16 + 4 * 16 + 32 * 32)  # the map, the joined map, and the lengths at the size as fed
    memory = FeatureMemory(3 * size)
    for key, read in zip("abc", reads):
        memory.put(key, read)
    assert memory.get("a") is reads[0]
    memory.put("d", reads[3])
    assert [memory.get(key) is not None for key in "abcd"] == [True, False, True, True]
    assert memory.held == 3 * size
    memory.put("d", reads[3])
    assert memory.held == 3 * size
    small = FeatureMemory(size - 1)
    small.put("a", reads[0])
    assert (small.get("a"), small.held) == (None, 0)


def test_a_bucket_is_compared_by_the_mean_of_what_is_merged_beside_what_is_joined():
    bucket = (maps(0), maps(1), maps(2, PLAIN.but(joined=True), channels=3))
    a, b, joined = (torch.nn.functional.normalize(one["up1"], dim=1) for one in bucket)
    torch.testing.assert_close(Read(bucket).dense, torch.cat([(a + b) / 2, joined], 1))
    torch.testing.assert_close(Read(bucket[:1]).dense, a)


@pytest.mark.parametrize(
    ("recipes", "fault"),
    [
        ([], "0 recipes"),
        ([(PLAIN,)] * 5, "5 recipes: give 1 to 4"),
        ([(Recipe(taps=("up9",)),)], "up9"),
    ],
)
def test_recipes_that_cannot_be_read_are_refused_at_once(model, folder, recipes, fault):
    with pytest.raises(BadInput, match=fault):
        Explorer.of(model, [folder], [Preset("x", "", one, "") for one in recipes])


def test_features_are_those_of_the_photo_s_pixels_whatever_its_name(explorer, model, folder):
    explorer.album.add("copy.png", (folder / "a.png").read_bytes())
    explorer.album.add("other.png", (folder.parent / "secret.png").read_bytes())
    read = explorer.readings.read(0, BUCKET)
    assert explorer.readings.held(3, BUCKET) is read  # the copy has the pixels of photo 0
    assert explorer.readings.held(1, BUCKET) is None
    assert explorer.readings.held(0, (PLAIN,)) is None
    bucket = shiftless.extract(model, folder / "a.png", list(BUCKET))
    for ours, theirs in zip(read.bucket, bucket):
        for tap in theirs:
            np.testing.assert_allclose(ours[tap].numpy(), theirs[tap].numpy())


def test_a_memory_too_small_for_anything_still_answers(model, folder):
    made = Explorer.of(model, [folder], [Preset("x", "", (PLAIN,), "")], limits=Limits(feature_bytes=1))
    assert made.readings.read(0, (PLAIN,)).dense.ndim == 4
    assert made.readings.held(0, (PLAIN,)) is None
    made.close()
