"""Techniques compose in one recipe, share what they share, and leave the model as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import shiftless
from shiftless import BadInput, Recipe

RNG = np.random.default_rng(8)
PICTURES = [RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32", size=64)


@pytest.fixture(scope="module")
def lora(goldens):
    return str(goldens / "tiny-lora" / "pytorch_lora_weights.safetensors")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A diffusers folder on disk, with a ControlNet and a folder of LoRAs in it."""
    from shiftless.backbones.registry import models
    from shiftless.backbones.twin_controls import twin_control
    from shiftless.backbones.twins import save_folder, twin_parts

    folder = tmp_path_factory.mktemp("model")
    parts = twin_parts(models()["sd15"])
    save_folder(parts, folder)
    twin_control(parts["unet"], 8).save_pretrained(folder / "controlnet-canny")
    return folder


def read(model, recipes, pictures=PICTURES[:1], **options):
    return shiftless.extract(model, pictures, recipes, **options)


def test_each_technique_changes_the_reading_and_strength_counts(model, lora):
    base = Recipe(timestep=50)
    steered = [
        base.but(prompt="a horse"),
        base.but(control="canny"),
        base.but(control="canny", control_scale=0.5),
        base.but(lora=lora),
        base.but(lora=lora, lora_scale=0.5),
        base.but(start=90, steps=4),
        base.but(prompt="a horse", control="canny", lora=lora, start=60, steps=2),
    ]
    (bucket,) = read(model, [base, *steered])
    readings = bucket.stack("up1")
    for i in range(len(readings)):
        for j in range(i):
            assert not torch.allclose(readings[i], readings[j], atol=1e-5), (i, j)


def test_no_strength_is_no_steering(model, lora):
    base = Recipe(timestep=50)
    (bucket,) = read(model, [base, base.but(control="canny", control_scale=0), base.but(lora=lora, lora_scale=0)])
    readings = bucket.stack("up1")
    torch.testing.assert_close(readings[1], readings[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(readings[2], readings[0], atol=1e-5, rtol=1e-5)


def test_a_bucket_gives_what_its_recipes_give_alone(model, lora):
    recipes = [
        Recipe(prompt="a cow", control="canny", start=60, steps=2),
        Recipe(prompt="a cow", lora=lora, taps=("up2", "up1")),
        Recipe(control="canny", control_scale=0.7, lora=lora, latent="sample", ensemble=2),
        Recipe(prompt="a cow"),
    ]
    together = read(model, recipes, PICTURES)
    for i, picture in enumerate(PICTURES):
        for k, recipe in enumerate(recipes):
            alone = shiftless.extract(model, picture, recipe)
            for tap in alone:
                torch.testing.assert_close(together[i][k][tap], alone[tap], atol=2e-5, rtol=1e-4)


def test_readings_that_differ_in_taps_share_one_pass(model, monkeypatch):
    sizes, drawn = [], []
    own, control = model.denoise, model.control("canny")
    monkeypatch.setattr(model, "denoise", lambda latent, *a, **k: sizes.append(len(latent)) or own(latent, *a, **k))
    watched = type(control)(control.name, control.net, lambda pixels: drawn.append(1) or control.draw(pixels))
    monkeypatch.setattr(model, "control", lambda name: watched)
    base = Recipe(control="canny")
    recipes = [base.but(taps=("up1",)), base.but(taps=("up2",), label="second"), base.but(seed=1, taps=("up1", "up2"))]
    (bucket,) = read(model, recipes)
    assert [list(reading) for reading in bucket] == [["up1"], ["up2"], ["up1", "up2"]]
    assert sizes == [2]
    assert drawn == [1]


def test_the_model_is_unharmed(model, lora):
    base = Recipe(timestep=50, prompt="a horse")
    before, names = shiftless.extract(model, PICTURES[0], base), [name for name, _ in model.unet.named_modules()]
    shiftless.extract(model, PICTURES[0], base.but(lora=lora, control="canny", start=60))
    bad = [
        base.but(lora=lora.replace("pytorch_lora_weights", "nothing")),
        base.but(control="nets/no-such-canny"),
        base.but(control="depth"),
        base.but(prompt="a {thing}"),
        base.but(prompt="auto"),
        base.but(taps=("up9",)),
    ]
    for recipe in bad:
        with pytest.raises(BadInput) as caught:
            shiftless.extract(model, PICTURES[0], recipe)
        assert "\n" not in str(caught.value)
    after = shiftless.extract(model, PICTURES[0], base)
    assert torch.equal(before["up1"], after["up1"])
    assert names == [name for name, _ in model.unet.named_modules()]


def test_what_a_family_cannot_take_is_refused(model, monkeypatch):
    from dataclasses import replace

    monkeypatch.setattr(model, "spec", replace(model.spec, techniques=("prompt",)))
    for change in ({"control": "canny"}, {"lora": "a"}, {"start": 90}):
        with pytest.raises(BadInput, match="cannot steer a model of the sd family"):
            shiftless.extract(model, PICTURES[0], Recipe(**change))


def test_techniques_compose_on_a_model_from_disk(saved, lora):
    model = shiftless.load(saved, device="cpu", size=64)
    recipe = Recipe(prompt="a photo of a {category}", control="canny", start=60, steps=2, lora=lora)
    recipes = [recipe, recipe.but(control=str(saved / "controlnet-canny")), recipe.but(control=())]
    bucket = shiftless.extract(model, PICTURES[0], recipes, fill={"category": "cow"})
    readings = bucket.stack("up1")
    assert torch.equal(readings[0], readings[1])
    assert not torch.equal(readings[0], readings[2])


def test_the_prompt_that_was_read_is_kept(model, tmp_path):
    maps = shiftless.extract(model, PICTURES[0], Recipe(prompt="a {category}"), fill={"category": "cow"})
    assert maps.prompt == "a cow"
    assert shiftless.FeatureMaps.open(maps.save(tmp_path / "a.safetensors")).prompt == "a cow"


def test_inverted_readings_share_their_walk_and_draw_no_noise(model, monkeypatch):
    recorded = []
    own = model.denoise
    monkeypatch.setattr(model, "denoise", lambda latent, t, *a, **k: recorded.append(t) or own(latent, t, *a, **k))
    base = Recipe(noise="invert", timestep=40, steps=2)
    recipes = [base.but(timestep=80, steps=4), base, base.but(timestep=0, steps=None)]
    together = shiftless.extract(model, PICTURES[:2], recipes)
    assert recorded == [0, 0, 20, 40, 40, 60, 80]
    for i, recipe in enumerate(recipes):
        alone = shiftless.extract(model, PICTURES[1], recipe.but(seed=5))
        torch.testing.assert_close(alone["up1"], together[1][i]["up1"], atol=2e-5, rtol=1e-4)
