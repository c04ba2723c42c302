"""Training of the GAN: a StyleGAN2-like generator of horses and bedrooms, and its discriminator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from miniworld.gan.discriminator import Discriminator
from miniworld.gan.generator import Generator
from miniworld.gan.losses import AdversarialLoss, r1_penalty
from miniworld.training.batches import Batch
from miniworld.training.checkpoint import save_half
from miniworld.training.compiled import Loss
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.part_pictures import FOLDER, N_PICTURES, PartPictures, draw_part_pictures
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage
from miniworld.training.vae import to_tensor
from shiftless.errors import BadInput

NAME = "gan"
"""The folder, which holds `generator` and `discriminator`."""
GAMMA, EVERY = 0.5, 16
"""Weight of the penalty R1, and of how many steps one computes it, as much stronger (lazy regularisation)."""
LOGGED = ("d", "g", "real", "fake")
"""The losses of discriminator and generator, and the mean logits of drawn and generated pictures."""


def train_gan(
    stage: Stage,
    *,
    start_from: str | Path | None = None,
    batch: int = 16,
    lr: float = 2.5e-3,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train generator and discriminator and write them to `gan` in the run's folder, every second picture mirrored.

    `start_from` is a folder that holds both, or one that has a `gan` in it, to train further; `changes` are `channels`
    and `patch` of both. Raises `BadInput` if it does not hold both, or for pictures of another size than they paint.
    """
    with stage.begin(NAME):
        data = PartPictures(stage.drawn(N_PICTURES, draw_part_pictures, FOLDER))
        generator, discriminator = new_gan(stage.seed, **(changes or {})) if start_from is None else _both(start_from)
        check_side(generator, data)
        network: Any = AdversarialLoss(generator, discriminator)
        network.train().to(stage.device, memory_format=torch.channels_last)
        optimiser = adversarial_optimiser(network, stage)
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            return adversarial_batch(data, generator, batch, stage.seed, number)

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            return adversarial_step(loss_of, batches(number), discriminator, number, LOGGED)

        loss_of, batches = loss_on(stage, network, batch_of(0)), stage.batches(batch_of)
        stage.ready(network, len(data))
        run.go(step)

        def save(path: Path) -> None:
            generator.measure_means()
            save_parts(path, {"generator": generator, "discriminator": discriminator})

        return stage.write(optimiser, save)


def new_gan(seed: int = 0, **changes: Any) -> tuple[Generator, Discriminator]:
    """Build both networks with random weights.

    >>> [one.config.channels for one in new_gan(channels=(16, 8))]
    [(16, 8), (16, 8)]
    """
    torch.manual_seed(seed)
    return Generator(**changes), Discriminator(**changes)


def adversarial_optimiser(network: nn.Module, stage: Stage) -> Fp32MasterAdamW:
    """Give Adam as StyleGAN2 sets it, over all weights of a loss network; gradients are not clipped.

    Each weight has steps of its own, so that one optimiser serves networks with opposite aims.
    """
    return Fp32MasterAdamW(
        network.parameters(),
        dtype=stage.dtype,
        weight_decay=0.0,
        betas=(0.0, 0.99),
        clip=float("inf"),
        ema_max=0.998,
    )


def adversarial_batch(data: PartPictures, generator: Generator, batch: int, seed: int, number: int) -> Batch:
    """Give drawn pictures, their labels, z and noise of one step, a function of the seed and the step's number."""
    images, labels = data.batch(batch, seed, number)
    random = torch.Generator().manual_seed(seed * 10**7 + number)
    z = torch.randn(batch, generator.config.latent, generator=random)
    return to_tensor(images), labels, z, torch.randn(batch, 2, generator.grid, generator.grid, generator=random)


def adversarial_step(
    loss_of: Loss, shown: Batch, judge: Callable[[Tensor, Tensor], Tensor], number: int, logged: Sequence[str]
) -> tuple[Tensor, int, Numbers]:
    """Take the step of a stage that learns from a judge of pictures, on a batch of `adversarial_batch`.

    Every `EVERY` steps R1 keeps the judge's gradient small at drawn pictures. `logged` names what the loss reports.
    """
    real, labels = shown[:2]
    loss, values = loss_of(*shown)
    numbers: Numbers = dict(zip(logged, values))
    if number % EVERY == 0:  # differentiated twice, which is not compiled
        penalty = r1_penalty(lambda pixels: judge(pixels, labels), real)
        loss, numbers["r1"] = loss + GAMMA / 2 * EVERY * penalty, penalty.detach()
    return loss, len(real), numbers


def loss_on(stage: Stage, network: nn.Module, example: Batch) -> Loss:
    """Compile a loss network, but on a processor take it as it is.

    There no step was faster for compiling, which took three minutes of a core (`docs/miniworld.md`).
    """
    return network if stage.device.type == "cpu" else stage.compiled(network, example)


def check_side(generator: Generator, data: PartPictures) -> None:
    """Raise `BadInput` for drawn pictures of another size than the generator paints."""
    if data.side != generator.size:
        raise BadInput(
            f"{data.pictures.folder}: pictures of {data.side} pixels, and the generator paints {generator.size}; "
            "give another --out"
        )


def save_parts(folder: str | Path, parts: dict[str, ModelMixin]) -> None:
    """Write networks into a folder, each in one of its name that `from_pretrained` loads, in float16 safetensors."""
    for name, network in parts.items():
        save_half(deepcopy(network), Path(folder) / name)


def open_part(folder: str | Path, kind: type[ModelMixin], *path: str) -> Any:
    """Load a network, in float32; raises `BadInput` when it is not there."""
    place = Path(folder).joinpath(*path)
    if not (place / "config.json").is_file():
        raise BadInput(f"{place}: no {kind.__name__.lower()} here; give the folder that `mini train` wrote")
    return kind.from_pretrained(place, torch_dtype=torch.float32)


def generator_folder(folder: str | Path) -> Path:
    """Give the folder that holds `generator`: the given one, or the `gan` in it."""
    return Path(folder) / NAME if (Path(folder) / NAME).is_dir() else Path(folder)


def _both(folder: str | Path) -> tuple[Generator, Discriminator]:
    place = generator_folder(folder)
    return open_part(place, Generator, "generator"), open_part(place, Discriminator, "discriminator")
