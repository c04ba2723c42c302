"""The walk arrives where a perfect denoiser would, and takes the timesteps that it says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import shiftless
from shiftless.backbones.base import Reading
from shiftless.backbones.walk import finish, invert, timesteps_between, walk
from shiftless.noise import PREDICTIONS, Schedule


@given(st.integers(0, 998), st.data())
def test_a_path_falls_from_start_to_timestep(timestep, data):
    start = data.draw(st.integers(timestep + 1, 999))
    steps = data.draw(st.none() | st.integers(1, start - timestep))
    path = timesteps_between(start, timestep, steps)
    assert (path[0], path[-1], len(path)) == (start, timestep, (steps or start - timestep) + 1)
    assert all(a > b for a, b in zip(path, path[1:]))  # noqa: RUF007


class Knowing:
    """A model that sees the noise exactly: its walk must lead to the same image with the same noise, less of it."""

    device = torch.device("cpu")

    def __init__(self, clean, noise, prediction):
        betas = (0.00085, 0.012, 1000)
        self.schedule = Schedule.flow() if prediction == "flow" else Schedule.from_betas(*betas, prediction=prediction)
        self.clean, self.noise, self.recorded = clean, noise, []

    def denoise(self, latent, timestep, condition):
        self.recorded.append(timestep)
        return Reading({}, self.schedule.target(self.clean, self.noise, timestep))

    def predict_clean(self, latent, prediction, timestep):
        return self.schedule.clean(latent, prediction, timestep)

    def predict_noise(self, latent, prediction, timestep):
        return self.schedule.noise(latent, prediction, timestep)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [None, 1, 3])
def test_a_perfect_denoiser_arrives(prediction, steps):
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.manual_seed(0))
    model = Knowing(clean, noise, prediction)
    arrived = walk(model, model.schedule.add(clean, noise, 90), 90, 80, steps, None)
    torch.testing.assert_close(arrived, model.schedule.add(clean, noise, 80), atol=1e-4, rtol=1e-4)
    assert model.recorded == timesteps_between(90, 80, steps)[:-1]


def test_the_walk_is_that_of_diffusers_ddim():
    from diffusers import DDIMScheduler

    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    condition = model.encode_prompt([""])
    latent = torch.randn(1, 4, 8, 8, generator=torch.manual_seed(1))
    arrived = walk(model, latent, 104, 100, None, condition)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False
    )
    scheduler.set_timesteps(1000)
    for t in range(104, 100, -1):
        latent = scheduler.step(model.denoise(latent, t, condition).prediction, t, latent).prev_sample
    torch.testing.assert_close(arrived, latent, atol=1e-5, rtol=1e-5)


def test_the_walk_of_a_flow_is_that_of_diffusers_euler():
    from diffusers import FlowMatchEulerDiscreteScheduler

    class Linear(Knowing):
        def denoise(self, latent, timestep, condition):
            return Reading({}, (0.3 * latent).roll(1, -1) + timestep / 1000)

    model = Linear(None, None, "flow")
    latent = torch.randn(1, 4, 8, 8, generator=torch.manual_seed(1))
    arrived = walk(model, latent, 300, 100, 4, None)
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[0.3, 0.25, 0.2, 0.15, 0.1])
    for t in scheduler.timesteps[:4]:
        latent = scheduler.step(model.denoise(latent, round(float(t)), None).prediction, t, latent).prev_sample
    torch.testing.assert_close(arrived, latent, atol=1e-5, rtol=1e-5)


def test_a_walk_down_takes_an_inversion_back():
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.manual_seed(2))
    model = Knowing(clean, noise, "epsilon")
    low, high = (model.schedule.add(clean, noise, t) for t in (40, 200))
    torch.testing.assert_close(invert(model, low, 40, 200, 8, None), high, atol=1e-4, rtol=1e-4)
    assert model.recorded == list(range(40, 200, 20))
    torch.testing.assert_close(walk(model, high, 200, 40, 8, None), low, atol=1e-4, rtol=1e-4)


def test_finishing_in_one_step_is_the_prediction_itself(tiny):
    latent, condition = (
        torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3)),
        tiny.encode_prompt(["a cow"]),
    )
    predicted = tiny.predict_clean(latent, tiny.denoise(latent, 300, condition).prediction, 300)
    torch.testing.assert_close(finish(tiny, latent, 300, 1, condition), predicted)
    assert not torch.allclose(finish(tiny, latent, 300, 4, condition), predicted, atol=1e-3)


def test_finishing_finds_the_picture_when_the_model_knows_the_noise(tiny, monkeypatch):
    clean, noise = torch.randn(2, 1, 4, 16, 16, generator=torch.Generator().manual_seed(4))
    monkeypatch.setattr(tiny, "denoise", lambda *_, **__: Reading({}, noise))
    for steps in (1, 2, 7, 500):
        result = finish(tiny, tiny.schedule.add(clean, noise, 300), 300, steps, tiny.encode_prompt([""]))
        torch.testing.assert_close(result, clean, atol=1e-3, rtol=1e-3)
    assert torch.isfinite(finish(tiny, clean, 0, 5, tiny.encode_prompt([""]))).all()
