"""Inputs: what is prepared in another thread is what is made when it is asked for, and all that a reading needs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import shiftless
from shiftless.image import Frame, open_photo, to_pixels
from shiftless.noise import noise_for
from shiftless.reading import inputs as module
from shiftless.reading.inputs import Inputs
from shiftless.reading.loop import buckets

RECIPES = [
    shiftless.Recipe(taps=("up1",), size=64, ensemble=2),
    shiftless.Recipe(taps=("up0",), size=128, latent="sample", seed=3),
    shiftless.Recipe(taps=("up1",), size=64, noise="invert", steps=2),
    shiftless.Recipe(taps=("mid",), size=64, start=60, timestep=50, steps=2),
]


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture
def photo():
    return open_photo(np.random.default_rng(0).integers(0, 256, (70, 100, 3), dtype=np.uint8), "a.png")


def test_pixels_are_pillow_s_scaled_as_torch_scales(photo):
    resized = np.array(Image.fromarray(photo.array).resize((64, 48), Image.Resampling.BICUBIC))
    expected = torch.from_numpy(resized).permute(2, 0, 1)[None].float() / 255 * 2 - 1
    assert torch.equal(to_pixels(photo, Frame(photo.hw, (48, 64))), expected)


def test_what_is_prepared_is_all_that_recipes_need_and_nothing_else(model, photo, monkeypatch):
    plain = list(buckets(model, [photo], RECIPES, batch=4))
    drawn = []

    def counted(digest, *key):
        drawn.append(key)
        return noise_for(digest, *key)

    monkeypatch.setattr(module, "noise_for", counted)
    inputs = Inputs(photo).prepare(model.spec, RECIPES)
    shapes = {64: (4, 12, 16), 128: (4, 24, 32)}  # a latent's side is a quarter of the photo's in the tiny model
    assert {(seed, member, stream) for seed, member, _, stream in drawn} == {
        (0, 0, "diffusion"), (0, 1, "diffusion"), (3, 0, "diffusion"), (3, 0, "posterior"),
    }  # fmt: skip
    assert len(drawn) == len(set(drawn)) == 4
    assert {shape for _, _, shape, _ in drawn} <= set(shapes.values()) | {tuple(p) for p in _latents(model)}
    prepared = list(drawn)
    monkeypatch.setattr(module, "resized", None)  # nothing more is resized
    (bucket,) = buckets(model, [inputs], RECIPES, batch=4)
    assert drawn == prepared
    for ours, theirs in zip(bucket, plain[0], strict=True):
        assert all(torch.equal(ours[tap], theirs[tap]) for tap in theirs)


def _latents(model):
    for size in (64, 128):
        fed = shiftless.image.plan((70, 100), size, model.spec.multiple).fed
        yield model.encode_image(torch.zeros(1, 3, *fed)).shape[1:]


def test_memory_is_pinned_for_cuda_alone(model, photo, monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self.shape) or self)
    Inputs(photo, torch.device("cpu")).prepare(model.spec, RECIPES[:1])
    assert pinned == []
    Inputs(photo, torch.device("cuda")).prepare(model.spec, RECIPES[:1])
    assert len(pinned) == 3  # pixels and two draws of noise
