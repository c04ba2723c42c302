"""What extract and stream take and give: models by name, default recipes, images in every form, dtypes."""

from __future__ import annotations

import inspect
import sys
import typing

import numpy as np
import pytest
import torch
from PIL import Image

import shiftless
from shiftless import BadInput, Recipe
from shiftless.presets import default_recipe
from shiftless.reading import extract, stream

PICTURES = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(3)]


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def half():
    return shiftless.load("twin:sd15", device="cpu", dtype="bf16")


def same(result, expected):
    """Equal to float32 rounding: the pictures stand in other batches."""
    assert isinstance(result, list)
    assert len(result) == len(expected)
    for a, b in zip(result, expected):
        torch.testing.assert_close(a["up1"], b["up1"], atol=1e-5, rtol=1e-4)


def test_several_images_come_in_many_forms(model):
    expected = [extract(model, picture) for picture in PICTURES]
    signed = torch.from_numpy(np.stack(PICTURES)).permute(0, 3, 1, 2).float() / 127.5 - 1
    same(extract(model, PICTURES), expected)
    same(extract(model, tuple(PICTURES)), expected)
    same(extract(model, (picture for picture in PICTURES)), expected)
    same(extract(model, map(Image.fromarray, PICTURES)), expected)
    same(extract(model, np.stack(PICTURES)), expected)
    same(extract(model, signed), expected)
    same(list(stream(model, np.stack(PICTURES))), expected)


def test_a_batch_of_one_is_still_several(model):
    assert len(extract(model, np.stack(PICTURES[:1]))) == 1
    assert len(extract(model, torch.zeros(1, 3, 64, 64))) == 1
    assert extract(model, np.zeros((0, 64, 64, 3), np.uint8)) == []
    assert isinstance(extract(model, torch.zeros(3, 64, 64)), shiftless.FeatureMaps)


def test_stream_takes_one_image_too(model, tmp_path):
    Image.fromarray(PICTURES[0]).save(tmp_path / "a.png")
    (one,) = stream(model, tmp_path / "a.png")
    (other,) = stream(model, str(tmp_path / "a.png"))  # a text is a path, not a list of letters
    assert torch.equal(one["up1"], other["up1"])


@pytest.mark.parametrize("images", [3, None, {"a": 1}, np.zeros((2, 2, 64, 64, 3), np.uint8)], ids=str)
def test_what_is_no_image_is_refused(model, images):
    with pytest.raises(BadInput, match="give"):
        extract(model, images)


def test_without_a_recipe_the_model_s_own_is_taken(model):
    assert extract(model, PICTURES[0]).recipe == default_recipe("sd15") == Recipe(timestep=50, taps=("up1", "up2"))
    assert extract("mini", PICTURES[0]).recipe == default_recipe("mini") == Recipe(timestep=100, taps=("up0",))


def test_a_name_stands_for_a_model():
    named = extract("mini", PICTURES[0], Recipe(taps=("up0",)))
    loaded = extract(shiftless.load("mini"), PICTURES[0], Recipe(taps=("up0",)))
    assert torch.equal(named["up0"], loaded["up0"])
    with pytest.raises(BadInput, match="no such model"):
        extract("no-such-model", PICTURES[0])


def test_maps_come_out_in_float32_that_numpy_takes(half):
    recipes = [Recipe(), Recipe(ensemble=2)]
    plain, drawn = extract(half, PICTURES[0], recipes)
    assert plain["up1"].numpy().dtype == np.float32
    computed = extract(half, PICTURES[0], recipes, dtype=None)
    assert computed[0]["up1"].dtype == torch.bfloat16
    assert torch.equal(plain["up1"], computed[0]["up1"].float())  # the same numbers
    assert torch.equal(drawn["up1"], computed[1]["up1"])  # a mean of several draws is taken in float32
    for dtype, expected in (("bf16", torch.bfloat16), ("fp16", torch.float16), (torch.float64, torch.float64)):
        assert {maps["up1"].dtype for maps in extract(half, PICTURES[0], recipes, dtype=dtype)} == {expected}


@pytest.mark.parametrize("dtype", ["fp8", "auto", torch.int8, 32])
def test_an_unknown_dtype_is_refused_before_anything_is_read(dtype):
    with pytest.raises(BadInput, match=r"dtype=.*: must be fp32, bf16, fp16"):
        stream("no-such-model", PICTURES, dtype=dtype)


@pytest.mark.parametrize("recipes", ["dift-spair", shiftless.preset("gate-spair"), [Recipe(), "up1"], 3], ids=repr)
def test_what_is_no_recipe_is_refused(model, recipes):
    with pytest.raises(BadInput, match=r"is not a Recipe.*preset\(NAME\)\.recipes"):
        extract(model, PICTURES[0], recipes)


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (Recipe(lora=("none.safetensors",)), "none.safetensors"),
        (Recipe(control=("depth",)), "no such ControlNet"),
        (Recipe(taps=("upp1",)), "upp1"),
    ],
)
def test_what_is_missing_is_said_before_the_first_image_is_asked_for(model, recipe, says):
    requested = []

    def photos():
        requested.append(1)
        yield PICTURES[0]

    with pytest.raises(BadInput, match=says):
        stream(model, photos(), [Recipe(), recipe])
    assert requested == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="typing tells of overloads from Python 3.11 on")
def test_types_say_what_comes_out():
    def gives(function):
        return [inspect.signature(one).return_annotation for one in typing.get_overloads(function)]

    assert gives(extract) == ["FeatureMaps", "Bucket", "list[FeatureMaps]", "list[Bucket]", "Any"]
    assert gives(stream) == ["Iterator[FeatureMaps]", "Iterator[Bucket]"]
