"""Advice: it takes what helps, leaves what misleads, keeps to the cost, and is honest about what it knows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shiftless import BadInput, Recipe
from shiftless.auditing.cost import cost
from shiftless.auditing.similarities import Similarities
from shiftless.auditing.suggest import suggest
from shiftless.metrics.content_shift import features
from shiftless.reading import extract
from shiftless.recipe import read_recipes

USUAL = Recipe(timestep=100, taps=("up1",))


def dream(picture: torch.Tensor, prompt: str) -> torch.Tensor:
    """Mix a false picture in: less of it for a helpful prompt, more for a misleading one."""
    share = {"": 0.5, "helpful": 0.1, "misleading": 0.9}[prompt]
    return (1 - share) * picture + share * picture.flip(-1)


@pytest.fixture
def pictures(disc):
    return [np.roll(disc, (3 * i, 5 * i), axis=(0, 1)) for i in range(8)]


def test_what_helps_is_taken_and_what_misleads_is_left(dreaming, pictures):
    recipes = [USUAL, USUAL.but(prompt="helpful"), USUAL.but(prompt="misleading")]
    suggestion = suggest(dreaming(dream), pictures, recipes, USUAL, limit=1)
    assert [recipe.prompt for recipe in suggestion.recipes] == ["helpful"]
    assert suggestion.cost == 1
    assert suggestion.saved.low > 0
    assert suggestion.better == 1
    assert (suggestion.chosen_on, suggestion.measured_on) == (4, 4)
    assert "lies above zero" in suggestion.lines()[-1]


def test_what_is_expected_is_what_the_other_photos_give(dreaming, pictures):
    model = dreaming(dream)
    suggestion = suggest(model, pictures, [USUAL, USUAL.but(prompt="helpful")], USUAL, limit=1)
    ours, clean = (
        [extract(model, picture, recipe)["up1"] for picture in pictures[1::2]]
        for recipe in (suggestion.recipes[0], suggestion.recipes[0].but(timestep=20))
    )
    expected = np.mean([features(a, b).value for a, b in zip(ours, clean)])
    assert suggestion.shift.value == pytest.approx(expected, abs=1e-5)


def test_as_much_noise_as_steering_affords(dreaming, pictures):
    """At t=300 the helpful reading shifts less than the usual one at t=100, so the noise can be kept."""
    recipes = [USUAL.but(timestep=t, prompt=p) for t in (100, 300) for p in ("", "helpful")]
    suggestion = suggest(dreaming(dream), pictures, recipes, USUAL, limit=1)
    assert [(recipe.timestep, recipe.prompt) for recipe in suggestion.recipes] == [(300, "helpful")]
    assert suggestion.too_noisy == ()

    without = suggest(dreaming(dream), pictures, [USUAL, USUAL.but(timestep=300, prompt="misleading")], USUAL, limit=1)
    assert [recipe.timestep for recipe in without.recipes] == [100]
    assert without.too_noisy == (300,)


def test_noise_draws_are_averaged_while_that_pays_and_the_cost_allows(dreaming, pictures):
    noisy = dreaming(dream, 0.4)
    one, two = (suggest(noisy, pictures, [USUAL], USUAL, limit=limit) for limit in (1, 2))
    assert (one.cost, two.cost) == (1, 2)
    assert sorted(recipe.label for recipe in two.recipes) == ["t=100", "t=100 seed 1"]
    assert two.path[1] < two.path[0]
    assert two.saved.low > 0


def test_the_file_is_a_bucket_with_its_advice_above(dreaming, pictures, tmp_path):
    suggestion = suggest(dreaming(dream, 0.4), pictures, [USUAL, USUAL.but(prompt="helpful")], USUAL, limit=3)
    (tmp_path / "mine.toml").write_text(suggestion.to_toml(), encoding="utf-8")
    assert read_recipes(tmp_path / "mine.toml") == suggestion.recipes
    assert len(suggestion.recipes) > 1
    assert suggestion.to_toml().startswith("# suggested by shiftless audit\n# a bucket of ")
    assert all(line in suggestion.to_toml() for line in suggestion.lines())


def test_one_photo_tells_nothing_of_others_and_it_says_so(dreaming, pictures):
    suggestion = suggest(dreaming(dream), pictures[:1], [USUAL, USUAL.but(prompt="helpful")], USUAL, limit=1)
    assert (suggestion.chosen_on, suggestion.measured_on) == (0, 1)
    assert "not at all, it was chosen and measured on the same photo" in suggestion.lines()[-1]


@pytest.mark.parametrize(("given", "choose", "rest"), [(2, 1, 1), (3, 2, 1), (16, 8, 8), (17, 9, 8), (33, 17, 16)])
def test_every_photo_takes_part_and_half_of_them_choose(dreaming, disc, given, choose, rest):
    pictures = [np.roll(disc, i, axis=0) for i in range(given)]
    suggestion = suggest(dreaming(dream), pictures, [USUAL, USUAL.but(prompt="helpful")], USUAL, limit=1)
    assert (suggestion.chosen_on, suggestion.measured_on) == (choose, rest)
    photos = "1 photo" if rest == 1 else f"{rest} photos"
    assert f"measured on {photos}; {choose} others chose" in suggestion.lines()


def test_a_cost_below_every_reading_is_refused(dreaming, pictures):
    with pytest.raises(BadInput, match=r"cost 1: no reading is that cheap; the cheapest takes 3"):
        suggest(dreaming(dream), pictures, [USUAL.but(ensemble=3)], USUAL, limit=1)
    with pytest.raises(BadInput, match="no photo could be read"):
        suggest(dreaming(dream), ["gone.jpg"], [USUAL], USUAL)


@pytest.mark.parametrize(
    ("recipe", "calls"),
    [
        (Recipe(), 1),
        (Recipe(ensemble=8), 8),
        (Recipe(start=60), 11),
        (Recipe(start=60, steps=2), 3),
        (Recipe(control=("canny", "depth")), 2),
        (Recipe(control="canny", start=60, steps=1, ensemble=2), 6),
        (Recipe(noise="invert", timestep=100, steps=10), 11),
        (Recipe(prompt="auto", lora="a.safetensors"), 1),
    ],
)
def test_costs_by_hand(recipe, calls):
    assert cost([recipe]) == calls
    assert cost([recipe, recipe.but(taps=("up2",)), recipe.but(seed=1)]) == 2 * calls


def test_a_bucket_resembles_itself_as_its_joined_maps_do(dreaming, pictures):
    """Joining unit maps channel by channel gives the mean of their self-similarities."""
    model = dreaming(dream, 0.3)
    options = [USUAL, USUAL.but(seed=1), USUAL.but(prompt="helpful")]
    shifts = Similarities(model, pictures[:2], options, cleanest=20).shifts([0, 1, 2])
    for picture, shift in zip(pictures, shifts):
        joined = [
            torch.cat(
                [torch.nn.functional.normalize(maps["up1"].double(), dim=1) for maps in extract(model, picture, some)],
                1,
            )
            for some in (options, [one.but(timestep=20, seed=0) for one in options])
        ]
        assert shift == pytest.approx(features(*joined).value, abs=1e-4)
