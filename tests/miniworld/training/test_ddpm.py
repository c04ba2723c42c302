"""The training of the DDPM, on networks that take a second."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from safetensors.torch import load_file

import shiftless
from miniworld.training.architecture import new_scheduler
from miniworld.training.ddpm import PixelNoiseLoss, new_ddpm, save_ddpm, train_ddpm, use_plain_attention
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.norm import use_kernel
from miniworld.training.stage import Stage
from miniworld.training.unet import Denoising
from shiftless.errors import BadInput
from tests.interrupted import interrupt_after

TINY = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 8,
    "norm_num_groups": 4,
}


@pytest.fixture
def train(drawn):
    def run(out, *, images=16, seed=0, checkpoint_minutes=5, **options):
        how = {"images": images, "seed": seed, "checkpoint_minutes": checkpoint_minutes, "device": "cpu"}
        stage = Stage(out, pictures=drawn, draw=False, compile=False, **how)
        return train_ddpm(stage, **{"batch": 4, "changes": TINY, **options})

    return run


def weights(folder):
    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")


def shown(size=4, side=32):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(size, 3, side, side, generator=generator) * 2 - 1
    return pixels, torch.randn(pixels.shape, generator=generator), torch.arange(size) * 999 // (size - 1)


def test_the_loss_falls_on_a_batch_that_is_shown_again_and_again():
    network = PixelNoiseLoss(new_ddpm(**TINY))
    optimiser = Fp32MasterAdamW(network.parameters(), dtype=torch.float32)
    losses = []
    for _ in range(30):
        loss, errors = network(*shown())
        loss.backward()
        optimiser.step(3e-3)
        losses.append(float(loss.detach()))
    assert errors.shape == (4,)
    assert losses[-1] < 0.5 * losses[0]


def test_no_noise_level_outweighs_all_others():
    pixels, latents = PixelNoiseLoss(new_ddpm(**TINY)), Denoising(new_scheduler().alphas_cumprod)
    assert pixels.weights.max() == 50
    assert 0.2 < (pixels.weights == 50).float().mean() < 0.3  # the noisiest levels
    snr = latents.alphas / (1 - latents.alphas)
    torch.testing.assert_close(latents.weights, (snr + 1).clamp(max=5) / snr / 5)  # none of Stable Diffusion's schedule


def test_a_ddpm_is_small_and_its_fast_layers_change_nothing(tmp_path):
    assert 2 * sum(p.numel() for p in new_ddpm().parameters()) < 15e6
    unet = new_ddpm(sample_size=32, **TINY).half().float().eval()
    pixels, _, timesteps = shown()
    with torch.no_grad():
        plain = unet(pixels, timesteps).sample
        use_plain_attention(unet)
        use_kernel(unet)
        fast = unet(pixels, timesteps).sample
        save_ddpm(tmp_path, unet)
        saved = UNet2DModel.from_pretrained(tmp_path, subfolder="unet").eval()(pixels, timesteps).sample
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(saved, plain, atol=1e-5, rtol=1e-5)


def test_what_is_written_loads_in_the_plain_pipeline_and_is_read_by_shiftless(tmp_path, train):
    folder = train(tmp_path)
    assert folder.name == "ddpm"
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.float16}
    assert str(tmp_path) not in (folder / "unet" / "config.json").read_text()
    pipe = DDPMPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    sample = pipe(generator=torch.Generator().manual_seed(0), num_inference_steps=2, output_type="np").images
    assert sample.shape == (1, 32, 32, 3)
    assert np.isfinite(sample).all()
    model = shiftless.load(folder, device="cpu", dtype="fp32")
    assert (model.spec.family, model.spec.size) == ("ddpm", 32)
    pixels = shown()[0][:1]
    reading = model.denoise(model.encode_image(pixels), 50, model.encode_prompt([""]), model.taps[-1:], full=True)
    with torch.no_grad():
        theirs = pipe.unet(pixels, 50).sample
    torch.testing.assert_close(reading.prediction, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.schedule.alphas[[0, -1]].float() ** 2, pipe.scheduler.alphas_cumprod[[0, -1]])


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, train, monkeypatch):
    whole = weights(train(tmp_path / "a"))
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b", checkpoint_minutes=0)
    assert not (tmp_path / "b" / "ddpm").exists()
    resumed, other = weights(train(tmp_path / "b")), weights(train(tmp_path / "c", seed=1))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(not torch.equal(whole[name], other[name]) for name in whole)
    further = weights(train(tmp_path / "on", start_from=tmp_path / "a", images=4, lr=1e-4))
    gaps = [float((further[name] - tensor).abs().max()) for name, tensor in whole.items()]
    assert 0 < max(gaps) < 0.01  # a step away, not drawn anew


def test_bad_input_is_one_line_that_says_what_to_do(tmp_path, train):
    for options, message in (({"start_from": tmp_path}, "no DDPM here"), ({"images": None}, "give a length")):
        with pytest.raises(BadInput, match=message) as caught:
            train(tmp_path / "out", **options)
        assert "\n" not in str(caught.value)
    latent = tmp_path / "latent"
    shutil.copytree(shiftless.mini.weights() / "unet", latent / "unet")
    with pytest.raises(BadInput, match="no DDPM here"):
        train(tmp_path / "out", start_from=latent)
