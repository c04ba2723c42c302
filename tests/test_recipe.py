"""Recipes compare by what they do, survive TOML whatever the prompt says, and refuse what no model could take."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shiftless.errors import BadInput
from shiftless.recipe import FITS, INPAINTS, LATENTS, SCHEDULERS, Recipe, read_recipes, recipes_to_toml

# Any text that UTF-8 can hold; lone surrogates cannot be written to a file at all.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
names = st.lists(texts.filter(bool), max_size=3).map(tuple)
scales = st.floats(-4, 4).map(lambda scale: (scale,))


def _recipe(walk: tuple[int, int] | None, scheduler: str, **values) -> Recipe:
    """A recipe with a legal walk: some recipes have none, and only the plain scheduler takes steps."""
    if walk is not None and values["timestep"] < 999:
        span = walk[0] % (999 - values["timestep"]) + 1
        values["start"] = values["timestep"] + span
        values["steps"] = walk[1] % span + 1 if scheduler == "plain" and walk[1] else None
    return Recipe(scheduler=scheduler, **values)


recipes = st.builds(
    _recipe,
    walk=st.none() | st.tuples(st.integers(0, 999), st.integers(0, 999)),
    timestep=st.integers(0, 999),
    captioner=texts,
    control=names,
    control_scale=scales,
    lora=names,
    lora_scale=scales,
    taps=st.lists(texts.filter(bool), min_size=1, max_size=4).map(tuple),
    prompt=texts,
    seed=st.integers(0, 2**63 - 1),
    ensemble=st.integers(1, 1024),
    size=st.none() | st.integers(16, 8192),
    fit=st.sampled_from(FITS),
    latent=st.sampled_from(LATENTS),
    scheduler=st.sampled_from(SCHEDULERS),
    textual_inversion=names,
    modulate=st.booleans(),
    discard=st.just("auto") | st.lists(st.integers(0, 4000), max_size=3),
    inpaint=st.sampled_from(("", *INPAINTS)),
    joined=st.booleans(),
    label=texts,
)


@given(recipes)
@example(Recipe(prompt="\x7f\0\x1f \\ \"\"\" ''' \r\n\t \u2028 \ufeff \U0001f40e", label="\x7f"))
def test_toml_gives_the_recipe_back(recipe):
    back = Recipe.from_toml(recipe.to_toml())
    assert back == recipe
    assert (back.label, back.joined) == (recipe.label, recipe.joined)
    assert back.key() == recipe.key()
    assert hash(back) == hash(recipe)


@given(recipes)
def test_plain_values_give_the_recipe_back(recipe):
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@given(recipes, recipes)
def test_equality_hash_and_key_agree(a, b):
    assert (a == b) == (a.key() == b.key())
    assert (a != b) or hash(a) == hash(b)


@given(texts.filter(lambda text: "\r" not in text))
def test_a_file_gives_the_recipe_back(tmp_path_factory, prompt):
    path = tmp_path_factory.mktemp("recipe") / "r.toml"
    path.write_text(Recipe(prompt=prompt).to_toml(), encoding="utf-8", newline="")
    assert Recipe.read(path).prompt == prompt


@pytest.mark.parametrize("change", [{"label": "a"}, {"joined": True}], ids=str)
def test_what_changes_nothing_of_the_reading_changes_no_key(change):
    assert Recipe(**change) == Recipe()
    assert hash(Recipe(**change)) == hash(Recipe())
    assert Recipe(**change).key() == Recipe().key()


@pytest.mark.parametrize(
    "change",
    [
        {"timestep": 51},
        {"taps": ("up2",)},
        {"taps": ("up1", "up2")},
        {"prompt": "a horse"},
        {"seed": 1},
        {"ensemble": 2},
        {"size": 512},
        {"inpaint": "keep"},
        {"textual_inversion": ("a.safetensors",)},
        {"modulate": True},
        {"discard": (154, 1446)},
        {"discard": "auto"},
        {"fit": "squash"},
        {"latent": "sample"},
        {"scheduler": "pndm-reference"},
        {"captioner": "blip"},
        {"control": ("canny",)},
        {"control_scale": (0.5,)},
        {"lora": ("a.safetensors", "b.safetensors")},
        {"lora_scale": (0.5,)},
        {"start": 60},
        {"noise": "invert"},
    ],
    ids=str,
)
def test_every_other_field_changes_the_key(change):
    varied = Recipe().but(**change)
    assert varied != Recipe()
    assert varied.key() != Recipe().key()
    assert varied.to_dict() == {name: list(v) if isinstance(v, tuple) else v for name, v in change.items()}


def test_the_key_is_the_same_in_another_process():
    code = "from shiftless.recipe import Recipe; print(Recipe(prompt='a \\u00e9', timestep=9).key())"
    env = {**os.environ, "PYTHONHASHSEED": "1"}
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert completed.stdout.strip() == Recipe(prompt="a é", timestep=9).key()
    assert completed.stdout.strip() == "ed5f5a225635290c"  # and in every version: stores on disk are found by it


def test_one_tap_may_be_written_without_brackets():
    assert Recipe(taps="up2").taps == ("up2",)
    assert Recipe(taps=["up1", "up2"]).taps == ("up1", "up2")
    assert Recipe.from_toml('taps = "up2"').taps == ("up2",)


def test_channels_in_any_order_are_one_recipe():
    assert Recipe(discard=[1446, 154, 154]).discard == (154, 1446)
    assert Recipe(discard=7) == Recipe(discard=(7,))
    assert Recipe(discard=("auto",)).key() == Recipe(discard="auto").key()


def test_a_walk_of_no_length_is_no_walk():
    assert Recipe(timestep=50, start=50) == Recipe(timestep=50)
    assert Recipe(control="canny", control_scale=1) == Recipe(control=["canny"], control_scale=[1.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"timestep": 1000}, "timestep=1000: give a whole number from 0 to 999"),
        ({"timestep": -1}, "timestep=-1"),
        ({"timestep": 50.0}, "timestep=50.0"),
        ({"timestep": True}, "timestep=True"),
        ({"taps": ()}, "give at least one tap name"),
        ({"taps": ("up1", "")}, "give at least one tap name"),
        ({"taps": (1,)}, "give at least one tap name"),
        ({"prompt": None}, "prompt=None: give a text"),
        ({"seed": -1}, "seed=-1"),
        ({"ensemble": 0}, "ensemble=0: give a whole number from 1"),
        ({"size": 15}, "size=15: give a whole number from 16"),
        ({"fit": "pad"}, "fit='pad': must be one of aspect, squash"),
        ({"latent": "mode"}, "must be one of mean, sample"),
        ({"inpaint": "half"}, "inpaint='half': must be one of keep, all, or ''"),
        ({"textual_inversion": ("",)}, "textual_inversion=('',): give names or files"),
        ({"inpaint": None}, "inpaint=None: must be"),
        ({"joined": 1}, "joined=1: must be true or false"),
        ({"modulate": "yes"}, "modulate='yes': must be true or false"),
        ({"discard": (154, -1)}, "discard=(154, -1): give numbers of channels, such as (154, 1446), or 'auto'"),
        ({"discard": "massive"}, "discard='massive': give numbers"),
        ({"discard": (True,)}, "discard=(True,): give numbers"),
        ({"discard": None}, "discard=None: give numbers"),
        ({"scheduler": "ddim"}, "must be one of plain, pndm-reference"),
        ({"control": ("",)}, "control=('',): give names or files"),
        ({"lora": (3,)}, "lora=(3,): give names"),
        ({"control_scale": "strong"}, "control_scale=('strong',): give numbers"),
        ({"control_scale": float("nan")}, "give numbers"),
        ({"lora": "a", "lora_scale": (1, 2)}, "give one number for all, or 1, one each"),
        ({"start": 49}, "start=49 with timestep=50: denoising leads from a larger timestep"),
        ({"start": 1000}, "start=1000: give a whole number"),
        ({"steps": 2}, "steps=2: needs a start above the timestep"),
        ({"start": 60, "steps": 11}, "steps=11: give a whole number from 1 to 10"),
        ({"start": 60, "steps": 2, "scheduler": "pndm-reference"}, "and the plain scheduler"),
        ({"noise": "no"}, "noise='no': must be one of draw, invert, none"),
        ({"noise": "invert", "start": 60}, "noise='invert': takes no start"),
        ({"noise": "invert", "ensemble": 2}, "it draws no noise"),
        ({"noise": "invert", "timestep": 40, "steps": 41}, "steps=41: give a whole number from 1 to 40"),
        ({"captioner": 3}, "captioner=3: give a name"),
        ({"timestamp": 3}, "no field 'timestamp'; its fields are timestep, taps"),
    ],
    ids=str,
)
def test_bad_values_are_refused_and_legal_ones_named(values, message):
    for build in (Recipe.from_dict, lambda v: Recipe().but(**v)):
        with pytest.raises(BadInput, match=re.escape(message)) as caught:
            build(values)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"timestep = ", "r.toml: the recipe is not valid TOML"),
        (b"timestep = 5000", "r.toml: timestep=5000"),
        (b"colour = 1", "r.toml: a recipe has no field 'colour'"),
        (b"\xff\xfe\x00", "r.toml: the recipe file cannot be read"),
    ],
)
def test_a_bad_recipe_file_is_named(content, message, tmp_path):
    (tmp_path / "r.toml").write_bytes(content)
    with pytest.raises(BadInput, match=message):
        Recipe.read(tmp_path / "r.toml")
    with pytest.raises(BadInput, match=r"missing\.toml: the recipe file cannot be read"):
        Recipe.read(tmp_path / "missing.toml")


def test_a_bucket_is_written_to_one_file_and_read_back(tmp_path):
    bucket = (
        Recipe(prompt="auto", label="a"),
        Recipe(control=("canny", "depth"), control_scale=(1, 0.5), start=60),
        Recipe(),
    )
    path = tmp_path / "bucket.toml"
    path.write_text(recipes_to_toml(bucket, "three readings\nof horses"), encoding="utf-8")
    assert read_recipes(path) == bucket
    assert [recipe.label for recipe in read_recipes(path)] == ["a", "", ""]
    assert path.read_text(encoding="utf-8").startswith("# three readings\n# of horses\n\n[[reading]]\n")
    with pytest.raises(BadInput, match=r"bucket\.toml: a bucket of 3 readings where one recipe is wanted"):
        Recipe.read(path)


def test_a_file_of_one_recipe_reads_as_a_bucket_of_one(tmp_path):
    path = tmp_path / "one.toml"
    path.write_text(recipes_to_toml([Recipe(seed=4)], "mine"), encoding="utf-8")
    assert read_recipes(path) == (Recipe(seed=4),) == (Recipe.read(path),)


@pytest.mark.parametrize(
    "text",
    [
        "reading = []",
        "reading = 3",
        "seed = 1\n[[reading]]\nseed = 2",
        "[[reading]]\ncolour = 1",
        "[reading]\nseed = 1",
    ],
)
def test_a_bucket_that_is_none_is_refused_by_name(tmp_path, text):
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"bad\.toml: ") as error:
        read_recipes(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("taps = " + "[" * 3000 + "]" * 3000, "not valid TOML: nested too deeply"),
        ("seed = " + "9" * 6000, "not valid TOML: .*digits"),
        ("seed = 0x" + "f" * 6000, "not valid TOML: a whole number beyond 64 bits"),
        ("lora_scale = 0x" + "f" * 400, "not valid TOML: a whole number beyond 64 bits"),
        ('lora = "a"\nlora_scale = 1e300', "lora_scale=.*give numbers"),
        ('prompt = "' + "x" * 5000, "not valid TOML"),
    ],
)
def test_recipe_files_that_break_parsers_are_refused(text, says, tmp_path):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(BadInput, match=says) as caught:
        read_recipes(tmp_path / "a.toml")
    assert str(caught.value).startswith(f"{tmp_path / 'a.toml'}: ")
