"""The discriminator: whether a picture is drawn or generated; and what it shares with the encoder."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from miniworld.gan.generator import WORLDS
from miniworld.gan.layers import EqualConv, EqualLinear, leaky


class Halving(nn.Module):
    """A residual block that halves the grid: B `inputs` H W -> B `outputs` H/2 W/2.

    >>> Halving(8, 16)(torch.zeros(1, 8, 4, 4)).shape
    torch.Size([1, 16, 2, 2])
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.before = EqualConv(inputs, inputs, 3)
        self.after = EqualConv(inputs, outputs, 3)
        self.beside = EqualConv(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the grid between the two convolutions."""
        y = leaky(self.after(F.avg_pool2d(leaky(self.before(x)), 2)))
        return (y + self.beside(F.avg_pool2d(x, 2))) / math.sqrt(2)


class Trunk(nn.Module):
    """From a picture to its maps on ever coarser grids, down to 4 x 4 cells.

    channels  on the grids of 4, 8, 16 ... cells, as the generator has them; `patch` x `patch` pixels enter a cell

    >>> [tuple(one.shape[1:]) for one in Trunk((16, 12, 8), 2)(torch.zeros(1, 3, 32, 32))]
    [(8, 16, 16), (12, 8, 8), (16, 4, 4)]
    """

    def __init__(self, channels: tuple[int, ...], patch: int) -> None:
        super().__init__()
        fine = tuple(reversed(channels))
        self.patch = patch
        self.enter = EqualConv(3 * patch**2, fine[0], 3)
        self.blocks = nn.ModuleList(Halving(a, b) for a, b in pairwise(fine))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Pixels B 3 H W -> maps B C H W, the finest first."""
        cells = F.pixel_unshuffle(pixels, self.patch).to(self.enter.weight.dtype)
        maps = [leaky(self.enter(cells.contiguous(memory_format=torch.channels_last)))]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps


class Discriminator(ModelMixin, ConfigMixin):
    """A residual discriminator with the deviation of the minibatch, one logit for each label.

    group  pictures that the deviation is taken over; a batch is a multiple of it, or smaller

    Source: Karras et al., CVPR 2020 (StyleGAN2).

    >>> Discriminator(channels=(16, 8))(torch.zeros(4, 3, 16, 16), torch.tensor([0, 1, 0, 1])).shape
    torch.Size([4])
    """

    @register_to_config
    def __init__(
        self,
        channels: tuple[int, ...] = (96, 96, 64, 48, 24),
        patch: int = 2,
        labels: int = len(WORLDS),
        group: int = 4,
    ) -> None:
        super().__init__()
        self.trunk = Trunk(channels, patch)
        self.mixed = EqualConv(channels[0] + 1, channels[0], 3)
        self.hidden = EqualLinear(16 * channels[0], channels[0])
        self.logits = EqualLinear(channels[0], labels)

    def forward(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Pixels B 3 H W and classes B -> logits B, float32: positive where a picture seems drawn."""
        x = self.trunk(pixels)[-1]
        x = leaky(self.mixed(torch.cat([x, deviation(x, self.config.group)], 1)))
        x = self.logits(leaky(self.hidden(x.flatten(1))))
        return x.float().gather(1, labels[:, None])[:, 0]


def deviation(x: Tensor, group: int) -> Tensor:
    """Give how much the maps of a group of pictures differ, as a map B 1 H W: the mean deviation over all channels.

    Picture i is in a group with those that are a whole number of groups away, as published.

    >>> deviation(torch.tensor([0.0, 5.0, 2.0, 5.0]).view(4, 1, 1, 1), 2).flatten().round(decimals=3).tolist()
    [1.0, 0.0, 1.0, 0.0]
    """
    size = min(group, len(x))
    rows = x.float().unflatten(0, (size, len(x) // size))
    spread = (rows.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    return spread.repeat(size)[:, None, None, None].expand(-1, 1, *x.shape[2:]).to(x.dtype)
