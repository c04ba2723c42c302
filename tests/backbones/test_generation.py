"""Generation: diffusers' own pictures, drawn from (seed, number) alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

import shiftless
from shiftless.backbones.generation import generate, picture_noise
from shiftless.backbones.sd import StableDiffusion
from shiftless.errors import BadInput
from tests.simulated_device import simulated

SHORT = {"steps": 2, "size": 64}  # the smallest that the twins take


@pytest.fixture(scope="module")
def sd():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def ddpm():
    return shiftless.load("twin:ddpm-bedroom", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def horses(sd):
    return list(generate(sd, 2, prompt="a horse", seed=4, **SHORT))


def noise(seed, numbers):
    return [picture_noise(seed, number) for number in numbers]


def differ(ours, theirs):
    """By how many of 255 levels two sets of pictures differ at most."""
    return np.abs(np.stack(ours).astype(int) - np.stack(theirs).astype(int)).max()


def test_pictures_of_stable_diffusion_are_those_of_its_pipeline(sd, horses):
    scheduler = DDIMScheduler.from_config(sd.scheduler.config, clip_sample=False, steps_offset=1)
    pipe = StableDiffusionPipeline(
        vae=sd.vae, text_encoder=sd.text_encoder, tokenizer=sd.tokenizer, unet=sd.unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    shown = pipe(
        ["a horse"] * 2, height=64, width=64, num_inference_steps=2, generator=noise(4, range(2)), output_type="np"
    ).images
    assert differ(horses, (shown * 255).round()) <= 1
    assert np.stack(horses).std((1, 2, 3)).min() > 5  # pictures, not plain colours
    assert horses[0].shape == (64, 64, 3)
    assert horses[0].dtype == np.uint8


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_pictures_of_a_ddpm_are_those_of_its_pipeline(ddpm, eta):
    pipe = DDIMPipeline(ddpm.denoiser, ddpm.scheduler)
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.config["sample_size"] = 64
    shown = pipe(2, noise(1, (5, 6)), eta, 3, output_type="np").images
    ours = list(generate(ddpm, 2, steps=3, eta=eta, seed=1, first=5, size=64))
    assert differ(ours, (shown * 255).round()) <= 1


def test_a_picture_depends_on_its_seed_and_number_alone(sd, horses):
    again = [*generate(sd, 1, prompt="a horse", seed=4, batch=1, **SHORT)]
    again += generate(sd, 1, prompt="a horse", seed=4, first=1, batch=2, **SHORT)
    assert differ(horses, again) <= 1  # a batch of another size rounds to other numbers
    other = next(generate(sd, 1, prompt="a horse", seed=5, **SHORT))
    assert differ(horses[:1], [other]) > 20


def test_no_two_pictures_share_their_noise():
    draws = {float(torch.randn(1, generator=picture_noise(seed, i))) for seed in range(3) for i in range(50)}
    assert len(draws) == 150


def test_guidance_acts_and_no_prompt_needs_none(sd, horses):
    calls = []
    denoise = StableDiffusion.denoise
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StableDiffusion, "denoise", lambda s, x, *a, **k: calls.append(len(x)) or denoise(s, x, *a, **k))
        plain = list(generate(sd, 1, seed=4, **SHORT))
        unguided = list(generate(sd, 1, prompt="a horse", guidance=1.0, seed=4, **SHORT))
    assert calls == [1, 1, 1, 1]
    assert differ(plain, horses[:1]) > 1
    assert differ(unguided, horses[:1]) > 1


def test_a_long_prompt_is_not_cut(sd):
    first = " ".join(["horse"] * 12)  # a token is a letter: it fills most of the text encoder's window
    whole, short = (next(generate(sd, 1, prompt=text, guidance=99, **SHORT)) for text in (f"{first} zebras", first))
    assert differ([whole], [short]) > 1


def test_a_size_may_be_no_square(ddpm):
    assert next(generate(ddpm, 1, steps=1, size=(32, 64))).shape == (32, 64, 3)


def test_a_lora_acts_while_pictures_are_made_and_not_afterwards(sd, horses, tmp_path):
    generator = torch.Generator().manual_seed(0)
    name = "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q"
    down, up = torch.randn(2, 64, generator=generator), torch.randn(64, 2, generator=generator)
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, tmp_path / "look.safetensors")
    looks = generate(sd, 1, prompt="a horse", seed=4, loras=[(str(tmp_path / "look.safetensors"), 1.0)], **SHORT)
    assert differ([next(looks)], horses[:1]) > 1
    assert differ(list(generate(sd, 1, prompt="a horse", seed=4, **SHORT)), horses[:1]) <= 1


@pytest.mark.parametrize("how", [{"dtype": "bf16"}, {"offload": "parts"}])
def test_precision_and_offload_change_the_rounding_only(sd, horses, how):
    model = shiftless.load("twin:sd15", device="cpu", **{"dtype": "fp32", **how})
    other = list(generate(model, 1, prompt="a horse", seed=4, **SHORT))
    error = np.abs(other[0].astype(int) - horses[0].astype(int)).mean()
    assert error < (6 if "dtype" in how else 0.01)


def test_velocities_give_the_pictures_of_their_pipeline():
    model = shiftless.load("twin:sd21", device="cpu", dtype="fp32")
    assert model.schedule.prediction == "v_prediction"
    scheduler = DDIMScheduler.from_config(model.scheduler.config, clip_sample=False, steps_offset=1)
    pipe = StableDiffusionPipeline(
        vae=model.vae, text_encoder=model.text_encoder, tokenizer=model.tokenizer, unet=model.unet,
        scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    shown = pipe("", height=64, width=64, num_inference_steps=2, guidance_scale=1.0, generator=noise(0, [0]),
                 output_type="np").images  # fmt: skip
    assert differ(list(generate(model, 1, **SHORT)), (shown * 255).round()) <= 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("twin:dino-s16", {}, "not with the vit family; generate them elsewhere"),
        ("twin:cleandift-sd15", {}, "not with the cleandift family"),
        ("twin:sd15", {"steps": 1001}, "give 1 to 1000 steps"),
        ("twin:sd15", {"size": 60}, "each side must be a multiple of"),
        ("twin:ddpm-bedroom", {"prompt": "a bed", "size": 32}, "takes no text"),
        ("twin:ddpm-bedroom", {"guidance": 2.0, "size": 32}, "no text to be guided to"),
    ],
)
def test_what_cannot_be_generated_is_said_in_one_line(name, options, message):
    with pytest.raises(BadInput, match=message) as caught:
        generate(shiftless.load(name, device="cpu", dtype="fp32"), 1, **options)
    assert "\n" not in str(caught.value)


def test_a_device_makes_the_pictures_of_the_cpu(ddpm, monkeypatch):
    how = {"steps": 1, "size": 32, "batch": 1, "eta": 1.0}
    expected = list(generate(ddpm, 1, **how))
    with simulated("cuda:1", monkeypatch) as device:
        model = shiftless.load("twin:ddpm-bedroom", device=device, dtype="fp32")
        assert differ(list(generate(model, 1, **how)), expected) <= 1
