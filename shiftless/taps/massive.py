"""Massive activations: the few channels of a map whose values are far larger than all others, and carry no detail.

Sun et al. ("Massive Activations in Large Language Models", 2024) call an activation massive if its magnitude is above
100 and about 1000 times the median magnitude or more. In diffusion transformers they lie in the same few channels of
every cell (DiTF, Gan et al. 2025), so that the rule is put to channels here: a channel's magnitude is the median of its
magnitudes over the cells of one image, and is compared with the median of all channels' magnitudes. A channel that is
large in fewer than half of the cells is not massive by this rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

LEAST = 100.0
"""The magnitude that a massive channel is above."""
TIMES = 1000.0
"""How many times the median magnitude of all channels a massive one has at least."""


def massive_channels(value: torch.Tensor) -> tuple[int, ...]:
    """Return the numbers of the channels of one image's map, 1 C H W, that hold massive activations, in order.

    >>> value = torch.ones(1, 8, 4, 4)
    >>> value[:, 3], value[:, 5], value[:, 6] = -2000, 900, 5
    >>> massive_channels(value)
    (3,)
    """
    magnitudes = value[0].float().abs().flatten(1).median(1).values
    threshold = torch.clamp(TIMES * magnitudes.median(), min=LEAST)
    massive = (magnitudes > LEAST) & (magnitudes >= threshold)
    return tuple(massive.nonzero().flatten().tolist())


def without_channels(value: torch.Tensor, channels: Sequence[int]) -> torch.Tensor:
    """Return a map B C H W with some channels set to zero.

    >>> without_channels(torch.ones(1, 3, 1, 1), [1]).flatten()
    tensor([1., 0., 1.])
    """
    return value.index_fill(1, torch.tensor(list(channels), dtype=torch.long, device=value.device), 0)
