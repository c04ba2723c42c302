"""The losses of a generator and a discriminator: non-saturating, with the penalty R1, in float32."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miniworld.gan.discriminator import Discriminator
from miniworld.gan.generator import Generator


def frozen(network: nn.Module, *inputs: Tensor) -> Tensor:
    """Call a network whose weights take no gradient, while its inputs do.

    >>> layer, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    >>> frozen(layer, x).sum().backward()
    >>> layer.weight.grad is None, x.grad is None
    (True, False)
    """
    weights = {name: value.detach() for name, value in network.named_parameters()}
    answer: Tensor = torch.func.functional_call(network, weights, inputs)
    return answer


def adversarial(real: Tensor, fake: Tensor, deceived: Tensor) -> tuple[Tensor, Tensor]:
    """Give (the discriminator's loss, the generator's loss) of logits of drawn and of generated pictures.

    real, fake  logits whose gradients go to the discriminator alone
    deceived    logits of the generated pictures whose gradients go to the generator alone

    Source: Goodfellow et al., NeurIPS 2014, the non-saturating loss.

    >>> [round(float(one), 3) for one in adversarial(*torch.zeros(3, 1))]
    [1.386, 0.693]
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean(), F.softplus(-deceived).mean()


def r1_penalty(logits_of: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """Give the mean over pictures of the squared length of the logit's gradient, float32.

    Source: Mescheder et al., ICML 2018, R1.

    >>> float(r1_penalty(lambda x: (3 * x).sum((1, 2, 3)), torch.zeros(2, 1, 2, 2)))
    36.0
    """
    pixels = pixels.detach().float().requires_grad_()
    (gradient,) = torch.autograd.grad(logits_of(pixels).sum(), pixels, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


class AdversarialLoss(nn.Module):
    """Generator and discriminator with both their losses, in one graph that compiles.

    One backward pass of the sum gives each network the gradient of its own loss, at the same weights: simultaneous
    updates, which make every generated picture once for both.
    """

    def __init__(self, generator: Generator, discriminator: Discriminator) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    def forward(self, real: Tensor, labels: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Give (sum of the losses, what is logged) of drawn pictures B 3 H W and their classes, which both show.

        Logged are the discriminator's and the generator's loss, and the mean logits of drawn and generated pictures.
        """
        fake = self.generator(z, labels, noise)
        judged = self.discriminator(real, labels), self.discriminator(fake.detach(), labels)
        d, g = adversarial(*judged, frozen(self.discriminator, fake, labels))
        return d + g, torch.stack([d, g, *(one.mean() for one in judged)]).detach()
