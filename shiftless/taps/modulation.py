"""Modulation: how a transformer's block norms, scales and shifts its input, and the same done to any map.

An AdaLN block gives its attention (1 + scale) LayerNorm(x) + shift, with a scale and a shift for each channel that
follow from the timestep and the prompt alone (DiT, Peebles and Xie 2023). `Tap.modulation` says where they come from:
the module whose output begins with the shift and then the scale, and in some families a second path, to a table of
parameters that is added to them, or to a norm with a weight and a bias of its own, which they then include.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from torch.nn.functional import layer_norm, pad

from shiftless.taps.names import Tap

KIND = "modulation"
EPS = 1e-6
"""Of the layer norm, in every family that is read."""


def modulation_of(tap: Tap) -> Tap:
    """Return the tap that reads the shift and the scale of the block whose input a tap is: a map B 2C 1 1.

    >>> block = Tap("block3.in", 48, 16, "blocks.3", side="in", modulation=("blocks.3.norm1.linear",))
    >>> modulation_of(block).name, modulation_of(block).channels, modulation_of(block).module
    ('block3.in (modulation)', 96, 'blocks.3.norm1.linear')
    """
    name, channels = f"{tap.name} ({KIND})", 2 * tap.channels
    return replace(tap, name=name, channels=channels, module=tap.modulation[0], kind=KIND, side="out")


def shift_and_scale(tap: Tap, network: nn.Module, output: torch.Tensor) -> torch.Tensor:
    """Return what `modulation_of` reads, B 2C 1 1 in float32: the shifts of the C channels, then the scales.

    tap      as `modulation_of` gives it
    network  the network in which its paths lie
    output   B K, what the module gave back; HunyuanDiT's gives the shifts alone, since its norm's weight scales
    """
    values = output.flatten(1)[:, : tap.channels].float()
    values = pad(values, (0, tap.channels - values.shape[1])).unflatten(1, (2, -1))  # B 2 C
    for path in tap.modulation[1:]:
        own: Any = attrgetter(path)(network)
        if isinstance(own, torch.Tensor):
            values = values + own[:2].to(values)  # an offloaded block may wait elsewhere
        elif own.weight is not None:
            shift, scale = values.unbind(1)
            bias = 0 if own.bias is None else own.bias.to(shift)
            values = torch.stack([shift + bias * (1 + scale), own.weight.to(shift) * (1 + scale) - 1], 1)
    return values.flatten(1)[:, :, None, None]


def modulated(value: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
    """Return a block's input as its attention is given it: (1 + scale) LayerNorm(value) + shift; float32.

    value       B C H W, or a mean of such maps over noise draws
    modulation  B 2C 1 1, from `shift_and_scale`

    >>> one = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    >>> modulated(one, torch.tensor([5.0, 5.0, 1.0, 3.0]).view(1, 4, 1, 1)).flatten().round()
    tensor([7., 1.])
    """
    shift, scale = modulation.float().chunk(2, 1)
    normed = layer_norm(value.float().movedim(1, -1), value.shape[1:2], eps=EPS).movedim(-1, 1)
    return (1 + scale) * normed + shift
