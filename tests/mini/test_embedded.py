"""The embedded model, as shipped: it loads everywhere Stable Diffusion does, and it learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import shiftless
from miniworld.datasets import HELD_OUT
from miniworld.tables.pairs import run
from miniworld.world.picture import draw
from shiftless.conditions.condition import Condition, Steer
from shiftless.image import open_photo, to_uint8
from shiftless.metrics.bootstrap import difference
from shiftless.mini import weights
from shiftless.presets import default_recipe


@pytest.fixture(scope="module")
def mini():
    return shiftless.load("mini", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def unseen():
    return [draw(HELD_OUT + 5000 + i) for i in range(24)]


def tensor(pictures) -> torch.Tensor:
    return torch.stack([torch.from_numpy(p.image.copy()).permute(2, 0, 1) for p in pictures]).float() / 127.5 - 1


@pytest.fixture(scope="module")
def clean(mini, unseen):
    """The latents of the unseen pictures."""
    return mini.encode_image(tensor(unseen))


def test_plain_diffusers_loads_it():
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(weights(), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    image = pipe("a photo of a horse", num_inference_steps=2, output_type="np").images[0]
    assert image.shape == (128, 128, 3)
    assert np.isfinite(image).all()


def test_the_weights_are_small():
    """The wheel holds them: 45 MB for the denoiser, 110 MB for all together."""
    limits = {"unet": 45e6, "controlnet-canny": 25e6, "captioner": 12e6, "loras": 16e6, "heads": 12e6, "oracle": 4e6}
    limits |= {"mae": 10e6, "ddpm": 15e6, "ip-adapter-plus": 6e6}
    sizes = {file: file.stat().st_size for file in weights().rglob("*") if file.is_file()}
    roots = {file: file.relative_to(weights()).parts[0] for file in sizes}
    for part, limit in limits.items():
        assert 0 < sum(size for file, size in sizes.items() if roots[file] == part) <= limit, part
    assert sum(sizes.values()) <= 110e6


def test_the_autoencoder_keeps_unseen_pictures(mini, unseen, clean):
    pixels = tensor(unseen)
    back = mini.decode(clean)
    truth, result = to_uint8(pixels).astype(float), to_uint8(back).astype(float)
    psnr = 10 * np.log10(255**2 / ((truth - result) ** 2).mean((1, 2, 3)))
    assert psnr.mean() > 26


def test_a_true_caption_helps_the_denoiser(mini, unseen, clean):
    """The noise-prediction error, on the same pictures and noise: fine caption < another picture's caption."""
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    captions = [p.captions[2] for p in unseen]
    errors = {}
    for name, texts in {"own": captions, "other": captions[1:] + captions[:1]}.items():
        condition = mini.encode_prompt(texts)
        predicted = [mini.denoise(mini.schedule.add(clean, noise, t), t, condition).prediction for t in (400, 600)]
        errors[name] = torch.stack([(p - noise).square().mean((1, 2, 3)) for p in predicted]).mean(0).numpy()
    gap = errors["other"] - errors["own"]
    assert gap.mean() > 2 * gap.std(ddof=1) / np.sqrt(len(gap))


def test_it_matches_better_than_copying_positions():
    mini = shiftless.load("mini", device="cpu")
    table = run(mini, default_recipe("mini"), split="val", n=30, controls=False, progress=False)
    ours, trivial = table.row("baseline", "PCK@0.1 bbox"), table.row("trivial", "PCK@0.1 bbox")
    assert ours.ci95[0] > trivial.ci95[1]


def noise_error(model, clean, timestep, condition):
    """The noise-prediction error of each picture's latent, B, with the same noise whatever steers."""
    noise = torch.randn(clean.shape, generator=torch.manual_seed(3))
    prediction = model.denoise(model.schedule.add(clean, noise, timestep), timestep, condition).prediction
    return (prediction.float() - noise).square().mean((1, 2, 3)).numpy()


def test_true_edges_help_the_denoiser_and_wrong_ones_harm(mini, unseen, clean):
    text = mini.encode_prompt([""] * len(unseen))
    control = mini.control("canny")
    edges = control.draw(tensor(unseen))
    errors = [
        noise_error(mini, clean, 300, Condition(text.embeds, text.words, {}, steers))
        for steers in ((Steer(control.net, edges),), (), (Steer(control.net, edges.roll(1, 0)),))
    ]
    true, none, wrong = (error.mean() for error in errors)
    assert true < 0.95 * none
    assert none < wrong


def test_its_captioner_says_what_is_there(mini, unseen):
    captions = mini.captioner("").caption([open_photo(p.image) for p in unseen])
    assert np.mean([p.kind in caption for p, caption in zip(unseen, captions)]) > 0.75
    assert np.mean([f"facing {p.facing}" in caption for p, caption in zip(unseen, captions)]) > 0.75


def test_its_loras_know_the_look_that_the_model_never_saw(mini):
    pictures = [draw(HELD_OUT + 6000 + i, look="embroidery") for i in range(16)]
    text = mini.encode_prompt(["a photo"] * len(pictures))
    clean = mini.encode_image(tensor(pictures))
    without = noise_error(mini, clean, 300, text)
    for name in ("embroidery-a", "embroidery-b"):
        with mini.adapted([(name, 1.0)]):
            text = mini.encode_prompt(["a photo"] * len(pictures))
            steered = noise_error(mini, clean, 300, text)
        gain = difference(without, steered)
        assert gain.low > 0, name
