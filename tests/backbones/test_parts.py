"""The parts of a folder: what their configs lack is what their classes take for it."""

from __future__ import annotations

import json
import shutil

import pytest

import shiftless
from shiftless.backbones.families import family
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models, taps


def test_a_config_that_lacks_fields_lists_what_is_loaded(tmp_path):
    row = models()["qwen-image"]
    save_parts(family("qwen-image").twin_parts(row), tmp_path)
    for part, fields in (("vae", ("temperal_downsample", "z_dim")), ("transformer", ("patch_size", "in_channels"))):
        file = tmp_path / part / "config.json"
        config = json.loads(file.read_text())
        file.write_text(json.dumps({key: value for key, value in config.items() if key not in fields}))
    assert taps(tmp_path) == shiftless.load(tmp_path, device="cpu", dtype="fp32").taps


def test_weights_of_another_model_are_one_line(tmp_path):
    for name in ("sd3-medium", "sana"):
        save_parts(family(models()[name]["family"]).twin_parts(models()[name]), tmp_path / name)
    (theirs,) = (tmp_path / "sana" / "transformer").glob("*.safetensors")
    shutil.copy(theirs, tmp_path / "sd3-medium" / "transformer" / "diffusion_pytorch_model.safetensors")
    message = r"transformer: cannot be loaded \(the weights are those of another model: \S+ is \[.*\] there, and \["
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        shiftless.load(tmp_path / "sd3-medium")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("index", "lacks"),
    [
        ({"transformer": ["diffusers", "SD3Transformer2DModel"]}, "no transformer/config.json; give"),
        ({"unet": ["diffusers", "UNet2DConditionModel"]}, "no unet/config.json; give"),
        ({}, "no unet/config.json or transformer/config.json; give"),
    ],
)
def test_a_folder_without_its_denoiser_says_which_it_lacks(tmp_path, index, lacks):
    (tmp_path / "vae").mkdir()
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(shiftless.BadInput, match=lacks):
        shiftless.load(tmp_path)
