"""Inpainting: what a model that repaints is given beside the noisy latent: a mask, and the image that it leaves."""

from __future__ import annotations

from collections.abc import Callable

import torch

from shiftless.conditions.condition import MASK, MASKED_IMAGE, Condition


def channels_of(latent: int) -> int:
    """Return how many channels the UNet of a model for inpainting takes, of `latent` channels of a latent.

    >>> channels_of(4)
    9
    """
    return 2 * latent + 1


def keeping(clean: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what to give for a mask that leaves nothing to repaint: "mask" B 1 h w and "masked_image" B c h w.

    clean  B c h w, the clean latent of the image: what is left of the image by such a mask is the image itself

    >>> keeping(torch.ones(1, 4, 8, 8))["mask"].sum().item()
    0.0
    """
    return {MASK: torch.zeros_like(clean[:, :1]), MASKED_IMAGE: clean}


def beside_mask(latent: torch.Tensor, condition: Condition, grey: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Return the input of a UNet for inpainting, B (2c + 1) h w: latent, mask (1 is repainted), masked image's latent.

    latent  B c h w, noisy
    grey    makes the latent of an image of which nothing is left, 1 c h w: everything is repainted where a condition
            has no mask

    The order is that of the published models (diffusers' StableDiffusionInpaintPipeline).

    >>> beside_mask(torch.zeros(2, 4, 8, 8), Condition(), lambda: torch.zeros(1, 4, 8, 8))[:, 4].unique().item()
    1.0
    """
    if MASK in condition.extra:
        mask, masked = condition.extra[MASK], condition.extra[MASKED_IMAGE]
    else:
        mask, masked = torch.ones_like(latent[:, :1]), grey().expand_as(latent)
    return torch.cat([latent, mask.to(latent), masked.to(latent)], 1)
