"""Compile a network, and use the compiled one only if its gradients agree with the plain ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from shiftless.errors import first_line

Loss = Callable[..., tuple[Tensor, Tensor]]


def compiled(network: nn.Module, examples: Sequence[tuple[Any, ...]], say: Callable[[str], None]) -> Loss:
    """Compile a loss network for batches like the examples; gives the network itself when gradients differ.

    A compiled backward pass once gave zeros below an upsampling layer, and a network of which only the upper layers
    learn has a plausible loss for an hour. Every parameter's gradient is therefore compared once, on every example, and
    where they differ with the one that float32 gives.

    >>> network = nn.Bilinear(2, 2, 1)
    >>> compiled(network, [], print) is network
    True
    """
    if not examples:
        return network
    fast: Loss = torch.compile(network, dynamic=False)
    for example in examples:
        plain = _gradients(network, network, example)
        try:
            other = _gradients(network, fast, example)
            wrong = differing(plain, other)
        except Exception as error:  # no compiler for this device, or one that does not know an operation
            say(f"cannot be compiled ({first_line(error)}); going on uncompiled")
            return network
        if wrong:  # in bfloat16 the plain sums may be the ones that are off: the exact gradients decide
            exact = _exact_gradients(network, example)
            wrong = [name for name in differing(exact, other) if name in wrong]
        if wrong:
            say(f"compiled gradients are wrong for {', '.join(wrong[:3])} and {len(wrong)} in all; going on uncompiled")
            return network
    return fast


def differing(plain: dict[str, Tensor], fast: dict[str, Tensor], *, least: float = 0.9) -> list[str]:
    """Name the gradients that do not agree: cosine below `least`, or norms a fifth apart.

    Gradients below a ten-thousandth of the whole are left out: in bfloat16 they are rounding.

    >>> ones = torch.ones(4)
    >>> differing({"a": ones, "b": ones, "c": 1e-6 * ones}, {"a": ones, "b": 0 * ones, "c": 0 * ones})
    ['b']
    """
    total = sum(float(g.norm()) ** 2 for g in plain.values()) ** 0.5
    wrong = []
    for name, gradient in plain.items():
        size = float(gradient.norm())
        if size < 1e-4 * total:
            continue
        other = fast[name]
        cosine = float((gradient * other).sum()) / (size * float(other.norm()) + 1e-30)
        if cosine < least or not 0.8 < float(other.norm()) / size < 1.25:
            wrong.append(name)
    return wrong


def _exact_gradients(network: nn.Module, example: tuple[Any, ...]) -> dict[str, Tensor]:
    """Give every gradient as float32 computes it."""
    wide = deepcopy(network).float()
    return _gradients(wide, wide, tuple(one.float() if one.is_floating_point() else one for one in example))


def _gradients(network: nn.Module, loss_of: Loss, example: tuple[Any, ...]) -> dict[str, Tensor]:
    network.zero_grad(set_to_none=True)
    loss_of(*example)[0].backward()
    disagreements = {
        name: torch.zeros_like(p, dtype=torch.float32) if p.grad is None else p.grad.float()
        for name, p in network.named_parameters()
    }
    network.zero_grad(set_to_none=True)
    return disagreements
