"""The stages that add to the embedded model, and its baselines, on a device that is not the CPU."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from miniworld.training.architecture import new_text_encoder, new_unet, new_vae
from miniworld.training.ddpm import train_ddpm
from miniworld.training.image_prompt import train_image_prompt
from miniworld.training.mae import train_mae
from miniworld.training.stage import Stage
from tests.miniworld.training.test_ddpm import TINY as TINY_DDPM
from tests.miniworld.training.test_image_prompt import TINY, TINY_UNET, TINY_VAE
from tests.miniworld.training.test_mae import TINY as TINY_MAE
from tests.simulated_device import simulated


@pytest.mark.parametrize("train", [train_ddpm, train_mae, train_image_prompt])
def test_a_stage_learns_on_a_device_what_it_learns_on_the_cpu(tmp_path, drawn, tokenizer, monkeypatch, train):
    monkeypatch.setattr("miniworld.training.stage.choose_dtype", lambda *_: torch.float32)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)

    def pipeline(_):  # kept in memory: the stand-in knows nothing of diffusers' way to load weights
        return new_vae(**TINY_VAE), tokenizer, new_text_encoder(tokenizer), new_unet(**TINY_UNET)

    monkeypatch.setattr("miniworld.training.image_prompt.load_pipeline", pipeline)
    changes = {train_ddpm: TINY_DDPM, train_mae: TINY_MAE, train_image_prompt: TINY}[train]
    folders = []
    with simulated("cuda:1", monkeypatch):
        for device in ("cpu", "cuda:1"):
            stage = Stage(tmp_path / device, images=4, pictures=drawn, draw=False, compile=False, device=device)
            folders.append(train(stage, batch=4, changes=changes))
    files = sorted(path.relative_to(folders[0]) for path in folders[0].rglob("*.safetensors"))
    assert files
    for file in files:
        here, there = (load_file(folder / file) for folder in folders)
        for key in here:
            torch.testing.assert_close(there[key], here[key], atol=2e-3, rtol=2e-2)
