"""The cost that is said is the number of denoiser calls that are made: counted on a model, recipe by recipe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import shiftless
from shiftless import Recipe, preset
from shiftless.auditing import observation
from shiftless.auditing.audit import audit
from shiftless.auditing.cost import audit_calls, cost
from shiftless.auditing.observation import planned
from shiftless.backbones.base import Reading
from shiftless.reading.counted import calls

PICTURES = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(2)]
INVERTED = [Recipe(timestep=t, noise="invert", steps=t // 20 or None, size=64) for t in (0, 100, 200, 300, 980)]
RECIPES = {
    "one draw": [Recipe(size=64)],
    "ensemble": [Recipe(size=64, ensemble=3)],
    "a draw that an ensemble holds": [Recipe(size=64), Recipe(size=64, ensemble=3), Recipe(size=64, seed=1)],
    "walk": [Recipe(size=64, start=60)],
    "walk in two strides, three draws": [Recipe(size=64, timestep=300, start=340, steps=2, ensemble=3)],
    "walk of the reference codes": [Recipe(size=64, timestep=50, start=55, scheduler="pndm-reference")],
    "walk of the reference codes from the top": [Recipe(size=64, timestep=996, start=999, scheduler="pndm-reference")],
    "reference without a walk": [Recipe(size=64, timestep=999, scheduler="pndm-reference")],
    "inversion": [Recipe(size=64, timestep=100, noise="invert", steps=10)],
    "inversion one by one": [Recipe(size=64, timestep=7, noise="invert")],
    "the same inversion told twice": [
        Recipe(size=64, timestep=6, noise="invert"), Recipe(size=64, timestep=6, noise="invert", steps=6)
    ],
    "inversions of one stride": INVERTED[::-1],
    "inversions of two strides": [*INVERTED, Recipe(timestep=200, noise="invert", steps=4, size=64)],
    "inversions that begin apart": [
        Recipe(size=64, timestep=40, noise="invert", steps=2),
        *(Recipe(size=64, timestep=80, noise="invert", steps=4, prompt=prompt) for prompt in ("", "a cow")),
    ],
    "inversion whose strides do not meet": [
        Recipe(size=64, timestep=t, noise="invert", steps=steps) for t, steps in ((30, 3), (45, 3), (50, 5))
    ],
    "taps and labels": [Recipe(size=64, taps=(tap,), label=tap) for tap in ("up1", "up2", "up1")],
    "prompts": [Recipe(size=64, prompt=prompt) for prompt in ("", "a cow", "a red cow in the snow")],
    "sampled latents": [Recipe(size=64, latent="sample", ensemble=2), Recipe(size=64, seed=3)],
    "ControlNet": [Recipe(size=64, control="canny", start=60, steps=2), Recipe(size=64)],
}  # fmt: skip


@pytest.fixture(scope="module")
def twin():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture
def counted(twin, monkeypatch):
    """A model that counts the noisy latents its denoiser is given: model, and a list of one number a call.

    What the denoiser would answer is of no account here: its maps are noise, and what it predicts is the latent.
    """
    made: list[int] = []

    def counting(latent, timestep, condition, taps=(), *, full=False):
        made.append(len(latent))
        assert twin.schedule.check(timestep) == timestep
        assert len(condition.embeds) == len(latent)
        maps = {tap.name: torch.rand(len(latent), tap.channels, 64 // tap.stride, 64 // tap.stride) for tap in taps}
        return Reading(maps, None if taps and not full else latent)

    monkeypatch.setattr(twin, "denoise", counting)
    return twin, made


@pytest.mark.parametrize("recipes", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("batch", [1, 8])
def test_reading_makes_the_calls_that_are_said(counted, recipes, batch):
    model, made = counted
    shiftless.extract(model, PICTURES, recipes, batch=batch)
    assert sum(made) == len(PICTURES) * calls(recipes)


def test_recipes_of_several_kinds_together_make_the_calls_that_are_said(counted):
    model, made = counted
    kinds = list(RECIPES.values())
    every = [one for kind in kinds for one in kind]
    for some in (every, *(kinds[i] + kinds[i + 1] for i in range(0, len(kinds) - 1, 3))):
        made.clear()
        shiftless.extract(model, PICTURES[0], some)
        assert sum(made) == calls(some)


def test_the_inversion_of_hyperfeatures_is_walked_once_and_not_once_a_timestep(counted):
    model, made = counted
    recipes = [one.but(size=64) for one in preset("hyperfeatures").recipes]
    shiftless.extract(model, PICTURES[0], recipes)
    assert sum(made) == cost(recipes) == 60


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("finish", [0, 4, 8])
def test_an_audit_makes_the_calls_that_are_said(counted, monkeypatch, draws, finish):
    model, made = counted
    monkeypatch.setattr(observation, "FixedBatch", lambda model: model)  # no copies
    recipes = [
        Recipe(size=64, timestep=5), Recipe(size=64, timestep=5, taps=("up2",)), Recipe(size=64, timestep=300, seed=1),
        Recipe(size=64, timestep=300, ensemble=2, prompt="a cow"), Recipe(size=64, timestep=300, start=320, steps=2),
        Recipe(size=64, timestep=200, noise="invert", steps=5), Recipe(size=64, timestep=3, scheduler="pndm-reference"),
    ]  # fmt: skip
    result = audit(model, PICTURES, recipes, draws=draws, finish=finish)
    assert sum(made) == len(PICTURES) * audit_calls(*planned(result.recipes, draws, finish))


def test_a_t2i_adapter_costs_less_than_a_controlnet():
    walk = Recipe(start=60, steps=2)
    assert cost([walk.but(control="t2i-canny")]) == pytest.approx(3 * 1.1)
    assert cost([walk.but(control=("canny", "depth=TencentARC/t2iadapter_depth_sd15v2"))]) == pytest.approx(3 * 1.6)
