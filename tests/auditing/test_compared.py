"""What is compared with what: every steered reading meets the bare one at its noise, once, under names of their own."""

from __future__ import annotations

import pytest

from shiftless import Recipe, preset
from shiftless.auditing.compared import bare, compared, describe, is_bare, named

BASE = Recipe(timestep=300, taps=("up0",), prompt="a photo")


def test_a_bare_reading_that_is_given_is_the_baseline_and_none_is_added():
    recipes = [BASE.but(control="canny"), BASE, BASE.but(prompt="auto", seed=3)]
    result, baselines = compared(recipes)
    assert [r.but(label="") for r in result] == recipes
    assert baselines == (1, 1, 1)


def test_what_lacks_a_baseline_gets_one_at_each_timestep():
    recipes = [BASE.but(control="canny"), BASE.but(timestep=100, control="canny"), BASE.but(lora="a.safetensors")]
    result, baselines = compared(recipes)
    assert [(r.timestep, r.control, r.lora, r.prompt) for r in result[:2]] == [(300, (), (), ""), (100, (), (), "")]
    assert baselines == (0, 1, 0, 1, 0)


def test_readings_at_other_places_or_of_another_size_are_not_compared():
    result, baselines = compared([BASE, BASE.but(control="canny", taps=("up1",)), BASE.but(control="canny", size=64)])
    assert len(result) == 5
    assert all(result[b].taps == r.taps and result[b].size == r.size for r, b in zip(result, baselines))


@pytest.mark.parametrize("name", ["gate-spair", "gate-ade20k", "hyperfeatures", "dift-spair"])
def test_published_buckets_are_compared_with_bare_readings_of_their_own_noise(name):
    result, baselines = compared(preset(name).recipes)
    assert len({r.label for r in result}) == len(result)
    for recipe, b in zip(result, baselines):
        assert is_bare(result[b])
        assert (result[b].timestep, result[b].noise) == (recipe.timestep, recipe.noise)


def test_a_long_prompt_steers_even_without_fields():
    assert is_bare(BASE)
    assert not is_bare(BASE.but(prompt="a photo of a tidy and well-designed bedroom"))


def test_bare_takes_away_all_that_steers_and_nothing_else():
    recipe = BASE.but(
        seed=4, ensemble=2, size=64, control="canny", lora="a", start=340, steps=2, captioner="blip", fit="squash"
    )
    assert bare(recipe) == BASE.but(prompt="", seed=4, ensemble=2, size=64, fit="squash")
    inverted = Recipe(timestep=100, noise="invert", steps=10, prompt="a red cow")
    assert bare(inverted) == inverted.but(prompt="")


def test_names_say_what_recipes_do_and_never_repeat():
    recipes = [
        BASE,
        BASE.but(seed=1),
        BASE.but(seed=1, taps=("up1",)),
        BASE.but(control=("canny", "depth"), control_scale=(1, 0.5)),
    ]
    labels = [r.label for r in named([*recipes, BASE.but(fit="squash")])]
    assert len(set(labels)) == 5
    assert labels[3] == 't=300 "a photo", canny, depth x0.5'
    assert "seed 1" in labels[1]
    assert describe(BASE.but(prompt="auto", start=340, steps=2)) == "t=300 from 340, captions"
