"""Training of the adversarial latent autoencoder on horses and bedrooms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from miniworld.gan.alae import AlaeLoss, Judge, LatentDiscriminator
from miniworld.gan.encoder import Encoder
from miniworld.gan.generator import Generator
from miniworld.training.batches import Batch
from miniworld.training.gan import (
    LOGGED,
    adversarial_batch,
    adversarial_optimiser,
    adversarial_step,
    check_side,
    loss_on,
    open_part,
    save_parts,
)
from miniworld.training.part_pictures import FOLDER, N_PICTURES, PartPictures, draw_part_pictures
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage

NAME = "alae"
"""The folder, which holds `generator` and `encoder`."""


def train_alae(
    stage: Stage,
    *,
    start_from: str | Path | None = None,
    batch: int = 16,
    lr: float = 2e-3,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train the autoencoder and write it to `alae` in the run's folder, every second picture mirrored.

    `start_from` is a folder that holds `generator` and `encoder`, or one that has an `alae` in it, to train further
    with a new latent discriminator. Raises `BadInput` if it does not, or for pictures of another size.
    """
    with stage.begin(NAME):
        data = PartPictures(stage.drawn(N_PICTURES, draw_part_pictures, FOLDER))
        torch.manual_seed(stage.seed)
        if start_from is None:
            generator, encoder = Generator(**(changes or {})), Encoder(styles=1, **(changes or {}))
        else:
            place = Path(start_from) / NAME if (Path(start_from) / NAME).is_dir() else Path(start_from)
            generator, encoder = open_part(place, Generator, "generator"), open_part(place, Encoder, "encoder")
        check_side(generator, data)
        judge = Judge(encoder, LatentDiscriminator(generator.config.width, generator.config.labels))
        network: Any = AlaeLoss(generator, judge)
        network.train().to(stage.device, memory_format=torch.channels_last)
        optimiser = adversarial_optimiser(network, stage)
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            return adversarial_batch(data, generator, batch, stage.seed, number)

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            return adversarial_step(loss_of, batches(number), judge, number, (*LOGGED, "latent"))

        loss_of, batches = loss_on(stage, network, batch_of(0)), stage.batches(batch_of)
        stage.ready(network, len(data))
        run.go(step)

        def save(path: Path) -> None:
            generator.measure_means()
            save_parts(path, {"generator": generator, "encoder": encoder})

        return stage.write(optimiser, save)
