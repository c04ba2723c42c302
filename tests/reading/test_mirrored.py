"""Mirrored readings: the sum of a photo's and its mirror image's features, equal to one made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import shiftless
from shiftless import BadInput, Recipe
from shiftless.reading.counted import Counted, calls
from shiftless.reading.inputs import Inputs
from shiftless.reading.predicted import predictions

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
OTHER = np.random.default_rng(1).integers(0, 256, (96, 64, 3), dtype=np.uint8)
LEFT = Recipe(taps=("up1", "up2"), prompt="a cow facing left", ensemble=2, seed=3)
RIGHT = LEFT.but(prompt="a cow facing right")


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32", size=64)


def test_it_is_the_sum_of_two_readings_with_the_words_of_each(model):
    ours = shiftless.extract(model, PICTURE, LEFT.but(mirror=True))
    plain, turned = shiftless.extract(model, PICTURE, LEFT), shiftless.extract(model, shiftless.mirror(PICTURE), RIGHT)
    for tap in LEFT.taps:
        torch.testing.assert_close(ours[tap], normalize(plain[tap], dim=1) + normalize(turned[tap], dim=1).flip(3))
    assert (ours.frame, ours.prompt, ours.name) == (plain.frame, plain.prompt, plain.name)
    assert ours.recipe.mirror


def test_of_the_mirrored_photo_it_is_mirrored(model):
    ours = shiftless.extract(model, PICTURE, LEFT.but(mirror=True))
    theirs = shiftless.extract(model, shiftless.mirror(PICTURE), RIGHT.but(mirror=True))
    plain, turned = shiftless.extract(model, [PICTURE, shiftless.mirror(PICTURE)], LEFT)
    for tap in LEFT.taps:
        torch.testing.assert_close(theirs[tap], ours[tap].flip(3))
        assert not torch.allclose(normalize(turned[tap], dim=1), normalize(plain[tap], dim=1).flip(3), atol=0.05)


def test_in_a_bucket_the_photo_itself_is_read_once(model):
    rows = []
    recipes = [LEFT, LEFT.but(mirror=True), LEFT.but(taps=("up0",))]
    buckets = shiftless.extract(Counted(model, rows.append), [PICTURE, OTHER], recipes, batch=2)
    assert sum(rows) == 2 * calls(recipes) == 2 * 4
    alone = shiftless.extract(model, OTHER, LEFT.but(mirror=True))
    torch.testing.assert_close(buckets[1][1]["up1"], alone["up1"])
    torch.testing.assert_close(buckets[1][0]["up1"], shiftless.extract(model, OTHER, LEFT)["up1"])


def test_prepared_inputs_hold_the_mirrored_photo_too(model):
    recipe = LEFT.but(mirror=True)
    prepared = Inputs(shiftless.image.open_photo(PICTURE)).prepare(model.spec, [recipe])
    assert prepared.mirrored._noise.keys() == prepared._noise.keys()
    read = shiftless.extract(model, [prepared], recipe)[0]
    torch.testing.assert_close(read["up1"], shiftless.extract(model, PICTURE, recipe)["up1"])


def test_maps_of_words_are_added_word_by_word(model):
    recipe = Recipe(taps=("up.cross.map.s16",), prompt="a horse")
    ours = shiftless.extract(model, PICTURE, recipe.but(mirror=True))
    plain, turned = shiftless.extract(model, [PICTURE, shiftless.mirror(PICTURE)], recipe)
    for tap in ours:
        torch.testing.assert_close(ours[tap], normalize(plain[tap], dim=1) + normalize(turned[tap], dim=1).flip(3))


def test_maps_of_cells_and_predictions_are_refused(model):
    with pytest.raises(BadInput, match=r"mirror: tap up\.self\.map\.s16 is attention over cells"):
        shiftless.extract(model, PICTURE, Recipe(taps=("up.self.map.s16",), mirror=True))
    with pytest.raises(BadInput, match="leave mirror out here"):
        next(predictions(model, [PICTURE], [Recipe(mirror=True)]))
    with pytest.raises(BadInput, match="must be true or false"):
        Recipe(mirror="yes")
