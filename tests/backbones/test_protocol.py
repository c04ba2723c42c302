"""The protocol is wide enough: families without text, without noise or without a latent fit it as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

import shiftless
from shiftless import BadInput, Recipe
from shiftless.backbones.base import Backbone, Reading, Spec
from shiftless.conditions.condition import Condition
from shiftless.noise import Schedule
from shiftless.taps.hooks import tapped
from shiftless.taps.names import Tap

PICTURES = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8) for i in range(3)]


class Pixels:
    """What models of pixels share: no latent, no prompt."""

    device, dtype, fingerprint = torch.device("cpu"), torch.float32, "the weights of seed 0"

    def encode_image(self, pixels, *, latent="mean", noise=None):
        return pixels

    def encode_prompt(self, prompts, *, size=None):
        return Condition()

    def decode(self, latent):
        return latent.clamp(-1, 1)

    def predict_noise(self, latent, prediction, timestep):
        return self.schedule.noise(latent, prediction, timestep)

    def predict_clean(self, latent, prediction, timestep):
        return self.schedule.clean(latent, prediction, timestep)


class Unconditional(Pixels):
    """An unconditional DDPM of pixels."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = UNet2DModel(
            block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
        ).eval().requires_grad_(False)  # fmt: skip
        self.taps = (Tap("mid", 16, 2, "mid_block"), Tap("up0", 16, 1, "up_blocks.0"))
        self.schedule = Schedule.from_betas(0.0001, 0.02, 1000, kind="linear")
        self.spec = Spec("ddpm", "ddpm", 32, 8, (3, 1), takes_text=False)

    def denoise(self, latent, timestep, condition, taps=(), *, full=False):
        prediction = None
        with tapped(self.net, taps, stop=bool(taps) and not full) as captured:
            prediction = self.net(latent, timestep).sample
        return Reading(captured.maps(), prediction)


class Patches(Pixels):
    """A ViT in miniature: tokens of patches, neither noise nor text."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 16, 8, stride=8), nn.GELU(), nn.Conv2d(16, 12, 1)).requires_grad_(False)
        self.taps = (Tap("block0", 16, 8, "1"), Tap("block1", 12, 8, "2"))
        self.schedule = Schedule.none()
        self.spec = Spec("vit", "vit", 32, 8, (3, 1), takes_text=False, takes_noise=False)

    def denoise(self, latent, timestep, condition, taps=(), *, full=False):
        prediction = None
        with tapped(self.net, taps, stop=bool(taps) and not full) as captured:
            prediction = self.net(latent)
        return Reading(captured.maps(), prediction)


def test_an_unconditional_model_of_pixels():
    model = Unconditional()
    assert isinstance(model, Backbone)
    recipes = [Recipe(timestep=50, taps=("up0", "mid")), Recipe(timestep=250, taps=("up0",), ensemble=2)]
    together = shiftless.extract(model, PICTURES, recipes, batch=4)
    alone = shiftless.extract(model, PICTURES[1], recipes)
    assert together[1][0]["up0"].shape == (1, 16, 24, 32)
    for a, b in zip(together[1], alone):
        torch.testing.assert_close(a["up0"], b["up0"], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(alone[0]["up0"], alone[1]["up0"])


def test_a_model_without_noise_reads_the_same_at_every_timestep_and_seed():
    model = Patches()
    assert isinstance(model, Backbone)
    one, two = shiftless.extract(model, PICTURES[0], [Recipe(timestep=t, taps=("block*",), seed=t) for t in (0, 700)])
    assert torch.equal(one["block1"], two["block1"])
    assert one["block1"].shape == (1, 12, 3, 4)
    result = shiftless.match(one, two, points=[(10, 10), (40, 30)])
    np.testing.assert_allclose(result, [(10, 10), (40, 30)], atol=8)


@pytest.mark.parametrize("family", [Unconditional, Patches])
def test_a_prompt_for_a_model_without_text_is_refused(family):
    model = family()
    with pytest.raises(BadInput, match=f"^{model.spec.name}: .* takes no text, .* 'a horse'; leave the prompt out$"):
        shiftless.extract(model, PICTURES[0], Recipe(prompt="a horse", taps=(model.taps[0].name,)))
