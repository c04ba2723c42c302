from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from shiftless.amalgamate.gate import Gate
from shiftless.amalgamate.hyper import Hyper
from shiftless.amalgamate.simple import Concat, Mean
from shiftless.errors import BadInput
from shiftless.recipe import Recipe

RECIPES = (Recipe(timestep=20, taps=("up0", "up1"), label="a"), Recipe(prompt="ein Pferd „gut“", seed=3))


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: Gate(6, hidden=16, **k),
        lambda **k: Gate(6, level="pixel", hidden=16, norm="reading", **k),
        lambda **k: Hyper([4, 2], readings=3, width=32, **k),
        lambda **k: Mean(6, **k),
        lambda **k: Concat(3, 6, components=5, **k).fit(torch.randn(3, 1, 6, 4, 4)),
    ],
)
def test_what_is_saved_comes_back_with_its_recipes(make, tmp_path):
    torch.manual_seed(0)
    module, readings = make(recipes=RECIPES).eval(), torch.randn(3, 2, 6, 4, 5)
    module.save_pretrained(tmp_path / "m")
    for place in (tmp_path / "m", tmp_path / "m" / "model.safetensors"):
        back = type(module).from_pretrained(place)
        assert not back.training
        assert back.recipes == RECIPES
        assert [r.label for r in back.recipes] == ["a", ""]
        assert torch.equal(back(readings), module(readings))
    config = json.loads((tmp_path / "m" / "config.json").read_text(encoding="utf-8"))
    assert config["shiftless"] == module.kind
    assert Recipe.from_dict(config["recipes"][1]) == RECIPES[1]


def test_files_of_something_else(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere.*hf download"):
        Gate.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"no/such-head.*hf download"):
        Gate.from_pretrained("no/such-head")  # never fetched
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        Gate.from_pretrained(tmp_path / "empty")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(BadInput, match="something else"):
        Gate.from_pretrained(tmp_path / "x.safetensors")
    Mean(4).save_pretrained(tmp_path / "mean")
    with pytest.raises(BadInput, match="holds mean, not a saved 'gate'"):
        Gate.from_pretrained(tmp_path / "mean")


@pytest.mark.parametrize(
    "header",
    [
        {"settings": "{", "recipes": "[]"},
        {"settings": "{}", "recipes": "[]"},
        {"settings": '{"channels": 6, "wide": 1}', "recipes": "[]"},
        {"settings": '{"channels": 6}', "recipes": "[3]"},
        {"settings": '{"channels": 6}'},
        {"settings": '{"channels": 6}', "recipes": "[]"},
    ],
)
def test_headers_that_cannot_be_meant(tmp_path, header):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"shiftless": "gate", **header})
    with pytest.raises(BadInput, match=r"x\.safetensors"):
        Gate.from_pretrained(tmp_path / "x.safetensors")


def test_half_a_file(tmp_path):
    Gate(6, hidden=16).save_pretrained(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="not a whole file"):
        Gate.from_pretrained(tmp_path)
