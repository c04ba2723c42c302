"""Decoders in plain layers: what they compute, worked out another way."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from shiftless.tasks.decoders import LinearDecoder, PyramidDecoder

torch.manual_seed(0)
LEVELS = [torch.randn(2, 3, 8, 12), torch.randn(2, 5, 4, 6)]


def test_the_linear_decoder_is_one_layer_on_all_channels_of_the_finest_grid():
    decoder = LinearDecoder((3, 5), 4).eval()
    joined = torch.cat([LEVELS[0], F.interpolate(LEVELS[1], (8, 12), mode="bilinear")], 1)
    weight = torch.cat([layer.weight for layer in decoder.layers], 1)
    scale = 1 / (1 + decoder.norms[0].eps) ** 0.5  # a batch norm that has seen nothing divides by this
    expected = F.conv2d(joined * scale, weight, decoder.layers[0].bias)
    assert torch.allclose(decoder(LEVELS)[0], expected, atol=1e-5)


def test_every_level_has_a_say_in_the_pyramid():
    decoder = PyramidDecoder((3, 5), 4, width=6).eval()
    levels = [one.clone().requires_grad_() for one in LEVELS]
    logits, auxiliary = decoder(levels)
    assert (tuple(logits.shape), auxiliary) == ((2, 4, 8, 12), None)
    logits.square().sum().backward()
    assert all(one.grad.abs().sum() > 0 for one in levels)
