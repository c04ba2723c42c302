"""Larger t is noisier, predictions invert, and an image's noise is its own."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shiftless.errors import BadInput
from shiftless.noise import PREDICTIONS, Schedule, noise_for, reference_timestep, seeded

SD = Schedule.from_betas(0.00085, 0.012, 1000)


def schedule_of(prediction: str) -> Schedule:
    return Schedule.flow() if prediction == "flow" else Schedule.from_alphas_cumprod(SD.alphas_cumprod, prediction)


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 1, 4, 8, 8, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize(("start", "end", "kind"), [(0.00085, 0.012, "scaled_linear"), (0.0001, 0.02, "linear")])
def test_betas_give_the_schedulers_own_values(start, end, kind):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(1000, beta_start=start, beta_end=end, beta_schedule=kind)
    ours = Schedule.from_betas(start, end, 1000, kind)
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)
    clean, noise = (x.float() for x in pair())
    for t in (0, 261, 999):
        added = theirs.add_noise(clean, noise, torch.tensor([t]))
        torch.testing.assert_close(ours.add(clean, noise, t), added, atol=1e-6, rtol=0)
        velocity = theirs.get_velocity(clean, noise, torch.tensor([t]))
        torch.testing.assert_close(ours.velocity(clean, noise, t), velocity, atol=1e-6, rtol=0)


def test_larger_t_is_noisier():
    sigmas = [SD.sigma(t) for t in range(1000)]
    assert sigmas == sorted(sigmas)
    assert sigmas[0] < 0.03
    assert sigmas[-1] > 0.99
    for t in (0, 500, 999):
        assert SD.alpha(t) ** 2 + SD.sigma(t) ** 2 == pytest.approx(1)


@given(st.sampled_from(PREDICTIONS), st.integers(0, 999), st.integers(0, 50))
def test_every_prediction_gives_back_the_clean_latent_and_the_noise(kind, t, seed):
    schedule = schedule_of(kind)
    clean, noise = pair(seed)
    noisy = schedule.add(clean, noise, t)
    truth = schedule.target(clean, noise, t)
    torch.testing.assert_close(schedule.clean(noisy, truth, t), clean, atol=1e-9, rtol=0)
    torch.testing.assert_close(schedule.noise(noisy, truth, t), noise, atol=1e-9, rtol=0)


def test_the_dtype_is_the_callers():
    latent = torch.ones(1, 4, 2, 2, dtype=torch.bfloat16)
    assert SD.add(latent, latent, 50).dtype == torch.bfloat16
    assert SD.clean(latent, latent, 50).dtype == torch.bfloat16


def test_a_model_without_noise_has_none():
    clean, noise = pair()
    schedule = Schedule.none()
    for t in (0, 999):
        assert (schedule.alpha(t), schedule.sigma(t)) == (1, 0)
        assert torch.equal(schedule.add(clean, noise, t), clean)
    with pytest.raises(BadInput, match="no noise to predict"):
        schedule.noise(clean, clean, 10)


def test_pure_noise_holds_no_image():
    values = torch.tensor([0.9, 0.5, 0.0])
    clean, noise = pair()
    with pytest.raises(BadInput, match="timestep 2 is pure noise"):
        Schedule.from_alphas_cumprod(values).clean(noise, noise, 2)
    velocity = Schedule.from_alphas_cumprod(values, "v_prediction")
    torch.testing.assert_close(velocity.clean(noise, velocity.velocity(clean, noise, 2), 2), clean)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, 0.9], "alphas rise from timestep 0 to 1; a larger timestep must be noisier"),
        ([0.9, 0.5, 0.5, 0.6], "alphas rise from timestep 2 to 3"),
        ([1.1, 0.5], r"each in \[0, 1\]"),
        ([0.5, -0.1], r"each in \[0, 1\]"),
        ([0.5, float("nan")], r"each in \[0, 1\]"),
        ([], "a row of values"),
        ([[0.9, 0.5]], "a row of values"),
    ],
)
def test_what_is_no_schedule_is_refused(values, message):
    with pytest.raises(BadInput, match=message):
        Schedule.from_alphas_cumprod(torch.tensor(values))


def test_signal_and_noise_fit_each_other():
    with pytest.raises(BadInput, match="2 alphas and 3 sigmas"):
        Schedule(torch.tensor([1, 0.5]), torch.tensor([0, 0.5, 1]))
    with pytest.raises(BadInput, match="sigmas fall from timestep 0 to 1"):
        Schedule(torch.tensor([1, 0.5]), torch.tensor([0.5, 0.2]))
    with pytest.raises(BadInput, match="a flow schedule has no betas"):
        Schedule.flow().betas()


def test_unknown_kinds_name_the_legal_ones():
    with pytest.raises(BadInput, match="must be one of epsilon, v_prediction, sample, flow"):
        Schedule.from_alphas_cumprod(SD.alphas_cumprod, "eps")
    with pytest.raises(BadInput, match="must be one of linear, scaled_linear"):
        Schedule.from_betas(0.1, 0.2, 10, "cosine")


@pytest.mark.parametrize("t", [-1, 1000, 5.0, "5", None])
def test_a_timestep_out_of_range_names_the_range(t):
    x = torch.zeros(1)
    for call in (SD.alpha, SD.sigma, reference_timestep, lambda t: SD.add(x, x, t), lambda t: SD.clean(x, x, t)):
        with pytest.raises(BadInput, match="give a whole number from 0 to 999"):
            call(t)
    with pytest.raises(BadInput, match="from 0 to 1 "):
        Schedule.from_alphas_cumprod(torch.tensor([0.9, 0.5])).alpha(2)


def test_reference_timesteps_equal_the_golden_map(goldens):
    golden = json.loads((goldens / "gdf_timestep_map.json").read_text())
    exceptions = {int(t): run for t, run in golden["exceptions_to_t_plus_1"].items()}
    assert exceptions == {999: 999}
    assert [reference_timestep(t) for t in range(1000)] == [exceptions.get(t, t + 1) for t in range(1000)]
    assert golden["last"] == [reference_timestep(t) for t in (3, 2, 1, 0)]


# ---- draws


@given(
    st.text(max_size=40), st.integers(0, 2**63 - 1), st.integers(0, 1023), st.sampled_from(["diffusion", "posterior"])
)
def test_a_draw_is_repeatable_and_leaves_the_global_generators_alone(digest, seed, member, stream):
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = noise_for(digest, seed, member, (4, 3, 5), stream)
    torch.rand(3, generator=torch.Generator())
    assert torch.equal(first, noise_for(digest, seed, member, (4, 3, 5), stream))
    assert (first.shape, first.dtype, first.device.type) == ((4, 3, 5), torch.float32, "cpu")
    assert torch.equal(torch_state, torch.random.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])


def test_every_part_of_the_key_gives_independent_noise():
    keys = [
        (d, s, m, k) for d in ("ab", "abc") for s in (0, 1, 2**32) for m in (0, 1) for k in ("diffusion", "posterior")
    ]
    keys += [("a", 11, 1, "diffusion"), ("a", 1, 11, "diffusion"), ("a1", 1, 1, "diffusion")]
    draws = torch.stack([noise_for(d, s, m, (4, 32, 32), k).flatten() for d, s, m, k in keys])
    correlation = torch.corrcoef(draws) - torch.eye(len(keys))
    assert correlation.abs().max() < 0.08  # five standard deviations of 4096 independent values
    assert draws.mean().abs() < 0.02
    assert abs(draws.std() - 1) < 0.02


def test_the_draws_never_change():
    values = noise_for("ab12", seed=3, member=1, shape=(1, 2, 2)).flatten().tolist()
    pinned = [-1.2399442, -1.2263991, -1.0202410, 1.0990465]  # other draws would make stored features stale, unsaid
    assert values == pytest.approx(pinned, abs=1e-6)


class Generators:
    """A stand-in for torch.cuda or torch.mps: one generator a device, and a log of what was done to them."""

    def __init__(self):
        self.states, self.current = {0: "mine 0", 1: "mine 1"}, 0

    def use(self, monkeypatch, place, **functions):
        for name, function in functions.items():
            monkeypatch.setattr(place, name, function)


@pytest.fixture
def cuda(monkeypatch):
    """Two GPUs' generators, as far as seeding can tell."""
    fake = Generators()

    @contextmanager
    def on(device):
        before, fake.current = fake.current, torch.device(device).index or 0
        yield
        fake.current = before

    def index(device):
        return fake.current if device == "cuda" else torch.device(device).index or 0

    fake.use(
        monkeypatch, torch.cuda, device=on,
        manual_seed=lambda seed: fake.states.update({fake.current: seed}),
        manual_seed_all=lambda seed: fake.states.update(dict.fromkeys(fake.states, seed)),
        get_rng_state=lambda device="cuda": fake.states[index(device)],
        set_rng_state=lambda state, device="cuda": fake.states.update({index(device): state}),
    )  # fmt: skip
    return fake


