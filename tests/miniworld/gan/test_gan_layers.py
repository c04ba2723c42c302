"""Layers of the generator, against what they say they equal."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from miniworld.gan.layers import EqualConv, EqualLinear, ModulatedConv, leaky


@pytest.mark.parametrize("demodulate", [True, False])
def test_a_modulated_convolution_is_one_with_weights_of_its_own_for_each_picture(demodulate):
    torch.manual_seed(0)
    layer = ModulatedConv(6, 5, 3, styles=4, demodulate=demodulate)
    x, w = torch.randn(3, 6, 7, 9), torch.randn(3, 4)
    rows = []
    for i in range(3):
        scale = layer.style.weight @ w[i] / 2 + layer.style.bias  # 2 is the root of 4 inputs
        kernel = layer.weight * scale[None, :, None, None] / (6 * 9) ** 0.5
        if demodulate:
            kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        rows.append(F.conv2d(x[i : i + 1], kernel, padding=1))
    torch.testing.assert_close(layer(x, w), torch.cat(rows), atol=1e-5, rtol=1e-5)


def test_layers_keep_the_variance_of_their_input_when_they_are_new():
    torch.manual_seed(0)
    x = torch.randn(64, 32, 8, 8)
    linear, conv, modulated = EqualLinear(32, 32), EqualConv(32, 32, 3), ModulatedConv(32, 32, 3, styles=8)
    inside = conv(x)[..., 1:-1, 1:-1], modulated(x, torch.randn(64, 8))[..., 1:-1, 1:-1]
    for y in (linear(x[..., 0, 0]), *inside):
        assert float(y.detach().square().mean()) == pytest.approx(1, abs=0.15)
    assert float(leaky(x).square().mean()) == pytest.approx(1, abs=0.05)


def test_the_rate_of_a_layer_scales_its_steps_and_not_its_answers():
    torch.manual_seed(0)
    plain, slow = EqualLinear(4, 4, bias=1.0), EqualLinear(4, 4, rate=0.01, bias=1.0)
    slow.weight.data = plain.weight.data * 100
    x = torch.randn(2, 4)
    torch.testing.assert_close(slow(x), plain(x))
    before = slow(x)
    for layer in (plain, slow):
        for p in layer.parameters():
            p.data += 1.0  # a step of Adam is of one size for all
    torch.testing.assert_close(slow(x) - before, (plain(x) - before) / 100, atol=1e-4, rtol=1e-3)
