"""The parts of a folder: what their configs lack is what their classes take for it."""

from __future__ import annotations

import json

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
