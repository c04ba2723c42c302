"""GAN inversion: the latents that the generator paints a given picture from, by optimisation."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from miniworld.gan.encoder import Encoder
from miniworld.gan.generator import Generator

STEPS, RATE, PULL = 60, 0.1, 0.02
"""Steps of Adam, its rate in deviations of w, and the weight of what keeps latents near where they began."""
SCALES = (1, 2, 4, 8)
"""Sides in pixels of the means by which pictures are compared."""


def picture_error(painted: Tensor, pixels: Tensor) -> Tensor:
    """Give how far painted pictures B 3 H W are from others: B, float32.

    It is the mean absolute difference of pixels and of means over ever larger squares (`SCALES`), which say more of
    shape and colour than single pixels, whose texture no latent decides.

    >>> picture_error(torch.ones(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)).tolist()
    [1.0, 1.0]
    """
    difference = painted.float() - pixels.float()
    means = [F.avg_pool2d(difference, side) if side > 1 else difference for side in SCALES]
    return torch.stack([one.abs().mean((1, 2, 3)) for one in means]).mean(0)


def invert(
    generator: Generator,
    pixels: Tensor,
    encoder: Encoder | None = None,
    *,
    steps: int = STEPS,
    rate: float = RATE,
    pull: float = PULL,
    batch: int = 20,
    report: Callable[[int], object] = lambda _: None,
) -> Tensor:
    """Find latents for each layer, B `styles` `width`, from which the generator paints pictures B 3 H W in [-1, 1].

    encoder  gives where to begin; without it, that is the mean over all labels
    steps    of Adam, whose rate falls to nothing by half a cosine
    rate     of the first step, in deviations of the encoder's latents
    pull     weight of the mean squared way that latents have gone, in these deviations
    report   told how many pictures were inverted

    The generator's noise is left out, and its weights are not changed. A picture's latents do not depend on the others.
    Source: Abdal et al., ICCV 2019 (Image2StyleGAN); Zhu et al., ECCV 2020 (an encoder's answer to begin with).

    >>> generator = Generator(channels=(16, 8)).requires_grad_(False)
    >>> invert(generator, torch.zeros(2, 3, 16, 16), steps=2).shape
    torch.Size([2, 5, 128])
    """
    return torch.cat([_inverted(generator, part, encoder, steps, rate, pull, report) for part in pixels.split(batch)])


def _inverted(
    generator: Generator,
    pixels: Tensor,
    encoder: Encoder | None,
    steps: int,
    rate: float,
    pull: float,
    report: Callable[[int], object],
) -> Tensor:
    with torch.no_grad():
        if encoder is not None:
            start, scale = encoder(pixels)[0], encoder.scale
        else:
            start, scale = generator.means.mean(0).expand(len(pixels), 1, -1), torch.ones(())
        start = start.expand(-1, generator.styles, -1)
    way = torch.zeros_like(start).requires_grad_()
    optimiser = torch.optim.Adam([way], lr=rate, betas=(0.9, 0.99))
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    for _ in range(steps):
        painted, _maps = generator.synthesise(start + scale * way)
        loss = picture_error(painted, pixels).sum() + pull * way.square().mean((1, 2)).sum()
        (way.grad,) = torch.autograd.grad(loss, way)
        optimiser.step()
        falling.step()
    report(len(pixels))
    return (start + scale * way).detach()
