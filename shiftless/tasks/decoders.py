"""Decoders: from a pyramid of feature maps to the logits of each class, in plain layers and cheap to train."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class LinearDecoder(nn.Module):
    """One linear layer on the levels' channels, joined on the grid of the first: batch norm and 1x1 convolution.

    channels  of each level; `classes` L

    The layer is applied on each level's own grid, and its answers are enlarged and summed: resizing commutes with it.

    >>> decoder = LinearDecoder((8, 16), 3)
    >>> decoder([torch.randn(2, 8, 4, 6), torch.randn(2, 16, 2, 3)])[0].shape
    torch.Size([2, 3, 4, 6])
    """

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)
        self.layers = nn.ModuleList(nn.Conv2d(c, classes, 1, bias=i == 0) for i, c in enumerate(channels))

    def forward(self, levels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, None]:
        answers = [layer(norm(one)) for layer, norm, one in zip(self.layers, self.norms, levels, strict=True)]
        return sum((_resized(one, answers[0]) for one in answers[1:]), answers[0]), None


class PyramidDecoder(nn.Module):
    """A feature pyramid network: levels are brought to one width, summed from the last down to the first, and mixed.

    channels  of each level; `classes` L
    width     channels that they are brought to

    Source: Lin et al., CVPR 2017 (FPN); Kirillov et al., CVPR 2019 (for segmentation).

    >>> decoder = PyramidDecoder((8, 16), 3, width=4)
    >>> decoder([torch.randn(2, 8, 4, 6), torch.randn(2, 16, 2, 3)])[0].shape
    torch.Size([2, 3, 4, 6])
    """

    def __init__(self, channels: Sequence[int], classes: int, width: int = 256) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_normed(c, width, 1) for c in channels)
        self.mixed = nn.Sequential(_normed(width, width, 3), nn.ReLU())
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, levels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, None]:
        sides = [layer(one) for layer, one in zip(self.lateral, levels, strict=True)]
        summed = sides[-1]
        for one in reversed(sides[:-1]):
            summed = one + _resized(summed, one)
        return self.classifier(self.mixed(summed)), None


def _normed(channels: int, width: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(width))


def _resized(one: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if one.shape[-2:] == like.shape[-2:]:
        return one
    return F.interpolate(one, like.shape[-2:], mode="bilinear", align_corners=False)
