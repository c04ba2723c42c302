"""Training of the GAN's encoder: from a picture to the latents that the generator, which is frozen, paints it from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from miniworld.gan.encoder import Encoder
from miniworld.gan.generator import Generator
from miniworld.gan.inversion import picture_error
from miniworld.training.batches import Batch
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.gan import adversarial_batch, check_side, generator_folder, loss_on, open_part, save_parts
from miniworld.training.part_pictures import FOLDER, N_PICTURES, PartPictures, draw_part_pictures
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage

NAME = "gan-encoder"
"""The folder, which holds `encoder`."""
LATENT, APART = 0.3, 0.05
"""Weights of the latents' squared error, and of how far those of the layers are apart."""


class EncoderLoss(nn.Module):
    """An encoder with its training loss on drawn and on generated pictures, in one graph that compiles."""

    def __init__(self, generator: Generator, encoder: Encoder) -> None:
        super().__init__()
        self.generator, self.encoder = generator.requires_grad_(False), encoder

    def forward(self, real: Tensor, labels: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Give (loss, what is logged) of drawn pictures B 3 H W; as many are generated from z.

        Logged are the pictures' error of drawn and of generated ones, and the squared error of the latents of generated
        ones, in deviations of w. Source: the latents' spread is kept small as in Tov et al., SIGGRAPH 2021.
        """
        with torch.no_grad():
            w = self.generator.mapping(z, labels)
            made = self.generator.synthesise(w, noise)[0].clamp(-1, 1)
        latents, _ = self.encoder(torch.cat([real, made]))
        errors = picture_error(self.generator.synthesise(latents)[0], torch.cat([real, made]))
        scale = self.encoder.scale
        wrong = ((latents[len(real) :] - w.float()[:, None]) / scale).square().mean()
        apart = ((latents - latents.mean(1, keepdim=True)) / scale).square().mean()
        halves = errors.unflatten(0, (2, -1)).mean(1)
        return halves.sum() + LATENT * wrong + APART * apart, torch.cat([halves, wrong[None]]).detach()


def train_gan_encoder(
    stage: Stage,
    *,
    model: str | Path | None = None,
    batch: int = 8,
    lr: float = 2e-3,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train the encoder and write it to `gan-encoder` in the run's folder.

    `model` is the folder that holds the generator, or one that has a `gan` in it; by default the run's folder. Raises
    `BadInput` if there is none, or for pictures of another size.
    """
    with stage.begin(NAME):
        generator: Generator = open_part(generator_folder(model or stage.out), Generator, "generator")
        data = PartPictures(stage.drawn(N_PICTURES, draw_part_pictures, FOLDER))
        check_side(generator, data)
        torch.manual_seed(stage.seed)
        encoder = new_encoder(generator, **(changes or {}))
        network: Any = EncoderLoss(generator, encoder)
        network.train().to(stage.device, memory_format=torch.channels_last)
        for fixed in generator.parameters():
            fixed.data = fixed.data.to(stage.dtype)
        optimiser = Fp32MasterAdamW(
            encoder.parameters(), dtype=stage.dtype, weight_decay=0.0, betas=(0.9, 0.99), ema_max=0.998
        )
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            return adversarial_batch(data, generator, batch, stage.seed, number)

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            loss, logged = loss_of(*batches(number))
            return loss, batch, dict(zip(("real", "made", "latent"), logged))

        loss_of, batches = loss_on(stage, network, batch_of(0)), stage.batches(batch_of)
        stage.ready(network, len(data))
        run.go(step)
        return stage.write(optimiser, lambda path: save_parts(path, {"encoder": encoder}))


@torch.no_grad()
def new_encoder(generator: Generator, n: int = 4096, **changes: Any) -> Encoder:
    """Build the encoder of a generator with random weights; its answers begin around the mean of n random latents.

    >>> new_encoder(Generator(channels=(16, 8)), n=8).config.styles
    5
    """
    own = {name: generator.config[name] for name in ("width", "channels", "patch")}
    encoder = Encoder(styles=generator.styles, **{**own, **changes})
    z = torch.randn(n, generator.config.latent, generator=torch.Generator().manual_seed(0))
    w = generator.mapping(z, torch.arange(n) % generator.config.labels)
    encoder.centre.copy_(w.mean(0))
    encoder.scale.copy_(w.std(0).clamp_min(1e-4))
    return encoder
