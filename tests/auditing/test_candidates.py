"""Candidates: bare and steered readings at every timestep asked for, from what the model has at hand."""

from __future__ import annotations

import pytest

import shiftless
from shiftless import BadInput, Recipe
from shiftless.auditing.candidates import candidates
from shiftless.auditing.compared import is_bare

AT = Recipe(timestep=100, taps=("up0",), seed=3)


@pytest.fixture(scope="module")
def mini():
    return shiftless.load("mini", device="cpu")


def test_the_mini_has_captions_edges_and_looks_at_hand(mini):
    result = candidates(mini, AT, timesteps=(100, 300))
    here = [recipe for recipe in result if recipe.timestep == 300]
    assert len(result) == 2 * len(here)
    assert is_bare(here[0])
    assert {recipe.prompt for recipe in here} == {"", "auto"}
    assert ("canny",) in {recipe.control for recipe in here}
    assert {("photo-a",), ("embroidery-a",)} <= {recipe.lora for recipe in here}
    together = here[-1]
    assert together.prompt == "auto"
    assert together.control
    assert not together.lora  # those at hand are of two looks
    assert candidates(mini, AT, prompts=["auto"], loras=["photo-a", "photo-b"])[-1].lora == ("photo-a",)
    assert {(recipe.taps, recipe.seed) for recipe in result} == {(("up0",), 3)}


def test_only_what_is_asked_for_is_tried(mini):
    result = candidates(mini, AT, controls=["canny"])
    assert [(recipe.prompt, recipe.control, recipe.lora) for recipe in result] == [("", (), ()), ("", ("canny",), ())]


def test_a_model_without_anything_at_hand_is_read_bare():
    twin = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    result = candidates(twin, AT, prompts=["a brown horse in a field"])
    assert len(result) == 2
    assert is_bare(result[0])


def test_controls_of_one_kind_of_map_are_not_put_together_unless_they_are_named():
    twin = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    result = candidates(twin, AT)
    assert {("canny",), ("t2i-canny",)} <= {recipe.control for recipe in result}
    assert (result[-1].control, result[-1].image_prompt) == (("canny",), ("ip-adapter",))
    assert candidates(twin, AT, controls=["t2i-canny", "canny"])[-1].control == ("t2i-canny", "canny")


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"loras": ["nowhere.safetensors"]}, "nowhere.safetensors: no such LoRA"),
        ({"controls": ["depth"]}, "depth"),
        ({"controls": ["canny=nowhere"]}, "nowhere"),
    ],
)
def test_what_is_not_at_hand_is_said_in_one_line(mini, requested, message):
    with pytest.raises(BadInput, match=message) as error:
        candidates(mini, AT, **requested)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "requested", "technique"),
    [
        ("flux-dev", {"image_prompts": ["ip-adapter"]}, "image_prompt"),
        ("pixart-alpha", {"controls": ["canny"]}, "control"),
        ("ddpm-bedroom", {"prompts": ["auto"]}, "prompt"),
    ],
)
def test_what_the_family_does_not_take_is_not_looked_for(name, requested, technique):
    model = shiftless.load(f"twin:{name}", device="cpu", dtype="fp32")
    with pytest.raises(BadInput, match=f"{technique} cannot steer a model of the"):
        candidates(model, AT.but(taps=(model.taps[-1].name,)), **requested)


def test_captions_without_a_captioner_are_refused():
    with pytest.raises(BadInput, match="captioner"):
        candidates(shiftless.load("twin:sd15", device="cpu", dtype="fp32"), AT, prompts=["auto"])


@pytest.mark.parametrize("tried", [{}, {"controls": ["canny"]}, {"prompts": ["a cow"], "loras": ["photo-a"]}], ids=str)
def test_a_misspelt_tap_is_named_with_its_nearest_names(mini, tried):
    with pytest.raises(BadInput, match=r"mini has no tap 'upp0'; nearest: up0") as error:
        candidates(mini, AT.but(taps=("upp0",)), **tried)
    assert "LoRA" not in str(error.value)
