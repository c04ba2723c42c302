"""What control networks add to a UNet: the residuals of ControlNets and the features of T2I-Adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from shiftless.conditions.condition import Steer
from shiftless.conditions.controlnet_union import ControlNetUnion
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
    for together in _calls(steers):
        net, scales = together[0].net, [steer.scale for steer in together]
        to: dict[str, Any] = {"dtype": latent.dtype, "memory_format": memory_format(latent.device)}
        images = [steer.image.to(latent.device, **to) for steer in together]
        options: dict[str, Any] = {"added_cond_kwargs": told, "return_dict": False}
        if type(net).__name__ == T2IAdapter.NAME:
            features.append([feature * scales[0] for feature in net(images[0])])
            continue
        if type(net).__name__ == ControlNetUnion.NAME:
            modes = [steer.mode for steer in together if steer.mode is not None]
            kinds = torch.zeros(len(latent), net.config.num_control_type, device=latent.device, dtype=latent.dtype)
            kinds[:, modes] = 1
            options |= {"control_type": kinds, "control_type_idx": modes}
            down, mid = net(latent, timestep, embeds, images, conditioning_scale=scales, **options)
        else:
            down, mid = net(latent, timestep, embeds, images[0], conditioning_scale=scales[0], **options)
        skips.append([*down, mid])
    if skips:
        *down, mid = _sum(skips)
        given |= {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": mid}
    if features:
        given["down_intrablock_additional_residuals"] = _sum(features)
    return given


def _calls(steers: Sequence[Steer]) -> list[list[Steer]]:
    """The steers of each call: all maps for one union together, every other network alone."""
    calls: dict[Any, list[Steer]] = {}
    for i, steer in enumerate(steers):
        calls.setdefault(i if steer.mode is None else steer.net, []).append(steer)
    return list(calls.values())


def _sum(several: Sequence[Tensors]) -> Tensors:
    """The sums of lists of tensors; where one list is shorter, the rest of the others."""
    total: Tensors = []
    for tensors in several:
        common = [a + b for a, b in zip(total, tensors)]
        total = [*common, *max(total, tensors, key=len)[len(common) :]]
    return total
