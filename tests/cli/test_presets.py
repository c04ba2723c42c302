"""Presets on the command line: each brings its model, and is printed as a file that --recipe takes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import shiftless
from shiftless.cli.flags import model_for
from shiftless.presets import Preset, preset_or_file, presets
from shiftless.recipe import Recipe, recipes_to_toml


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return "a.png"


@pytest.mark.parametrize("name", ["dift-spair", "gate-spair", "hyperfeatures"])
def test_a_printed_preset_is_a_recipe_file(command, tmp_path, name):
    code, out, _ = command("presets", name)
    assert code == 0
    (tmp_path / "mine.toml").write_text(out, encoding="utf-8")
    mine = preset_or_file("mine.toml")
    assert (mine.model, mine.recipes) == (presets()[name].model, presets()[name].recipes)


@pytest.mark.parametrize(
    "words",
    [
        ("extract", "a.png", "--recipe", "dift-geometric"),
        ("match", "a.png", "a.png", "--at", "9,9", "--recipe", "dift-geometric"),
        ("audit", "a.png", "--recipe", "dift-geometric"),
        ("correspond", "fit", "--recipe", "dift-geometric", "--out", "head", "--pairs", "2", "--val-pairs", "2"),
        ("bench", "mini-pairs", "--recipe", "dift-geometric"),
    ],
    ids=lambda words: words[0],
)
def test_a_preset_brings_its_model(command, monkeypatch, photo, words):
    from shiftless.backbones import registry

    requested: list[str] = []

    def load(name: str, **_: object) -> None:
        requested.append(name)
        raise shiftless.BadInput("enough")

    monkeypatch.setattr(registry, "load", load)
    code, _, err = command(*words)
    assert (code, requested) == (2, ["sd21"]), err
    assert "note" not in err
    command(*words, "-m", "twin:sd21")
    assert requested[1] == "twin:sd21"


def test_another_model_is_noted_in_one_line(command, photo):
    code, _, err = command("extract", photo, "-o", "f", "--recipe", "dift-geometric", "-m", "twin:sd21")
    assert code == 0, err
    noted = [line for line in err.splitlines() if "dift-geometric is for sd21" in line]
    assert noted == ["note: dift-geometric is for sd21; it is read with twin:sd21, as --model says"]
    code, _, err = command("extract", photo, "-o", "g", "-m", "twin:sd21")
    assert "note" not in err


def test_a_recipe_file_brings_its_model_too(command, photo, tmp_path):
    twin = recipes_to_toml([Recipe(timestep=20, taps=("up1",))], model="twin:sd15")
    (tmp_path / "twin.toml").write_text(twin, encoding="utf-8")
    code, _, err = command("extract", photo, "-o", "f", "--recipe", "twin.toml")
    assert code == 0, err
    assert shiftless.FeatureMaps.open(next((tmp_path / "f").glob("*.safetensors")))["up1"].shape[1] == 64  # a twin's


def test_whose_model_is_taken(capsys):
    one, two, none = (Preset(name, model, (Recipe(),), "") for name, model in (("a", "sd15"), ("b", "sd21"), ("c", "")))
    assert model_for(None, []) == "mini"
    assert model_for(None, [none], "sd14") == "sd14"
    assert model_for(None, [none, one, one]) == "sd15"
    assert model_for("stable-diffusion-v1-5/stable-diffusion-v1-5", [one]).startswith("stable")
    assert capsys.readouterr().err == ""  # the same model by its hub id
    assert model_for("sd14", [one]) == "sd14"
    assert "a is for sd15" in capsys.readouterr().err
    with pytest.raises(shiftless.BadInput, match="a is for sd15 and b is for sd21; say which"):
        model_for(None, [one, two])
