"""Hyperfeatures: one bottleneck a layer, and learned mixing weights over layers and readings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from shiftless.amalgamate.gate import check_readings
from shiftless.amalgamate.saved import Saved
from shiftless.errors import BadInput
from shiftless.memory_format import memory_format
from shiftless.recipe import Recipe


class Hyper(Saved):
    """Project every layer of every reading to D channels and sum them by learned shares: B D H W.

    channels  of each of the L layers
    readings  K, the timesteps read (or any other readings)
    width     D, a multiple of 16

    Takes a list of L tensors K B C_l H_l W_l, each on its own grid (the sum is on the finest), or one tensor
    K B C H W that holds the layers side by side. A layer's bottleneck is shared by all readings; the shares are a
    softmax over all L x K.

    Raises BadInput for layers or readings of other numbers or channels.
    Source: Luo et al., "Diffusion Hyperfeatures", 2023, section 3.2.

    >>> hyper = Hyper([8, 4], readings=3, width=32)
    >>> hyper(torch.randn(3, 2, 12, 4, 6)).shape
    torch.Size([2, 32, 4, 6])
    >>> hyper([torch.randn(3, 2, 8, 4, 6), torch.randn(3, 2, 4, 8, 12)]).shape
    torch.Size([2, 32, 8, 12])
    """

    kind = "hyper"

    def __init__(
        self, channels: Sequence[int], readings: int, width: int = 384, recipes: Sequence[Recipe] = ()
    ) -> None:
        super().__init__({"channels": list(channels), "readings": readings, "width": width}, recipes)
        if not channels or width < 16 or width % 16:
            raise BadInput(f"{len(channels)} layers, width={width}: give at least one layer and a multiple of 16")
        self.channels, self.readings, self.out_channels = tuple(channels), readings, width
        self.bottlenecks = nn.ModuleList(Bottleneck(c, width) for c in channels)
        self.mixing = nn.Parameter(torch.zeros(len(channels), readings))

    def shares(self) -> torch.Tensor:
        """Return the mixing weights, which sum to one: L K."""
        return self.mixing.flatten().softmax(0).view_as(self.mixing)

    def forward(self, readings: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
        if isinstance(readings, torch.Tensor):
            check_readings(readings, sum(self.channels))
            readings = readings.split(self.channels, dim=2)
        if len(readings) != len(self.channels):
            raise BadInput(f"{len(readings)} layers: this module was made for {len(self.channels)}")
        h, w = max((layer.shape[-2:] for layer in readings), key=lambda hw: hw[0] * hw[1])
        total: torch.Tensor | None = None
        for layer, c, bottleneck, share in zip(readings, self.channels, self.bottlenecks, self.shares()):
            check_readings(layer, c)
            if len(layer) != self.readings:
                raise BadInput(f"{len(layer)} readings: this module was made for {self.readings}")
            if layer.shape[-2:] != (h, w):
                resized = F.interpolate(layer.flatten(0, 1).float(), (h, w), mode="bilinear")
                layer = resized.unflatten(0, layer.shape[:2])
            if not torch.is_autocast_enabled(layer.device.type):
                layer = layer.to(self.mixing.dtype)
            maps = layer.flatten(0, 1).contiguous(memory_format=memory_format(layer.device))
            projected = bottleneck(maps).unflatten(0, layer.shape[:2])
            part = torch.einsum("k,kbchw->bchw", share.to(projected.dtype), projected)
            total = part if total is None else total + part
        assert total is not None
        return total.float()


class Bottleneck(nn.Module):
    """ResNet's bottleneck with group norm: 1x1 to a quarter of the width, 3x3, 1x1 to the width, plus a shortcut."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        inner = width // 4
        self.body = nn.Sequential(
            *_normed(channels, inner, 1), nn.ReLU(), *_normed(inner, inner, 3), nn.ReLU(), *_normed(inner, width, 1)
        )
        self.shortcut = nn.Sequential(*_normed(channels, width, 1))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(maps) + self.shortcut(maps))


def _normed(channels: int, width: int, side: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, width, side, padding=side // 2, bias=False), nn.GroupNorm(_groups(width), width)


def _groups(width: int) -> int:
    return next(groups for groups in (32, 16, 8, 4, 2, 1) if width % groups == 0)
