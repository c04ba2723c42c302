"""A reading without noise, of the latent without its factor, as VPD takes it; and maps over both sides of a U-Net."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import shiftless
from shiftless.backbones.registry import load
from shiftless.errors import BadInput
from shiftless.image import Frame, open_photo, to_pixels
from shiftless.reading.counted import calls
from shiftless.recipe import Recipe

CLEAN = Recipe(timestep=1, taps=("up1",), noise="none", latent="unscaled", size=64)


@pytest.fixture(scope="module")
def model():
    return load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def photo():
    return open_photo(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def test_it_is_plain_diffusers_on_the_mode_of_the_posterior(model, photo):
    pixels = to_pixels(photo, Frame(photo.hw, (64, 64)))
    kept = []
    handle = model.unet.up_blocks[1].register_forward_hook(lambda *call: kept.append(call[2]))
    with torch.no_grad():
        latent = model.vae.encode(pixels).latent_dist.mode()
        model.unet(latent, 1, model.encode_prompt([""]).embeds)
    handle.remove()
    assert model.vae.config.scaling_factor != 1
    torch.testing.assert_close(shiftless.extract(model, photo, CLEAN)["up1"], kept[0])


def test_it_stands_beside_other_readings_and_the_seed_changes_nothing(model, photo):
    recipes = [CLEAN, CLEAN.but(latent="mean"), CLEAN.but(seed=3), CLEAN.but(noise="draw")]
    bucket = shiftless.extract(model, photo, recipes)
    alone = shiftless.extract(model, photo, CLEAN)["up1"]
    assert torch.allclose(bucket[0]["up1"], alone, atol=1e-5)
    assert torch.equal(bucket[0]["up1"], bucket[2]["up1"])
    assert not torch.allclose(bucket[0]["up1"], bucket[1]["up1"], atol=1e-3)
    assert not torch.equal(bucket[0]["up1"], bucket[3]["up1"])
    assert calls(recipes, model.spec) == 3


def test_a_map_over_both_sides_is_the_mean_over_the_layers_of_one_size(model, photo):
    taps = ["both.cross.map.s16"]
    members = next(tap for tap in model.taps if tap.name == taps[0]).members
    assert {name.split(".")[0] for name in members} == {"down1", "up2"}
    maps = shiftless.extract(model, photo, CLEAN.but(taps=(*taps, *members)))
    each = torch.stack([maps[name] for name in members])
    torch.testing.assert_close(maps[taps[0]], each.mean(0))


def test_what_cannot_be_is_one_line(model, photo):
    with pytest.raises(BadInput, match="noise='none': takes no start"):
        Recipe(noise="none", start=60)
    with pytest.raises(BadInput, match="latent='unscaled' is for Stable Diffusion"):
        shiftless.extract("twin:sana", photo, Recipe(taps=("block1",), latent="unscaled", size=64))
    with pytest.raises(BadInput, match="nothing is predicted; leave both out here"):
        shiftless.audit(model, [photo], [CLEAN])
