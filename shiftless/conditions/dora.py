"""DoRA: a weight's change split into directions and lengths, brought back to a plain LoRA and gains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from shiftless.conditions.lora_format import Pair
from shiftless.errors import BadInput


@dataclass(frozen=True)
class Change:
    """What LoRAs add to one layer: up(down(x)), and gains on the weight's own output or input.

    outputs  how much more of each output than before the weight gives, D, or None: (1 + outputs) W x
    inputs   how much more of each input it is shown, C, or None: W (1 + inputs) x
    """

    down: torch.Tensor
    up: torch.Tensor
    outputs: torch.Tensor | None = None
    inputs: torch.Tensor | None = None


def plain_change(pair: Pair, weight: torch.Tensor) -> Change:
    """Return a LoRA's change of a weight D C or D C h w, in float32; a DoRA's magnitude m becomes gains.

    With V = W + up down, a DoRA makes the weight m V / |V|, over each row (Liu et al. 2024) or each column (LyCORIS).
    That is g W + (g up) down for g = m / |V|, so that its low rank is kept. A LoRA's scale multiplies `up` before, as
    in peft: at a scale s, V = W + s up down.

    >>> halved = Pair(torch.zeros(1, 2), torch.zeros(2, 1), torch.tensor([2.5, 5.0]))
    >>> plain_change(halved, torch.tensor([[3.0, 4.0], [0.0, 5.0]])).outputs
    tensor([-0.5000,  0.0000])
    """
    down, up = (half.to(weight.device, torch.float32) for half in (pair.down, pair.up))
    if pair.magnitude is None:
        return Change(down, up)
    whole = weight.detach().float() + (up.flatten(1) @ down.flatten(1)).view(weight.shape)
    magnitude = pair.magnitude.to(weight.device, torch.float32)
    columns = magnitude.ndim == 2
    lengths = (whole.transpose(0, 1) if columns else whole).flatten(1).norm(dim=1)
    gain = magnitude.flatten() / lengths.clamp_min(torch.finfo(torch.float32).tiny)
    if columns:
        return Change(down * gain.view(1, -1, *[1] * (down.ndim - 2)), up, inputs=gain - 1)
    return Change(down, up * gain.view(-1, *[1] * (up.ndim - 1)), outputs=gain - 1)


def joined(changes: Sequence[Change], name: str) -> Change:
    """Return the sum of several changes of one layer: ranks are put side by side, gains added up.

    Raises BadInput, naming the layer, for one DoRA of rows and another of columns, whose sum is no such change.
    """
    outputs = [change.outputs for change in changes if change.outputs is not None]
    inputs = [change.inputs for change in changes if change.inputs is not None]
    if outputs and inputs:
        raise BadInput(f"{name}: two DoRAs of different kinds (lengths of rows, of columns); use one of them")
    return Change(
        torch.cat([change.down for change in changes]),
        torch.cat([change.up for change in changes], 1),
        sum(outputs[1:], outputs[0]) if outputs else None,
        sum(inputs[1:], inputs[0]) if inputs else None,
    )


@contextmanager
def gained(layer: nn.Module, change: Change) -> Iterator[None]:
    """Apply gains to a linear or convolutional layer inside the `with`; its bias is not scaled."""
    handles = []
    if change.outputs is not None:
        handles.append(layer.register_forward_hook(_output_hook(layer, change.outputs)))
    if change.inputs is not None:
        handles.append(layer.register_forward_pre_hook(_input_hook(layer, change.inputs)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _output_hook(layer: Any, gain: torch.Tensor) -> Any:
    shape = (-1, 1, 1) if layer.weight.ndim == 4 else (-1,)
    gain = gain.to(layer.weight).view(shape)

    def scale(module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        bias = 0 if module.bias is None else module.bias.detach().view(shape)
        return output + (output - bias) * gain.to(output.device)  # an offloaded layer may have moved since

    return scale


def _input_hook(layer: Any, gain: torch.Tensor) -> Any:
    gain = gain.to(layer.weight).view((-1, 1, 1) if layer.weight.ndim == 4 else (-1,))
    return lambda _module, inputs: (inputs[0] + inputs[0] * gain.to(inputs[0].device), *inputs[1:])
