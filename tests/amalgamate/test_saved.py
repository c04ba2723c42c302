from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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
    save_file({"x": torch.zeros(1)}, tmp_path / "lora.safetensors", metadata={"shiftless": json.dumps([0.5] * 99)})
    with pytest.raises(BadInput, match="holds something else, not a saved 'gate'"):
        Gate.from_pretrained(tmp_path / "lora.safetensors")
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


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SETTINGS = ("channels", "level", "hidden", "dropout", "norm")


@given(
    st.dictionaries(st.sampled_from(SETTINGS), VALUES, min_size=1, max_size=2),
    st.none() | st.lists(st.dictionaries(st.sampled_from(["taps", "seed", "lora", "steps"]), VALUES), max_size=2),
)
def test_settings_that_nobody_wrote_are_one_line(made, settings, recipes):
    """Either the head opens, its weights fitting what the header says, or one line names the file."""
    path, header, state = made
    broken = {**json.loads(header["settings"]), **settings}
    changed = {"settings": json.dumps(broken), **({} if recipes is None else {"recipes": json.dumps(recipes)})}
    save_file(state, path, {**header, **changed})
    try:
        channels, line = Gate.from_pretrained(path).channels, ""
    except BadInput as error:
        channels, line = None, str(error)
    assert channels == 6 or path.name in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, '{"a":' * 5000, "nonsense", "[]", "null", "7", '{"channels": 1e999}',
     '{"channels": 1' + "0" * 40 + "}", '{"channels": 6, "hidden": 1000000000000}',
     "", '{"channels": 6, "x": "' + "y" * 70000 + '"}'],
    ids=range(11),
)  # fmt: skip
@pytest.mark.parametrize("field", ["settings", "recipes"])
def test_headers_too_deep_too_large_or_of_other_types(made, field, text):
    path, header, state = made
    save_file(state, path, {**header, field: text})
    if (field, text) == ("recipes", "[]"):
        assert Gate.from_pretrained(path).recipes == ()
        return
    with pytest.raises(BadInput, match=r"head\.safetensors"):
        Gate.from_pretrained(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A whole head: its file, header and weights."""
    from safetensors import safe_open

    path = Gate(6, hidden=16).save(tmp_path_factory.mktemp("heads") / "head.safetensors")
    with safe_open(path, "pt") as file:
        return path, file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_weights_keep_their_kind_whatever_they_were_saved_as(tmp_path):
    path = Gate(6, hidden=16).save(tmp_path / "half.safetensors", torch.bfloat16)
    state = Gate.from_pretrained(path).state_dict()
    assert {value.dtype for value in state.values()} == {torch.float32, torch.int64}
    assert not any(value.is_meta for value in state.values())
    assert all(parameter.requires_grad for parameter in Gate.from_pretrained(path).parameters())


def test_the_model_card_says_what_it_is_and_gives_its_readings_back(tmp_path):
    from shiftless.recipe import read_recipes

    Mean(6, recipes=RECIPES).save_pretrained(tmp_path / "mean")
    text = (tmp_path / "mean" / "README.md").read_text(encoding="utf-8")
    assert "More Information Needed" not in text
    assert "library_name: shiftless" in text
    assert "Mean.from_pretrained(FOLDER)" in text
    (tmp_path / "back.toml").write_text(text.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    assert tuple(read_recipes(tmp_path / "back.toml")) == RECIPES
