"""The encoder: from a picture to the latents that the generator paints it from."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from miniworld.gan.discriminator import Trunk
from miniworld.gan.layers import EqualLinear, leaky


class Encoder(ModelMixin, ConfigMixin):
    """A residual network that gives one latent w for each layer of a generator, or one for all.

    styles  latents that it gives: the generator's `styles`, or 1

    Its answers are `centre + scale * what it learned`, where the two buffers are mean and deviation of w.

    Source: the latents are those of pSp and e4e (Richardson et al., CVPR 2021; Tov et al., SIGGRAPH 2021): one w, and
    how each layer's differs from it.

    >>> model = Encoder(channels=(16, 8), styles=5)
    >>> latents, maps = model(torch.zeros(2, 3, 16, 16))
    >>> latents.shape, [tuple(one.shape[1:]) for one in maps]
    (torch.Size([2, 5, 128]), [(8, 8, 8), (16, 4, 4)])
    """

    centre: Tensor
    scale: Tensor

    @register_to_config
    def __init__(
        self,
        width: int = 128,
        styles: int = 14,
        channels: tuple[int, ...] = (96, 96, 64, 48, 24),
        patch: int = 2,
        inner: int = 96,
    ) -> None:
        super().__init__()
        self.trunk = Trunk(channels, patch)
        self.hidden = EqualLinear(16 * channels[0], inner)
        self.common = EqualLinear(inner, width)
        self.apart = EqualLinear(inner, styles * width) if styles > 1 else None
        if self.apart is not None:
            torch.nn.init.zeros_(self.apart.weight)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Pixels B 3 H W in [-1, 1] -> (latents B `styles` `width`, float32; the maps B C H W, the finest first)."""
        maps = self.trunk(pixels)
        x = leaky(self.hidden(maps[-1].flatten(1)))
        latents = self.common(x).float()[:, None]
        if self.apart is not None:
            latents = latents + self.apart(x).float().unflatten(1, (self.config.styles, -1))
        return self.centre + self.scale * latents, maps
