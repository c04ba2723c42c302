"""Parity of steered readings: ControlNet, the walk from a noisier timestep, LoRA and their attention maps."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

import shiftless
from shiftless import Recipe
from shiftless.backbones.walk import _pndm, reference_walk
from shiftless.conditions.condition import Condition, Steer
from shiftless.conditions.control_maps import canny
from shiftless.conditions.unet_residuals import residuals
from shiftless.image import Frame, open_photo, to_pixels
from shiftless.taps.names import from_alias

PROMPT = "a photo of a cat"
FINE = "a photo of a cat, high quality"
GDF = Recipe(timestep=50, prompt=PROMPT, fit="squash", latent="sample", scheduler="pndm-reference")
WALK, HALF = {"atol": 1e-4, "rtol": 0.0}, {"atol": 2e-3, "rtol": 1e-3}


@pytest.fixture(scope="module")
def net(goldens):
    return f"canny={goldens / 'tiny-controlnet-canny'}"


def test_edges_are_those_the_reference_saw(goldens):
    photo = open_photo(goldens / "input_128.png")
    edges = canny(to_pixels(photo, Frame(photo.hw, photo.hw)))
    expected = open_photo(goldens / "canny_128.png").array
    assert (edges[0].permute(1, 2, 0).numpy() * 255 == expected).all()
    assert 0.01 < edges.mean() < 0.5


@pytest.mark.parametrize(
    ("name", "pictures", "start", "tolerance"),
    [
        ("gdf_t50_canny", ["input_128.png"], None, HALF),
        ("gdf_t50_canny_from60", ["input_128.png"], 60, WALK),
        ("gdf_t50_canny_from60_batch2", ["input_128.png", "input2_128.png"], 60, HALF),
    ],
)
def test_features_with_a_controlnet(tiny, goldens, replay, net, name, pictures, start, tolerance):
    golden = load_file(goldens / f"{name}.safetensors")
    images = [goldens / picture for picture in pictures]
    replay(golden, images)
    wanted = {key.removeprefix("feat."): value for key, value in golden.items() if key.startswith("feat.")}
    read = shiftless.extract(tiny, images, GDF.but(control=net, start=start, taps=tuple(wanted)))
    for theirs, expected in wanted.items():
        ours = torch.cat([maps[from_alias(theirs)] for maps in read])
        torch.testing.assert_close(ours, expected.float(), **tolerance)


def test_every_step_of_the_reference_walk(tiny, goldens, net):
    golden = load_file(goldens / "gdf_t50_canny_from60.safetensors")
    photo = open_photo(goldens / "input_128.png")
    control = tiny.control(net)
    text = tiny.encode_prompt([PROMPT])
    image = control.draw(to_pixels(photo, Frame(photo.hw, photo.hw)))
    condition = Condition(text.embeds, text.words, {}, (Steer(control.net, image),))
    noisy = tiny.schedule.add(golden["latents"], golden["noise"], int(golden["noise_timestep"]))
    torch.testing.assert_close(noisy, golden["latents_noisy"], **WALK)
    scheduler, latent = _pndm(tiny.schedule), noisy
    for t, expected in zip(golden["unet_timesteps"][:-1].tolist(), golden["denoise_latents"], strict=True):
        prediction = tiny.denoise(latent, t, condition).prediction
        latent = scheduler.step(prediction, t, latent, return_dict=False)[0]
        torch.testing.assert_close(latent, expected, **WALK)
    arrived = reference_walk(tiny, noisy, 60, 50, condition)
    torch.testing.assert_close(arrived, golden["unet_in"], **WALK)
    last = residuals(condition.steers, arrived, int(golden["unet_timesteps"][-1]), text.embeds)
    torch.testing.assert_close(last["mid_block_additional_residual"], golden["cn_mid"], **WALK)
    torch.testing.assert_close(last["down_block_additional_residuals"][11], golden["cn_down11"], **WALK)


def test_the_attention_recipe_of_gate(tiny, goldens, replay, net):
    golden = load_file(goldens / "gdf_t50_gate_attn.safetensors")
    image = goldens / "input_128.png"
    replay(golden, [image])
    torch.testing.assert_close(tiny.encode_prompt([FINE]).embeds.shape, golden["prompt_embeds"].shape)
    maps = {f"up.cross.map.s{128 // grid}": golden[f"attn.up_cross.{grid}"] for grid in (4, 8)}
    features = {key.removeprefix("feat."): value for key, value in golden.items() if key.startswith("feat.")}
    lora = str(goldens / "tiny-lora" / "pytorch_lora_weights.safetensors")
    recipe = GDF.but(prompt=FINE, control=net, start=60, lora=lora, taps=(*maps, *features))
    read = shiftless.extract(tiny, image, recipe)
    for tap, expected in maps.items():
        torch.testing.assert_close(read[tap], expected, atol=1e-5, rtol=0)
    for theirs, expected in features.items():
        torch.testing.assert_close(read[from_alias(theirs)], expected.float(), **HALF)
    with tiny.adapted(((lora, 1.0),)):
        torch.testing.assert_close(tiny.encode_prompt([FINE]).embeds, golden["prompt_embeds"], atol=5e-5, rtol=0)
