"""The picture is of the bench's first picture, whatever it shows, and says the numbers that the bench counts."""

from __future__ import annotations

import numpy as np
import pytest

from miniworld.tables.attention import observe_attention, riders
from miniworld.tables.attention_picture import attention_picture
from miniworld.tables.techniques import techniques
from shiftless.backbones.registry import load
from shiftless.image import open_photo
from shiftless.recipe import Recipe


@pytest.fixture(scope="module")
def drawn():
    twin = load("twin:sd15", dtype="fp32")
    recipe = Recipe(timestep=200, taps=("up2",))
    return twin, recipe, attention_picture(twin, recipe)


def test_it_shows_the_first_picture_and_what_the_bench_sees(drawn):
    twin, recipe, shown = drawn
    assert (shown.picture.image == riders(1)[0].image).all()
    photo = open_photo(shown.picture.image)
    for name, one in next(observe_attention(twin, [photo], techniques(twin, recipe)[0])).items():
        np.testing.assert_allclose(shown.shares[name].effect, one.effect, rtol=1e-4)
        assert shown.shares[name].shares(shown.picture) == pytest.approx(one.shares(shown.picture), rel=1e-4)


def test_edges_are_black_and_white_and_as_the_control_net_sees_them(drawn):
    _, _, shown = drawn
    assert shown.edges is not None
    assert shown.edges.shape == (128, 128, 3)
    assert set(np.unique(shown.edges)) == {0, 255}


def test_it_has_a_column_for_each_technique_in_both_themes(drawn):
    _, _, shown = drawn
    light, dark = shown.draw(height=90), shown.draw("dark", height=90)
    assert light.size == dark.size
    assert light.width > (len(shown.shares) + 1) * 90
    assert "cow" in shown.note()
