"""The memory format of images and feature maps on a device: one rule for models, ControlNets and heads."""

from __future__ import annotations

import torch


def memory_format(device: torch.device) -> torch.memory_format:
    """Return the format that convolutions are given on a device: channels last on CPUs and GPUs, except Apple's.

    >>> memory_format(torch.device("cpu")), memory_format(torch.device("mps"))
    (torch.channels_last, torch.contiguous_format)
    """
    return torch.channels_last if device.type in ("cpu", "cuda") else torch.contiguous_format
