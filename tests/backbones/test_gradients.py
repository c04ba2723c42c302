"""Gradients through a model's taps are those of plain diffusers, and reading keeps no graph."""

import pytest
import torch

from shiftless.backbones.registry import load
from shiftless.conditions.condition import Condition
from shiftless.errors import BadInput


@pytest.fixture(scope="module")
def model():
    return load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture
def inputs(model):
    torch.manual_seed(0)
    latent = torch.randn(2, 4, 8, 8, requires_grad=True)
    embeds = model.encode_prompt(["a horse", "a bed"]).embeds.clone().requires_grad_()
    return latent, embeds


def tap(model, name):
    return [one for one in model.taps if one.name == name]


def test_gradients_are_those_of_plain_diffusers(model, inputs):
    latent, embeds = inputs
    learning = dict(model.denoiser.named_parameters())
    model.denoiser.requires_grad_()
    try:
        maps = model.denoise_with_grad(latent, 50, Condition(embeds), tap(model, "up1")).maps
        ours = torch.autograd.grad(maps["up1"].square().mean(), [latent, embeds, *learning.values()], allow_unused=True)
        kept = []
        handle = model.denoiser.up_blocks[1].register_forward_hook(lambda *call: kept.append(call[2]))
        model.denoiser(latent, 50, embeds)
        handle.remove()
        plain = torch.autograd.grad(kept[0].square().mean(), [latent, embeds, *learning.values()], allow_unused=True)
    finally:
        model.denoiser.requires_grad_(False)
    reached = [name for name, one in zip(learning, ours[2:]) if one is not None]
    assert any(name.startswith("down_blocks.0") for name in reached)
    assert not any(name.startswith("up_blocks.2") for name in reached)  # it was stopped after the tap
    for one, other in zip(ours, plain):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-4)


def test_a_word_s_map_teaches_the_prompt_and_the_weights(model, inputs):
    latent, embeds = inputs
    cross = next(one for one in model.taps if one.name.endswith("attn0.block0.cross.map") and "up1" in one.name)
    weight = model.denoiser.get_submodule(cross.module).to_k.weight.requires_grad_()
    try:
        maps = model.denoise_with_grad(latent, 50, Condition(embeds), [cross]).maps
        gradients = torch.autograd.grad(maps[cross.name][:, 2].square().sum(), [embeds, weight])
    finally:
        weight.requires_grad_(False)
    assert all(one.abs().max() > 0 for one in gradients)


def test_reading_keeps_no_graph(model, inputs):
    latent, embeds = inputs
    maps = model.denoise(latent, 50, Condition(embeds), tap(model, "up1")).maps
    assert not maps["up1"].requires_grad
    with torch.enable_grad():
        assert not model.denoise(latent, 50, Condition(embeds)).prediction.requires_grad


def test_an_offloaded_model_is_refused(inputs):
    latent, embeds = inputs
    offloaded = load("twin:sd15", device="cpu", dtype="fp32", quantise="int8")
    with pytest.raises(BadInput, match="offloaded or quantised cannot be trained through"):
        offloaded.denoise_with_grad(latent, 50, Condition(embeds))
