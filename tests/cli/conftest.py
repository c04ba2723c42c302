"""Commands, run as a user runs them, in an empty folder."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shiftless.backbones.registry import load
from shiftless.cli import main
from shiftless.mini import weights
from tests.smallclip import small_clip


@pytest.fixture
def command(monkeypatch, capsys, tmp_path) -> Callable[..., tuple[int, str, str]]:
    """Run a command inside tmp_path: its exit code, what it printed, what it said to stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["shiftless", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def _loaded() -> Callable[..., object]:
    return cache(load)


@pytest.fixture
def loaded_once(monkeypatch, _loaded) -> None:
    """Load twins and the embedded model once for all commands of the session, for commands that change no model."""

    def kept(name, **options):
        lasting = str(name).startswith("twin:") or name == "mini"
        if lasting and not options.get("offload") and not options.get("quantise"):
            return _loaded(name, **options)
        return load(name, **options)

    monkeypatch.setattr("shiftless.backbones.registry.load", kept)


@pytest.fixture
def photo(tmp_path) -> Path:
    """A photo of 64 x 64 pixels of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """The folder of a small CLIP with random weights."""
    return small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def narrow(tmp_path_factory) -> Path:
    """The folder of a model with the layout of the embedded one, whose UNet, ControlNet and LoRAs are a quarter as
    wide and random, and which has no IP-Adapter: for tests of what a command does and says, not of how good it is."""
    from diffusers import ControlNetModel, UNet2DConditionModel
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("narrow") / "weights"
    others = ("unet", "controlnet-*", "ip-adapter-*", "loras", "heads", "mae", "ddpm")
    shutil.copytree(weights(), folder, ignore=shutil.ignore_patterns(*others))
    made = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for part, kind in (("unet", UNet2DConditionModel), ("controlnet-canny", ControlNetModel)):
            config = json.loads((weights() / part / "config.json").read_text(encoding="utf-8"))
            config |= {"block_out_channels": [one // 4 for one in config["block_out_channels"]], "norm_num_groups": 8}
            made[part] = kind.from_config(config)
            for weight in made[part].parameters():
                if not weight.any():  # a ControlNet's last layers begin at zero and would change nothing
                    torch.nn.init.normal_(weight, std=0.1)
            made[part].save_pretrained(folder / part)
        (folder / "loras").mkdir()
        for file in sorted((weights() / "loras").glob("*.safetensors")):
            with safe_open(file, "pt") as published:
                keys = published.keys()
            layers = sorted({key.rpartition(".lora_")[0] for key in keys if key.startswith("unet.")})
            state = {}
            for layer in layers:
                outputs, inputs, *kernel = made["unet"].get_submodule(layer.removeprefix("unet.")).weight.shape
                state[f"{layer}.lora_A.weight"] = 0.1 * torch.randn(2, inputs, *kernel)
                state[f"{layer}.lora_B.weight"] = 0.1 * torch.randn(outputs, 2, *(1 for _ in kernel))
            save_file(state, folder / "loras" / file.name)
    return folder
