"""The adversarial latent autoencoder: generator and encoder that learn each other's latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from miniworld.gan.encoder import Encoder
from miniworld.gan.generator import WORLDS, Generator
from miniworld.gan.layers import EqualLinear, leaky
from miniworld.gan.losses import adversarial, frozen


class LatentDiscriminator(nn.Module):
    """Whether a latent B `width` is of a drawn or of a generated picture: logits B, float32.

    >>> LatentDiscriminator()(torch.zeros(2, 128), torch.tensor([0, 1])).shape
    torch.Size([2])
    """

    def __init__(self, width: int = 128, labels: int = len(WORLDS), layers: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EqualLinear(width, width) for _ in range(layers))
        self.logits = EqualLinear(width, labels)

    def forward(self, w: Tensor, labels: Tensor) -> Tensor:
        """Latents and classes B -> logits."""
        x = w.to(self.logits.weight.dtype)
        for layer in self.layers:
            x = leaky(layer(x))
        logits: Tensor = self.logits(x).float().gather(1, labels[:, None])[:, 0]
        return logits


class Judge(nn.Module):
    """Encoder and latent discriminator, as one discriminator of pictures."""

    def __init__(self, encoder: Encoder, discriminator: LatentDiscriminator) -> None:
        super().__init__()
        self.encoder, self.discriminator = encoder, discriminator

    def forward(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Pixels B 3 H W and classes B -> logits B."""
        logits: Tensor = self.discriminator(self.encoder(pixels)[0][:, 0], labels)
        return logits


class AlaeLoss(nn.Module):
    """The networks of an adversarial latent autoencoder with their losses, in one graph that compiles.

    Encoder and latent discriminator tell drawn from generated pictures, generator and mapping deceive them, and encoder
    and generator give latents back: one backward pass of the sum gives each the gradient of what it is to do.
    Source: Pidhorskyi et al., CVPR 2020 (ALAE), algorithm 1, with all its updates at once.
    """

    def __init__(self, generator: Generator, judge: Judge) -> None:
        super().__init__()
        self.generator, self.judge = generator, judge

    def forward(self, real: Tensor, labels: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Give (sum of the losses, what is logged) of drawn pictures B 3 H W and their classes, which both show.

        Logged are what `AdversarialLoss` logs, and the mean squared error of the latents that were given back.
        """
        w = self.generator.mapping(z, labels)
        fake, _ = self.generator.synthesise(w, noise)
        judged = self.judge(real, labels), self.judge(fake.detach(), labels)
        d, g = adversarial(*judged, frozen(self.judge, fake, labels))
        back = self.judge.encoder(fake)[0][:, 0]
        wrong = (back - w.detach().float()).square().mean()
        return d + g + wrong, torch.stack([d, g, *(one.mean() for one in judged), wrong]).detach()
