"""Modulation: the shift and the scale of a block, and what is done with them, against diffusers' own norms."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.normalization import AdaLayerNormZero, AdaLayerNormZeroSingle, SD35AdaLayerNormZeroX
from torch import nn

from shiftless.taps.hooks import tapped
from shiftless.taps.modulation import modulated, modulation_of, shift_and_scale
from shiftless.taps.names import Tap

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.mark.parametrize("kind", [AdaLayerNormZero, AdaLayerNormZeroSingle, SD35AdaLayerNormZeroX])
def test_it_is_what_the_norms_of_diffusers_do(kind):
    torch.manual_seed(0)
    norm, tokens, embedding = kind(12), torch.randn(2, 6, 12), torch.randn(2, 12)
    network = nn.ModuleDict({"norm": norm})
    block = Tap("block0.in", 12, 16, "norm", side="in", modulation=("norm.linear",))
    with torch.no_grad(), tapped(network, [modulation_of(block)], stop=False) as captured:
        expected = norm(tokens, emb=embedding)[0]
    read = captured.maps()["block0.in (modulation)"]
    assert read.shape == (2, 24, 1, 1)
    ours = modulated(tokens.transpose(1, 2).unflatten(2, (2, 3)), read)
    torch.testing.assert_close(ours.flatten(2).transpose(1, 2), expected, **CLOSE)


def test_a_table_is_added_and_a_norm_with_weights_is_included():
    torch.manual_seed(0)
    network = nn.Module()
    network.table, network.norm = nn.Parameter(torch.randn(6, 4)), nn.LayerNorm(4, eps=1e-6)
    nn.init.normal_(network.norm.weight)
    nn.init.normal_(network.norm.bias)
    x, output = torch.randn(2, 4, 3, 3), torch.randn(2, 24)

    def ours(*paths, given=output):
        tap = modulation_of(Tap("in", 4, 16, "block", modulation=("linear", *paths)))
        return modulated(x, shift_and_scale(tap, network, given)).movedim(1, -1)

    with torch.no_grad():
        plain = nn.functional.layer_norm(x.movedim(1, -1), (4,), eps=1e-6)
        shift, scale = (network.table[None] + output.unflatten(1, (6, 4))).chunk(6, 1)[:2]
        torch.testing.assert_close(ours("table"), (1 + scale[:, None]) * plain + shift[:, None], **CLOSE)
        shift, scale = output[:, None, None, :4], output[:, None, None, 4:8]
        torch.testing.assert_close(ours("norm"), (1 + scale) * network.norm(x.movedim(1, -1)) + shift, **CLOSE)
        only = ours("norm", given=output[:, :4])
        torch.testing.assert_close(only, network.norm(x.movedim(1, -1)) + output[:, None, None, :4], **CLOSE)
