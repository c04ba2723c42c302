"""Parity: the library reproduces what DIFT and GDF computed on the same tiny model, to the stated tolerances."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import shiftless
from shiftless import Recipe
from shiftless.image import open_photo
from shiftless.taps.names import from_alias

PROMPT = "a photo of a cat"
GDF = Recipe(timestep=50, prompt=PROMPT, fit="squash", latent="sample", scheduler="pndm-reference")
EXACT, HALF = {"atol": 5e-5, "rtol": 0.0}, {"atol": 2e-3, "rtol": 1e-3}


def features(golden: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("feat."): value for name, value in golden.items() if name.startswith("feat.")}


@pytest.mark.parametrize(
    ("name", "pictures", "tolerance"),
    [
        ("gdf_t50_plain", ["input_128.png"], EXACT),
        ("gdf_t50_batch2", ["input_128.png", "input2_128.png"], HALF),
        ("gdf_t50_180x150", ["input_180x150.png"], HALF),
        ("gdf_t50_practical", ["input_128.png"], HALF),
        ("gdf_t50_layers", ["input_128.png"], HALF),
    ],
)
def test_gdf_features(tiny, goldens, replay, name, pictures, tolerance):
    golden = load_file(goldens / f"{name}.safetensors")
    # gdf_t50_layers shares the inputs of gdf_t50_plain and does not repeat them
    inputs = golden if "noise" in golden else load_file(goldens / "gdf_t50_plain.safetensors")
    images = [goldens / picture for picture in pictures]
    replay(inputs, images)
    wanted = features(golden)
    assert wanted
    read = shiftless.extract(tiny, images, GDF.but(taps=tuple(wanted)))
    for theirs, expected in wanted.items():
        ours = torch.cat([maps[from_alias(theirs)] for maps in read])
        expected = per_head(expected) if theirs.endswith("map") else expected.float()
        torch.testing.assert_close(ours, expected, **tolerance)


def per_head(theirs: torch.Tensor) -> torch.Tensor:
    """GDF's B heads (h w) T -> our B (heads T) h w."""
    b, heads, cells, tokens = theirs.shape
    side = int(cells**0.5)
    return theirs.float().transpose(2, 3).reshape(b, heads * tokens, side, side)


def test_gdf_inputs(tiny, goldens):
    golden = load_file(goldens / "gdf_t50_plain.safetensors")
    pixels = torch.from_numpy(open_photo(goldens / "input_128.png").array.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    clean = tiny.encode_image(pixels, latent="sample", noise=golden["posterior_noise"])
    torch.testing.assert_close(clean, golden["latents"], **EXACT)
    noisy = tiny.schedule.add(clean, golden["noise"], int(golden["noise_timestep"]))
    torch.testing.assert_close(noisy, golden["latents_noisy"], **EXACT)
    torch.testing.assert_close(tiny.encode_prompt([PROMPT]).embeds, golden["prompt_embeds"], atol=5e-5, rtol=0)
    mean = tiny.encode_image(pixels) / tiny.vae.config.scaling_factor
    torch.testing.assert_close(mean, golden["moments"][:, :4], **EXACT)


@pytest.mark.parametrize(("name", "prefix"), [("gdf_t50_attn_upcross", "attn."), ("gdf_t50_attn_all_native", "")])
def test_gdf_attention_maps(tiny, goldens, replay, name, prefix):
    golden = load_file(goldens / f"{name}.safetensors")
    image = goldens / "input_128.png"
    replay(golden, [image])
    wanted = {}
    for key, expected in golden.items():
        if key.startswith(prefix) and "_" in key and "noise" not in key and "unet" not in key:
            part, grid = key.removeprefix(prefix).split(".")
            wanted[f"{part.replace('_', '.')}.map.s{128 // int(grid)}"] = expected
    assert len(wanted) == (2 if prefix else 8)
    read = shiftless.extract(tiny, image, GDF.but(taps=tuple(wanted)))
    for tap, expected in wanted.items():
        torch.testing.assert_close(read[tap], expected, atol=1e-5, rtol=0, msg=lambda m, tap=tap: f"{tap}: {m}")


def test_dift_features(tiny, goldens, replay):
    golden = load_file(goldens / "dift_t261.safetensors")
    image = goldens / "input_128.png"
    replay(golden, [image], members=2)
    taps = tuple(f"up_ft_index={i}" for i in range(4))
    recipe = Recipe(timestep=261, taps=taps, prompt=PROMPT, ensemble=2, fit="squash", latent="sample")
    read = shiftless.extract(tiny, image, recipe)
    for i in range(4):
        torch.testing.assert_close(read[f"up{i}"], golden[f"up_ft{i}"], **EXACT)
    empty = shiftless.extract(tiny, image, recipe.but(prompt="", taps=("up1",)))
    torch.testing.assert_close(empty["up1"], golden["null_prompt_up_ft1"], **EXACT)


def test_dift_members_and_prompts(tiny, goldens):
    golden = load_file(goldens / "dift_t261.safetensors")
    for prompt, name in ((PROMPT, "prompt_embeds"), ("", "null_prompt_embeds")):
        torch.testing.assert_close(tiny.encode_prompt([prompt]).embeds, golden[name], **EXACT)
    taps = [tap for tap in tiny.taps if tap.name == "up0"]
    condition = tiny.encode_prompt([PROMPT, PROMPT])
    maps = tiny.denoise(golden["latents_noisy"], 261, condition, taps).maps
    torch.testing.assert_close(maps["up0"], golden["up_ft0_members"], **EXACT)


def test_token_ids(tiny, goldens):
    from shiftless.conditions.prompt import token_windows

    for prompt, expected in json.loads((goldens / "tokens.json").read_text()).items():
        assert token_windows(tiny.tokenizer, prompt) == [expected], prompt


def test_every_gdf_hook_has_a_tap_of_its_shape(tiny, goldens):
    shapes = json.loads((goldens / "gdf_layer_shapes.json").read_text())
    image = np.zeros((128, 128, 3), np.uint8)
    read = shiftless.extract(tiny, image, GDF.but(taps=tuple(shapes)))
    assert len(shapes) == 194
    for theirs, shape in shapes.items():
        ours = tuple(read[from_alias(theirs)].shape)
        b, c, h, w = ours
        assert list(ours) == shape or [b, 8, h * w, c // 8] == shape, theirs
