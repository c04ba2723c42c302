"""FixedBatch: the same numbers to the bit whatever the batch, and the model's own everything else."""

from __future__ import annotations

import pytest
import torch

import shiftless
from shiftless.backbones.fixed_batch import FixedBatch
from shiftless.conditions.condition import Condition, Steer


@pytest.fixture(scope="module")
def mini():
    return shiftless.load("mini", device="cpu", dtype="bf16")


def batch(model, n):
    generator = torch.Generator().manual_seed(1)
    texts = [model.encode_prompt([text]) for text in ("", "a photo", "a cow", "a red bus")]
    embeds = torch.cat([texts[i % 4].embeds for i in range(n)])
    words = tuple(texts[i % 4].words[0] for i in range(n))
    edges = (torch.rand(n, 3, 64, 64, generator=generator) > 0.9).float()
    steer = Steer(model.control("canny").net, edges, 1.0)
    latents = torch.randn(n, *latent_shape(model), generator=generator)
    return latents, Condition(embeds, words, {}, (steer,)), torch.rand(n, 3, 64, 64, generator=generator) * 2 - 1


def latent_shape(model):
    channels, stride = model.spec.latent
    return channels, 64 // stride, 64 // stride


def test_half_precision_gives_a_row_the_same_bits_in_every_batch(mini):
    fixed = FixedBatch(mini)
    latents, condition, pixels = batch(mini, 6)
    taps = [tap for tap in mini.taps if tap.name == "up0"]
    whole = fixed.denoise(latents, 300, condition, taps, full=True)
    encoded, decoded = fixed.encode_image(pixels), fixed.decode(latents)
    for rows in ([0], [5], [3, 4, 5], [4, 1]):
        alone = Condition(
            condition.embeds[rows],
            tuple(condition.words[i] for i in rows),
            {},
            (Steer(condition.steers[0].net, condition.steers[0].image[rows], 1.0),),
        )
        part = fixed.denoise(latents[rows], 300, alone, taps, full=True)
        assert torch.equal(part.prediction, whole.prediction[rows])
        assert torch.equal(part.maps["up0"], whole.maps["up0"][rows])
        assert torch.equal(fixed.encode_image(pixels[rows]), encoded[rows])
        assert torch.equal(fixed.decode(latents[rows]), decoded[rows])


def test_the_numbers_are_the_models_own(mini):
    fixed = FixedBatch(mini)
    latents, condition, pixels = batch(mini, 4)
    assert torch.equal(
        fixed.denoise(latents, 300, condition).prediction, mini.denoise(latents, 300, condition).prediction
    )
    noise = torch.randn(4, *latent_shape(mini), generator=torch.Generator().manual_seed(2))
    ours = fixed.encode_image(pixels[:2], latent="sample", noise=noise)
    torch.testing.assert_close(ours, mini.encode_image(pixels[:2], latent="sample", noise=noise), atol=0.1, rtol=0.1)
    assert ours.shape == noise.shape
    assert fixed.spec is mini.spec
    assert fixed.control("canny") is mini.control("canny")


def test_it_stops_after_the_last_tap_as_the_model_does(mini):
    latents, condition, _ = batch(mini, 5)
    read = FixedBatch(mini).denoise(latents, 300, condition, [tap for tap in mini.taps if tap.name == "mid"])
    assert read.prediction is None
    assert len(read.maps["mid"]) == 5


def test_large_latents_go_one_by_one_and_small_ones_in_blocks_filled_up():
    recorded = []

    class Counting:
        spec = shiftless.load("twin:sd15", device="cpu").spec

        def decode(self, latent):
            recorded.append(len(latent))
            return latent

    for side, sizes in ((32, [4, 4]), (64, [1] * 5)):
        recorded.clear()
        latent = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 4, side, side)
        assert torch.equal(FixedBatch(Counting()).decode(latent), latent)
        assert recorded == sizes
