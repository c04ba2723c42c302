"""Hooks: they read without changing, stop after the last tap, and are gone afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import shiftless
from shiftless.taps.hooks import tapped
from shiftless.taps.names import Tap, select


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def inputs(model):
    torch.manual_seed(0)
    return torch.randn(2, 4, 8, 16), model.encode_prompt(["a photo of a horse", "a cow"])


def hooks_of(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_reading_does_not_change_the_prediction_and_leaves_no_hook(model, inputs):
    latent, condition = inputs
    plain = model.denoise(latent, 50, condition).prediction
    every = select(["*", "*.heads"], model.taps)
    read = model.denoise(latent, 50, condition, every, full=True)
    assert torch.equal(read.prediction, plain)
    assert len(read.maps) == len(model.taps)
    assert hooks_of(model.unet) == 0


def test_every_tap_has_the_channels_and_stride_it_claims(model, inputs):
    latent, condition = inputs
    maps = model.denoise(latent, 50, condition, model.taps).maps
    tokens = condition.embeds.shape[1]
    for tap in model.taps:
        b, c, h, w = maps[tap.name].shape
        assert (b, h * tap.stride, w * tap.stride) == (2, 64, 128), tap
        known = tap.channels or (tokens if ".cross." in tap.name else h * w) * (8 if tap.kind == "heads" else 1)
        assert c == known, tap


def test_it_stops_after_the_last_tap(model, inputs):
    latent, condition = inputs
    reached = []
    handle = model.unet.up_blocks[2].register_forward_hook(lambda *_: reached.append("up2"))
    reading = model.denoise(latent, 50, condition, select(["up1"], model.taps))
    handle.remove()
    assert reading.prediction is None
    assert reached == []


def test_hooks_go_even_when_the_model_fails(model):
    with pytest.raises(RuntimeError), tapped(model.unet, select(["up1"], model.taps)):
        model.unet(torch.randn(1, 3, 8, 8), 50, torch.randn(1, 77, 32))  # one channel too few
    assert hooks_of(model.unet) == 0


def test_a_tap_that_is_never_reached_is_an_error_not_a_gap():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    net.unused = nn.Conv2d(4, 4, 1)
    net.forward = lambda x: net[0](x)
    with tapped(net, [Tap("lost", 4, 1, "unused")]) as captured:
        net(torch.zeros(1, 3, 2, 2))
    with pytest.raises(RuntimeError, match="lost"):
        captured.maps()


def test_increment_is_what_the_residual_layer_added(model, inputs):
    latent, condition = inputs
    recorded = {}
    resnet = model.unet.down_blocks[1].resnets[1]  # equal widths, so the shortcut is the identity
    handle = resnet.register_forward_pre_hook(lambda _m, args: recorded.update(input=args[0]))
    maps = model.denoise(latent, 50, condition, select(["down1.res1", "down1.res1.increment"], model.taps)).maps
    handle.remove()
    torch.testing.assert_close(
        maps["down1.res1"], recorded["input"] + maps["down1.res1.increment"], atol=1e-5, rtol=1e-5
    )
