"""Content shift is computed as it is told: perfect knowledge has none, ignorance has much, errors are hand-worked."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from miniworld.datasets import HELD_OUT
from miniworld.demo.content_shift import stages
from miniworld.demo.predictions import error, finish, give, noisy_picture, predict_latents
from miniworld.demo.subjects import Subject, cast, common_points, crowd
from shiftless.backbones.base import Reading, Spec
from shiftless.backbones.registry import load
from shiftless.conditions.condition import Condition
from shiftless.image import open_photo
from shiftless.noise import Schedule, noise_for
from shiftless.reading import extract
from shiftless.recipe import Recipe


class Oracle:
    """A pixel-space model that predicts `answer(latent, t)`, and remembers what it was asked."""

    device = torch.device("cpu")

    def __init__(self, answer, prediction="epsilon"):
        self.spec = Spec("oracle", "sd", 16, 1, (3, 1))
        self.schedule = Schedule.from_betas(0.00085, 0.012, 1000, prediction=prediction)
        self.device = torch.device("cpu")
        self.answer, self.requested = answer, []

    def encode_image(self, pixels):
        return pixels

    def encode_prompt(self, prompts, *, size=None):
        return Condition(torch.zeros(1, 1, 1), (tuple(prompts),))

    def denoise(self, latent, timestep, condition):
        self.requested.append((timestep, condition.words[0][0]))
        return Reading({}, self.answer(latent, timestep))

    def predict_noise(self, latent, prediction, timestep):
        return self.schedule.noise(latent, prediction, timestep)

    def predict_clean(self, latent, prediction, timestep):
        return self.schedule.clean(latent, prediction, timestep)

    def decode(self, latent):
        return latent.clamp(-1, 1)


@pytest.fixture
def subject():
    array = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    return Subject(open_photo(array), "noise", "", np.ones((16, 16), bool))


def test_knowing_the_noise_brings_the_picture_back_in_one_look_and_in_many(subject):
    model = Oracle(None)
    given = give(model, subject)
    model.answer = lambda latent, t: given.noise
    for timestep in (1, 100, 600, 999):
        assert torch.allclose(predict_latents(model, given, timestep, "x"), given.clean, atol=2e-4)
        assert torch.allclose(finish(model, given, timestep, "x", steps=7), given.clean, atol=2e-4)


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_a_prediction_that_is_always_the_same_picture_wins_whatever_the_model_predicts(subject, prediction):
    model = Oracle(None, prediction)
    given, other = give(model, subject), torch.full((1, 3, 16, 16), 0.25)

    def answer(latent, t):
        if prediction == "sample":
            return other
        alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)
        return (alpha * latent - other) / sigma

    model.answer = answer
    assert torch.allclose(predict_latents(model, given, 600, ""), other, atol=1e-4)
    assert torch.allclose(finish(model, given, 600, "", steps=9), other, atol=1e-3)


def test_the_ladder_goes_down_from_the_timestep_to_zero_with_the_prompt(subject):
    model = Oracle(lambda latent, t: torch.zeros_like(latent))
    finish(model, give(model, subject), 600, "a horse", steps=20)
    times = [t for t, _ in model.requested]
    assert (times[0], times[-1], len(times)) == (600, 0, 20)
    assert {a - b for a, b in pairwise(times)} <= {31, 32}
    assert {prompt for _, prompt in model.requested} == {"a horse"}
    model.requested.clear()
    finish(model, give(model, subject), 3, "", steps=20)
    assert [t for t, _ in model.requested] == [3, 2, 1, 0]


def test_the_noise_is_the_one_that_features_are_read_with(subject):
    given = give(Oracle(None), subject, seed=5)
    assert torch.equal(given.noise[0], noise_for(subject.photo.digest, 5, 0, (3, 16, 16)))


def test_a_twin_s_prediction_starts_from_the_latent_that_extract_reads():
    twin = load("twin:sd15", dtype="fp32")
    photo = cast()[0]
    given = give(twin, photo)
    noisy = twin.schedule.add(given.clean, given.noise, 300)
    tap = next(tap for tap in twin.taps if tap.name == "up1")
    ours = twin.denoise(noisy, 300, twin.encode_prompt([""]), [tap]).maps["up1"]
    theirs = extract(twin, photo.photo, Recipe(timestep=300, taps=("up1",)))["up1"]
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert noisy_picture(twin, given, 300).shape == (128, 128, 3)


def test_error_is_the_root_mean_square_inside_the_mask_alone(subject):
    mask = np.zeros((16, 16), bool)
    mask[:4] = True
    model = Oracle(None)
    given = give(model, Subject(open_photo(np.full((16, 16, 3), 51, np.uint8)), "grey", "", mask))
    latent = given.clean.clone()
    latent[:, :, :2] += 0.4  # half of the mask is wrong by a fifth of the range
    latent[:, :, 8:] = 1.0  # the outside does not count
    picture, wrong = error(model, latent, given)
    assert wrong == pytest.approx(100 * np.sqrt(0.2**2 / 2), rel=1e-5)
    assert picture[0, 0].tolist() == [102] * 3


def test_stages_are_before_the_first_shrinking_and_before_the_last_block():
    twin = load("twin:sd15")
    by_name = {tap.name: tap for tap in twin.taps}
    early, late = (by_name[name] for name in stages(twin))
    assert early.module.startswith("down_blocks.0")
    assert late.module == "up_blocks.2"
    assert early.stride == late.stride == 8


def test_the_cast_is_always_the_same_unhidden_and_faces_both_ways():
    first, again = cast(), cast()
    assert [s.photo.digest for s in first] == [s.photo.digest for s in again]
    assert len({s.photo.digest for s in first}) == 6
    assert (first[0].picture.facing, first[1].picture.facing) == ("right", "left")
    assert first[0].title == first[1].title
    for subject in first:
        assert subject.picture.attributes["occluder"] is None
        assert 0.05 < subject.mask.mean() < 0.8


def test_points_to_match_are_seen_in_both_and_spread():
    a, b = (subject.picture for subject in cast()[:2])
    index = common_points(a, b, 8)
    assert len(index) == len(set(index.tolist())) == 8
    assert (a.visible & b.visible)[index].all()
    every = common_points(a, b, 1000)
    assert len(every) == int((a.visible & b.visible).sum())

    def closest(points):
        gaps = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(points))
        return gaps.min()

    assert closest(a.keypoints[index]) > closest(a.keypoints[every])


def test_the_crowd_comes_from_seeds_that_nothing_learns_from():
    names = [subject.photo.name for subject in crowd(3)]
    assert all(int(name.split("-")[1]) >= HELD_OUT for name in names)
    assert len({subject.photo.digest for subject in crowd(3)}) == 3


def test_a_mask_that_sees_nothing_gives_no_number():
    model = Oracle(None)
    photo = open_photo(np.zeros((16, 16, 3), np.uint8))
    nothing = SimpleNamespace(photo=photo, mask=np.zeros((16, 16), bool))
    given = give(model, nothing)
    assert np.isnan(error(model, given.clean, given)[1])