def test_seeding_starts_the_generators_named_and_leaves_all_as_they_were(cuda, monkeypatch):
    mps = Generators()
    mps.use(
        monkeypatch, torch.mps, manual_seed=lambda seed: mps.states.update({0: seed}),
        get_rng_state=lambda: mps.states[0], set_rng_state=lambda state: mps.states.update({0: state}),
    )  # fmt: skip
    expected = torch.rand(3, generator=torch.Generator().manual_seed(5))
    before = torch.get_rng_state()
    for device, first, second, apple in (
        (None, "mine 0", "mine 1", "mine 0"),
        (torch.device("cpu"), "mine 0", "mine 1", "mine 0"),
        (torch.device("cuda:1"), "mine 0", 5, "mine 0"),
        (torch.device("mps"), "mine 0", "mine 1", 5),
    ):
        with suppress(KeyError), seeded(5, device):
            assert torch.equal(torch.rand(3), expected)
            assert (cuda.states, mps.states[0]) == ({0: first, 1: second}, apple)
            raise KeyError
        assert (cuda.states, mps.states[0]) == ({0: "mine 0", 1: "mine 1"}, "mine 0")
        assert torch.equal(torch.get_rng_state(), before)


def test_random_models_and_training_leave_the_gpus_generators_alone(cuda):
    from shiftless.backbones.registry import load, untrained
    from shiftless.training.lora.layers import in_training
    from shiftless.training.lora.settings import Settings

    model = load("twin:sd15", device="cpu", dtype="fp32")
    model.control("canny")
    untrained(model)
    with in_training({"unet": model.unet}, Settings(epochs=None, steps=1)):
        assert cuda.states == {0: "mine 0", 1: "mine 1"}
