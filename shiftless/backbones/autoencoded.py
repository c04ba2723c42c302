"""Autoencoded: how a diffusion model's images become latents and back, for adapters to derive from."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from shiftless.backbones.base import Spec
from shiftless.backbones.placed import Placed, with_autoencoder


class Autoencoded(Placed):
    """The autoencoder of a model, or none: then the image itself is denoised, and its latent is its pixels.

    AUTOENCODER    the part that encodes images, or ""
    CHANNELS_LAST  whether its networks take images as 2-D convolutions do, in channels_last where the device gains

    UNSCALED       whether its latents may be read without their factor

    A family whose autoencoder differs overrides what differs: `_latent`, `_posterior` and `_decoded` (how it is
    called), `_scaled` and `_unscaled` (how its latents are normed and laid out), `_unpacked`.
    """

    AUTOENCODER: ClassVar[str] = "vae"
    CHANNELS_LAST: ClassVar[bool] = True
    UNSCALED: ClassVar[bool] = False
    DENOISER: ClassVar[str]
    networks: dict[str, Any]
    spec: Spec
    dtype: torch.dtype
    _format: torch.memory_format

    @property
    def vae(self) -> Any:
        """The autoencoder, of a family that has one."""
        return self.networks[self.AUTOENCODER]

    @torch.no_grad()
    @with_autoencoder
    def encode_image(
        self, pixels: torch.Tensor, *, latent: str = "mean", noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """B 3 H W in [-1, 1] -> B c h w, scaled as the denoiser was trained, or not with latent="unscaled".

        With latent="sample", `noise` of (B times m) c h w draws m posterior samples an image from one encoding. Raises
        BadInput for a size that the denoiser's grid cannot take.
        """
        self._check_size((pixels.shape[2], pixels.shape[3]))
        pixels = pixels.to(self.device, self.vae.dtype if self.AUTOENCODER else self.dtype, memory_format=self._format)
        if not self.AUTOENCODER:
            return pixels if noise is None else pixels.repeat_interleave(noise.shape[0] // pixels.shape[0], 0)
        posterior = self._posterior(pixels)
        clean = posterior.mean
        if latent == "sample":
            if noise is None:
                raise ValueError("latent='sample' needs the posterior noise")
            times = noise.shape[0] // clean.shape[0]
            mean, std = (x.repeat_interleave(times, 0) for x in (clean, posterior.std))
            clean = mean + std * self._unpacked(noise).to(clean)
        return clean if latent == "unscaled" else self._scaled(clean)

    def encode_map(self, image: torch.Tensor, shifted: bool = True) -> torch.Tensor:
        """A control map B 3 H W in [-1, 1] -> its latent's mean, scaled, with the autoencoder's shift or without it."""
        latent, config = self.encode_image(image), self.vae.config
        return latent if shifted else latent + (config.get("shift_factor") or 0.0) * config.scaling_factor

    @torch.no_grad()
    @with_autoencoder
    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Clean latent B c h w -> pixels B 3 H W in [-1, 1], float32."""
        if not self.AUTOENCODER:
            return latent.float().clamp(-1, 1)
        raw = self._unscaled(latent.float()).to(self.device, self.vae.dtype)
        return self._decoded(raw.to(memory_format=self._format)).float().clamp(-1, 1)

    def _check_size(self, size: tuple[int, int]) -> None:
        """Raise BadInput for images of (h, w) pixels that the networks cannot be called with."""
        self.spec.check_size(size)

    def _latent(self) -> tuple[int, int]:
        """The channels of a latent, and its stride in pixels a cell."""
        if not self.AUTOENCODER:
            return int(self.networks[self.DENOISER].config.in_channels), 1
        config = self.networks[self.AUTOENCODER].config
        return int(config.latent_channels), 2 ** (len(config.block_out_channels) - 1)

    def _posterior(self, pixels: torch.Tensor) -> Any:
        """Encode pixels B 3 H W; return the posterior, with a `mean` and a `std`."""
        return self.vae.encode(pixels).latent_dist

    def _decoded(self, raw: torch.Tensor) -> torch.Tensor:
        """Decode what `_unscaled` gives to pixels B 3 H W."""
        pixels: torch.Tensor = self.vae.decode(raw).sample
        return pixels

    def _scaled(self, clean: torch.Tensor) -> torch.Tensor:
        """What the autoencoder gave -> the latent B c h w, scaled as the denoiser was trained."""
        shift = self.vae.config.get("shift_factor") or 0.0
        scaled: torch.Tensor = (clean - shift) * self.vae.config.scaling_factor
        return scaled

    def _unscaled(self, latent: torch.Tensor) -> torch.Tensor:
        """The inverse of `_scaled`."""
        shift = self.vae.config.get("shift_factor") or 0.0
        clean: torch.Tensor = latent / self.vae.config.scaling_factor + shift
        return clean

    def _unpacked(self, noise: torch.Tensor) -> torch.Tensor:
        """Noise in the shape of a latent, in the shape of what the autoencoder gives."""
        return noise
