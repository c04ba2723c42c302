"""Inpainting: the UNets of Stable Diffusion that take a mask and the masked image beside the noisy latent."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from shiftless.backbones.latent_model import LatentModel
from shiftless.conditions.condition import Condition
from shiftless.conditions.inpaint import beside_mask, channels_of
from shiftless.digest import state_of

_KEPT = 64


class Inpainting(LatentModel):
    """What StableDiffusion derives from: a model whose UNet has the channels takes the technique "inpaint".

    A condition without a mask lets it repaint everything, so that it reads as a model that was not made for inpainting.
    """

    _greys: Mapping[tuple[Any, ...], torch.Tensor] = MappingProxyType({})

    def _techniques(self) -> tuple[str, ...]:
        inpaints = self.denoiser.config.in_channels == channels_of(self.vae.config.latent_channels)
        return (*self.TECHNIQUES, "inpaint") if inpaints else self.TECHNIQUES

    def _fed(self, latent: torch.Tensor, condition: Condition) -> torch.Tensor:
        """What the UNet takes: the latent B c h w, and of a model for inpainting what stands beside it."""
        if "inpaint" not in self.spec.techniques:
            return latent
        beside = beside_mask(latent, condition, lambda: self._grey(latent.shape[2], latent.shape[3]))
        return beside.contiguous(memory_format=self._format)

    def _grey(self, h: int, w: int) -> torch.Tensor:
        """The latent of a masked image of which nothing is left, zeros in [-1, 1]: 1 c h w, kept for each size."""
        key = h, w, state_of(self._tensors(self.AUTOENCODER))
        if key not in self._greys:
            grey = self.encode_image(torch.zeros(1, 3, h * self._stride, w * self._stride))
            self._greys = {**dict(list(self._greys.items())[1 - _KEPT :]), key: grey}
        return self._greys[key]
