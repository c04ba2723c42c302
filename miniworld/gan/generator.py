"""The generator: from a random latent to a picture, in the manner of StyleGAN2."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from miniworld.gan.layers import EqualLinear, ModulatedConv, doubled, leaky

WORLDS = ("horses", "bedrooms")
"""What a picture shows: the classes that the networks are told."""


class Mapping(nn.Module):
    """From a random z and what to show to the latent w that styles are made of.

    >>> Mapping(16, 16, 2, 2)(torch.randn(3, 16), torch.tensor([0, 1, 1])).shape
    torch.Size([3, 16])
    """

    def __init__(self, latent: int, width: int, labels: int, layers: int) -> None:
        super().__init__()
        self.label = EqualLinear(labels, latent)
        sizes = (2 * latent, *(width,) * layers)
        self.layers = nn.ModuleList(EqualLinear(a, b, rate=0.01) for a, b in pairwise(sizes))
        self.labels = labels

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """B `latent` standard normal and classes B -> w, B `width`."""
        dtype = self.label.weight.dtype
        shown = self.label(F.one_hot(labels, self.labels).to(dtype))
        x = torch.cat([_unit(z.float()), _unit(shown.float())], 1).to(dtype)
        for layer in self.layers:
            x = leaky(layer(x))
        return x


class Block(nn.Module):
    """One grid of the synthesis: a convolution on the grid before, doubled, then one on its own, then colours."""

    def __init__(self, inputs: int, outputs: int, width: int, colours: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.convs = nn.ModuleList(
            ModulatedConv(a, outputs, 3, width) for a in ((outputs,) if first else (inputs, outputs))
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(outputs)) for _ in self.convs)
        self.strengths = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in self.convs)
        self.colour = ModulatedConv(outputs, colours, 1, width, demodulate=False)
        self.colour_bias = nn.Parameter(torch.zeros(colours))
        self.styles = len(self.convs) + 1

    def forward(self, x: Tensor, styles: Sequence[Tensor], noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """B C H W and latents, B `width` for each layer -> (B `outputs` 2H 2W, its colours); the first keeps H W."""
        for i, (conv, bias, strength) in enumerate(zip(self.convs, self.biases, self.strengths)):
            x = conv(x, styles[i])
            if not self.first and i == 0:
                x = doubled(x)
            if noise is not None:
                h, w = x.shape[-2:]
                x = x + strength * noise[:, i : i + 1, :h, :w].to(x.dtype)
            x = leaky(x + bias[:, None, None])
        return x, self.colour(x, styles[-1]) + self.colour_bias[:, None, None]


class Generator(ModelMixin, ConfigMixin):
    """A generator in the manner of StyleGAN2, told what to show.

    latent    numbers of z                      width  numbers of w
    channels  on the grids of 4, 8, 16 ... cells
    patch     pixels along a side that a cell of the finest grid paints: a picture has `patch` times as many pixels as
              that grid has cells, which costs a fraction of what one more grid would
    labels    how many things there are to show        layers  of the mapping

    Differs from the published one in the last step (`patch`), in convolutions before the grid is doubled, and in having
    neither path-length regularisation nor mixed styles. Source: Karras et al., CVPR 2020 (StyleGAN2).

    >>> model = Generator(channels=(16, 8))
    >>> model(torch.randn(2, 128), torch.tensor([0, 1])).shape, model.styles, model.size
    (torch.Size([2, 3, 16, 16]), 5, 16)
    """

    means: Tensor

    @register_to_config
    def __init__(
        self,
        latent: int = 128,
        width: int = 128,
        channels: tuple[int, ...] = (96, 96, 64, 48, 24),
        patch: int = 2,
        labels: int = len(WORLDS),
        layers: int = 4,
    ) -> None:
        super().__init__()
        self.mapping = Mapping(latent, width, labels, layers)
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        blocks = [
            Block(a, b, width, 3 * patch**2 if i == len(channels) - 1 else 3, first=i == 0)
            for i, (a, b) in enumerate(zip((0, *channels), channels))
        ]
        self.blocks = nn.ModuleList(blocks)
        self.register_buffer("means", torch.zeros(labels, width))  # of w, for each label
        self.layout = tuple(block.styles for block in blocks)
        self.styles = sum(self.layout)
        self.grid = 4 * 2 ** (len(channels) - 1)
        self.size = self.grid * patch

    def forward(self, z: Tensor, labels: Tensor, noise: Tensor | None = None) -> Tensor:
        """z B `latent` and classes B -> pixels B 3 H W, in [-1, 1] once it has learned to; noise B 2 H W."""
        return self.synthesise(self.mapping(z, labels), noise)[0]

    def synthesise(self, w: Tensor, noise: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Paint latents: w of each picture, B `width`, or of each layer, B `styles` `width`.

        noise  B 2 H W standard normal, of the finest grid; none is added without it
        Returns (pixels B 3 H W, the map of each grid, B C H W, the coarsest first).
        """
        rows = w[:, None].expand(-1, self.styles, -1) if w.ndim == 2 else w
        rows = rows.to(self.constant.dtype)
        x = self.constant.expand(len(rows), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        picture: Tensor | None = None
        maps, at = [], 0
        for block, n in zip(self.blocks, self.layout):
            x, colours = block(x, [rows[:, i] for i in range(at, at + n)], noise)
            at += n
            if picture is not None:
                picture = doubled(picture)
                if colours.shape[1] != picture.shape[1]:  # a cell's colour is that of all its pixels
                    picture = picture.repeat_interleave(colours.shape[1] // 3, 1)
                colours = colours + picture
            picture = colours
            maps.append(x)
        assert picture is not None
        return F.pixel_shuffle(picture.float(), self.config.patch), maps

    @torch.no_grad()
    def sample(self, z: Tensor, labels: Tensor, truncation: float = 1.0) -> Tensor:
        """Give the latents w B `width` of random z, drawn towards the mean of their label.

        truncation  1 leaves them as they are, 0 gives the mean

        Source: Karras et al., CVPR 2019, appendix B (the truncation trick).
        """
        means = self.means[labels]
        return means + truncation * (self.mapping(z, labels).float() - means)

    @torch.no_grad()
    def measure_means(self, n: int = 4096, seed: int = 0) -> None:
        """Keep the mean of w over n random z for each label, once the mapping is trained."""
        z = torch.randn(n, self.config.latent, generator=torch.Generator().manual_seed(seed)).to(self.device)
        for label in range(self.config.labels):
            shown = torch.full((n,), label, device=z.device)
            self.means[label] = self.mapping(z, shown).float().mean(0)


def _unit(x: Tensor) -> Tensor:
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
