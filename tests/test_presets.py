"""Presets: published settings as data, each legal for the model it was published with."""

from __future__ import annotations

import pytest

from shiftless import BadInput, Recipe, preset
from shiftless.backbones.registry import models, taps
from shiftless.presets import default_recipe, presets
from shiftless.taps.names import select


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_names_taps_that_its_model_has(name):
    row = preset(name)
    for recipe in row.recipes:
        assert select(recipe.taps, taps(row.model), row.model)
        assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert len({recipe.key() for recipe in row.recipes}) == len(row.recipes)


def test_published_numbers():
    dift = preset("dift-spair").recipes[0]
    assert (dift.timestep, dift.taps, dift.ensemble, models()["sd21"]["size"]) == (261, ("up1",), 8, 768)
    assert preset("dift-geometric").recipes[0].taps == ("up2",)
    assert [r.seed for r in preset("gate-spair-prompt").recipes] == [0, 1]
    widths = {tap.name: tap.channels for tap in taps("sd15")}
    assert sum(widths[tap] for tap in preset("gdf-legacy").recipes[0].taps) == 3520


def test_defaults_are_legal_and_mistakes_are_helped():
    for name in models():
        assert select(default_recipe(name).taps, taps(name), name)
    with pytest.raises(BadInput, match="dift-spair"):
        preset("dift-spare")
