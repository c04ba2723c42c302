"""Parity: readings with LoRAs in place are what GDF computed on the same tiny model, to the stated tolerances."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

import shiftless
from shiftless.conditions.lora import adapted
from shiftless.image import open_photo
from shiftless.taps.names import from_alias

PROMPT = "a photo of a cat"


@pytest.mark.parametrize(
    ("golden", "file", "tolerance"),
    [
        ("gdf_t50_lora", "pytorch_lora_weights.safetensors", {"atol": 5e-5, "rtol": 0.0}),
        ("gdf_t50_lora_kohya", "kohya_lora.safetensors", {"atol": 2e-3, "rtol": 1e-3}),
    ],
)
def test_gdf_features_with_a_lora(goldens, golden, file, tolerance):
    model = shiftless.load(goldens / "tiny-sd", device="cpu", dtype="fp32")
    saved = load_file(goldens / f"{golden}.safetensors")
    pixels = torch.from_numpy(open_photo(goldens / "input_128.png").array.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    clean = model.encode_image(pixels, latent="sample", noise=saved["posterior_noise"])
    noisy = model.schedule.add(clean, saved["noise"], int(saved["noise_timestep"]))
    wanted = {from_alias(name.removeprefix("feat.")): value for name, value in saved.items() if "feat." in name}
    taps = [tap for tap in model.taps if tap.name in wanted]
    assert len(taps) == len(wanted) == 3
    with adapted({"unet": model.unet, "text_encoder": model.text_encoder}, [(str(goldens / "tiny-lora" / file), 1.0)]):
        maps = model.denoise(noisy, int(saved["unet_timestep"]), model.encode_prompt([PROMPT]), taps).maps
    for name, expected in wanted.items():
        torch.testing.assert_close(maps[name], expected.float(), **tolerance)
