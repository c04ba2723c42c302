"""A model whose dreams are known: its latent is the picture, and what it predicts is the picture, altered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shiftless.backbones.base import Reading, Spec
from shiftless.conditions.condition import Condition
from shiftless.noise import Schedule
from shiftless.taps.names import Tap


class Dreaming:
    """A backbone without weights: at timesteps above 20 it predicts `alter(picture, prompt)`, below in the picture."""

    def __init__(self, alter: Callable[[torch.Tensor, str], torch.Tensor], noise: float = 0.0) -> None:
        self.alter, self.noise = alter, noise
        self.spec = Spec("dreaming", "sd", 64, 8, (3, 1), techniques=("prompt",))
        self.taps = (Tap("up1", 3, 4, ""),)
        self.schedule = Schedule.from_alphas_cumprod(
            torch.full((1000,), 1 - 2.0**-22), "sample"
        )  # next to no noise: the picture shows through
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.fingerprint = "dreaming"
        self.calls = 0

    def encode_image(self, pixels, *, latent="mean", noise=None):
        return pixels

    def decode(self, latent):
        return latent.clamp(-1, 1)

    def encode_prompt(self, prompts, *, size=None):
        return Condition(torch.zeros(len(prompts), 1, 1), tuple((prompt,) for prompt in prompts))

    def predict_noise(self, latent, prediction, timestep):
        return self.schedule.noise(latent, prediction, timestep)

    def predict_clean(self, latent, prediction, timestep):
        return prediction

    def denoise(self, latent, timestep, condition, taps=(), *, full=False):
        self.calls += len(latent)
        predicted = latent.clone()
        if timestep > 20:
            rows = [self.alter(latent[i : i + 1], condition.words[i][0]) for i in range(len(latent))]
            predicted = torch.cat(rows)
        if self.noise and timestep > 20:  # what the model makes of the noise, told apart by the last bits of its latent
            seeds = [int(row.double().sum().item() * 1e9) % 2**31 for row in latent]
            draws = [torch.randn(latent.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
            predicted = predicted + self.noise * torch.stack(draws)
        maps = {tap.name: F.avg_pool2d(predicted, tap.stride) for tap in taps}
        return Reading(maps, predicted)


@pytest.fixture
def dreaming():
    """Make a model that predicts pictures altered by a function of (1 3 H W in [-1, 1], prompt)."""
    return Dreaming


@pytest.fixture
def disc() -> np.ndarray:
    """A 64 x 64 picture: an orange disc in the upper left quarter of a greenish slope."""
    y, x = np.mgrid[:64, :64]
    ground = np.stack([60 + x / 2, 90 + y / 2, 80 + 0 * x], -1)
    inside = ((x - 18) ** 2 + (y - 18) ** 2 <= 100)[..., None]
    return np.where(inside, np.array([220, 140, 40]), ground).astype(np.uint8)
