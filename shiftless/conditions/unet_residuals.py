"""What control networks add to a UNet: the residuals of ControlNets and the features of T2I-Adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from shiftless.conditions.condition import Steer
from shiftless.conditions.t2i_adapter import T2IAdapter
from shiftless.memory_format import memory_format

Tensors = list[torch.Tensor]


def residuals(
    steers: Sequence[Steer],
    latent: torch.Tensor,
    timestep: int,
    embeds: torch.Tensor | None,
    told: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, Any]:
    """Return the sums of what the control networks give, as the UNet takes them; {} without any.

    told  what else SDXL's networks are told: "text_embeds", "time_ids"

    Sources: Zhang et al., "Adding conditional control to text-to-image diffusion models", 2023; Mou et al.,
    "T2I-Adapter", 2023.

    >>> residuals([], torch.zeros(1, 4, 8, 8), 50, torch.zeros(1, 77, 8))
    {}
    """
    given: dict[str, Any] = {}
    skips: list[Tensors] = []
    features: list[Tensors] = []
    for steer in steers:
        image = steer.image.to(latent.device, latent.dtype, memory_format=memory_format(latent.device))
        if type(steer.net).__name__ == T2IAdapter.NAME:
            features.append([feature * steer.scale for feature in steer.net(image)])
            continue
        options = {"conditioning_scale": steer.scale, "added_cond_kwargs": told, "return_dict": False}
        down, mid = steer.net(latent, timestep, embeds, controlnet_cond=image, **options)
        skips.append([*down, mid])
    if skips:
        *down, mid = _sum(skips)
        given |= {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": mid}
    if features:
        given["down_intrablock_additional_residuals"] = _sum(features)
    return given


def _sum(several: Sequence[Tensors]) -> Tensors:
    """The sums of lists of tensors; where one list is shorter, the rest of the others."""
    total: Tensors = []
    for tensors in several:
        common = [a + b for a, b in zip(total, tensors)]
        total = [*common, *max(total, tensors, key=len)[len(common) :]]
    return total
