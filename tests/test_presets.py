"""Presets: published settings as data, each legal for the model it was published with."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
import torch

import shiftless
from shiftless import BadInput, Recipe, preset
from shiftless.backbones.families import FAMILIES
from shiftless.backbones.registry import models, taps
from shiftless.image import plan
from shiftless.presets import default_recipe, preset_or_file, presets
from shiftless.reading import answer
from shiftless.taps.names import select

KINDS = ("block", "double", "single")


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_names_taps_that_its_model_has(name):
    row = preset(name)
    for recipe in row.recipes:
        assert select(recipe.taps, taps(row.model), row.model)
        assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert len({recipe.key() for recipe in row.recipes}) == len(row.recipes)


def on_twin(recipe, twin):
    """The same reading of a tiny twin, which has fewer blocks and channels, and no LoRAs; its inversion is shorter."""
    known = {tap.name for tap in twin.taps}
    last = {kind: max(int(n[1]) for tap in known if (n := re.fullmatch(rf"{kind}(\d+)", tap))) for kind in KINDS
            if any(tap.startswith(f"{kind}0") for tap in known)}  # fmt: skip

    def there(tap):
        tap = re.sub(r"(stage\d+\.block)\d+", r"\g<1>1", tap)  # a tiny ResNet's stages have two blocks
        return re.sub(rf"^({'|'.join(KINDS)})\d[\d?]*", lambda m: f"{m[1]}{last[m[1]]}", tap)

    taps = dict.fromkeys(tap if select_or_none(tap, twin) else there(tap) for tap in recipe.taps)
    discard = tuple(channel % 48 for channel in recipe.discard)
    shorter = {"timestep": 60, "steps": 3} if recipe.noise == "invert" and recipe.timestep > 60 else {}
    return recipe.but(taps=tuple(taps), discard=discard, size=64, lora=(), lora_scale=1, **shorter)


def select_or_none(tap, model):
    try:
        return select([tap], model.taps)
    except BadInput:
        return ()


@pytest.fixture(scope="module")
def twin():
    return cache(lambda name: shiftless.load(f"twin:{name}", device="cpu", dtype="fp32"))


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_reads_its_models_twin(twin, name):
    model = twin(preset(name).model)
    recipes = list(dict.fromkeys(on_twin(recipe, model) for recipe in preset(name).recipes))
    fill = {"category": "horse", "caption": "a horse"}
    for maps in shiftless.extract(model, np.zeros((48, 64, 3), np.uint8), recipes, fill=fill):
        assert all(torch.isfinite(value).all() for value in maps.maps.values())
        assert len(maps) == len(select(maps.recipe.taps, model.taps))


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


@pytest.mark.parametrize(
    ("name", "channels"),
    [("ddpm", 8448), ("mae", 12288), ("swav", 6720), ("swavw2", 13440)],
)
def test_rows_of_label_scarce_segmentation_have_the_published_number_of_channels(name, channels):
    row = preset(f"{name}-segmentation")
    assert sum(tap.channels for recipe in row.recipes for tap in select(recipe.taps, taps(row.model))) == channels


def test_numbers_of_transformers():
    spair, davis = preset("ditf-spair").recipes[0], preset("ditf-davis").recipes[0]
    flux = models()["flux-dev"]["transformer"]["num_layers"]  # DiTF counts blocks from the first double one
    assert (spair.taps, davis.taps) == ((f"single{28 - flux}.in",), (f"single{24 - flux}.in",))
    assert (spair.timestep, spair.size, spair.ensemble) == (260, 640, 8)
    assert (davis.timestep, davis.size, davis.ensemble) == (90, 1696, 1)
    assert plan((480, 854), davis.size, 16, davis.fit).fed == (960, 1696)
    for recipe in (spair, davis):
        assert (recipe.modulate, recipe.discard) == (True, (154, 1446))
        answer.taps_of(recipe, taps("flux-dev"), "flux-dev")
    maps = {"goca-sd15": 16, "goca-sdxl": 70, "goca-pixart": 28, "goca-hunyuan": 10, "goca-flux": 3}
    for name, count in maps.items():
        row, recipe = preset(name), preset(name).recipes[0]
        *cross, reference = select(recipe.taps, taps(row.model), row.model)
        assert (len(cross), {tap.kind for tap in cross}, reference.kind) == (count, {"map"}, "out"), name
        assert recipe.timestep == (150 if name == "goca-flux" else 100)
        assert models()[row.model]["size"] == (512 if name == "goca-sd15" else 1024)
    assert [tap.name for tap in select(("block2?.cross.map",), taps("hunyuan-dit"))][::9] == [
        "block20.cross.map",
        "block29.cross.map",
    ]


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
    assert {r.taps for r in preset("gate-ade20k").recipes} == {("up0", "up1", "up2")}  # UPerNet's levels
    hyper = preset("hyperfeatures").recipes
    assert len(hyper) == 11
    assert {r.timestep / r.steps for r in hyper if r.steps} == {20}
