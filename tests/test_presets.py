"""Presets: published settings as data, each legal for the model it was published with."""

from __future__ import annotations

import pytest

from shiftless import BadInput, Recipe, preset
from shiftless.backbones.families import FAMILIES
from shiftless.backbones.registry import models, taps
from shiftless.presets import default_recipe, preset_or_file, presets
from shiftless.taps.names import select


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_names_taps_that_its_model_has(name):
    row = preset(name)
    for recipe in row.recipes:
        assert select(recipe.taps, taps(row.model), row.model)
        assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert len({recipe.key() for recipe in row.recipes}) == len(row.recipes)


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_survives_its_file(tmp_path, name):
    (tmp_path / "mine.toml").write_text(preset(name).to_toml(), encoding="utf-8")
    back = preset_or_file(str(tmp_path / "mine.toml"))
    assert (back.model, back.recipes) == (preset(name).model, preset(name).recipes)
    of_the_way = [(one.label, one.joined) for one in preset(name).recipes]  # what takes no part in equality
    assert [(one.label, one.joined) for one in back.recipes] == of_the_way


def test_published_numbers():
    dift = preset("dift-spair").recipes[0]
    assert (dift.timestep, dift.taps, dift.ensemble, models()["sd21"]["size"]) == (261, ("up1",), 8, 768)
    assert preset("dift-geometric").recipes[0].taps == ("up2",)
    assert [r.seed for r in preset("gate-spair-prompt").recipes] == [0, 1]
    widths = {tap.name: tap.channels for tap in taps("sd15")}
    assert sum(widths[tap] for tap in preset("gdf-legacy").recipes[0].taps) == 3520


def test_defaults_are_legal_and_mistakes_are_helped():
    for name, row in models().items():
        assert select(default_recipe(name, row["family"]).taps, taps(name), name)
    for family in FAMILIES:
        twin = "twin:" + next(name for name, row in models().items() if row["family"] == family)
        assert select(default_recipe(twin, family).taps, taps(twin), twin)
    with pytest.raises(BadInput, match="dift-spair"):
        preset("dift-spare")


def test_the_buckets_are_as_published():
    spair = preset("gate-spair").recipes
    assert len(spair) == 7
    assert [r.seed for r in spair[:2]] == [0, 1]
    assert all("aeroplane" in r.prompt for r in spair[:2])
    assert [len(r.lora) for r in spair] == [0, 0, 1, 1, 0, 0, 1]
    assert [(r.control, r.start, r.timestep) for r in spair[4:]] == [(("canny",), 60, 50)] * 3
    assert spair[-1].taps == ("up.cross.map.s32", "up.cross.map.s16")
    assert [r.joined for r in spair] == [False] * 6 + [True]
    sizes = {"gate-horse21": 4, "gate-bedroom28": 3, "gate-ade20k": 3, "gate-cityscapes": 3}
    assert {name: len(preset(name).recipes) for name in sizes} == sizes
    assert all(r.control and r.lora for r in preset("gate-cityscapes").recipes[1:])
    hyper = preset("hyperfeatures").recipes
    assert len(hyper) == 11
    assert {r.timestep / r.steps for r in hyper if r.steps} == {20}
