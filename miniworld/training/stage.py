"""What all stages of training share: where to, how long, on which device, from which pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from miniworld.training.batches import Batch, Batches, to_device
from miniworld.training.budget import Budget, Log
from miniworld.training.checkpoint import swap_folder
from miniworld.training.compiled import Loss, compiled
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.losslog import LossLog
from miniworld.training.norm import use_kernel
from miniworld.training.pictures import PictureFolder, draw_pictures
from miniworld.training.run import Run
from shiftless.backbones.device import choose_device, choose_dtype


class Stage:
    """One run of a stage of training, as its caller wants it.

    Its checkpoint is the folder `NAME.checkpoint` in `out`, and what it measured stands in `NAME.log.jsonl` there.

    out                 the run's folder; a run that was stopped there goes on, unless `resume` is False
    minutes, images     its length, one of them; a run of images is a function of its seed, on the CPU to the bit, and
                        one of minutes also of the machine
    device              "auto", "cpu", "cuda" ...; networks compute in bf16 where it has that in hardware, else in fp32
    pictures            the folder of drawn pictures, by default one in `out`; missing ones are drawn if `draw` says so,
                        `n_pictures` in all (each stage has its own default) by `workers` processes (None: all cores)
    compile             whether to train compiled networks
    checkpoint_minutes  minutes between two checkpoints

    Raises `BadInput` without a length, or when there is no such device.

    >>> Stage("out/mini", images=100, device="cpu").device
    device(type='cpu')
    """

    log: Log

    def __init__(
        self,
        out: str | Path,
        *,
        minutes: float | None = None,
        images: int | None = None,
        seed: int = 0,
        resume: bool = True,
        device: str | torch.device = "auto",
        pictures: str | Path | None = None,
        n_pictures: int | None = None,
        draw: bool = True,
        workers: int | None = None,
        compile: bool = True,
        checkpoint_minutes: float = 5.0,
    ) -> None:
        self.out = Path(out)
        self.budget = Budget(minutes=minutes, images=images)
        self.seed, self.resume = seed, resume
        self.device = choose_device(device)
        self.dtype = training_dtype(self.device)
        self.pictures = None if pictures is None else Path(pictures)
        self.n_pictures, self.draw, self.workers = n_pictures, draw, workers
        self.compile, self.checkpoint_minutes = compile, checkpoint_minutes
        self.name = ""

    def begin(self, name: str) -> Log:
        """Name the stage, and give its log, to be used in a `with`."""
        self.name, self.log = name, Log(name)
        return self.log

    def drawn(self, n: int, draw: Callable[..., None] = draw_pictures, folder: str = "pictures") -> Path:
        """Draw the pictures that are missing, `n` in all if the caller did not say, and give their folder."""
        path = self.pictures or self.out / folder
        if self.draw:
            draw(path, self.n_pictures or n, workers=self.workers, progress=True)
        return path

    def picture_folder(self, n: int) -> PictureFolder:
        """Open the folder of drawn pictures, after drawing what is missing."""
        return PictureFolder(self.drawn(n))

    def batches(self, make: Callable[[int], Batch]) -> Batches:
        """Give the batches that `make` makes on the CPU, on the device and, if that is an accelerator, made ahead."""
        return Batches(make, self.device)

    def compiled(self, network: nn.Module, *examples: Batch) -> Loss:
        """Compile a loss network for batches like the examples; on the CPU with the fast group norm.

        Apple's devices train uncompiled.
        """
        if not self.compile or self.device.type == "mps":
            return network
        if self.device.type == "cpu":
            use_kernel(network)
        return compiled(network, [to_device(one, self.device) for one in examples], self.log.say)

    def run(self, optimiser: Fp32MasterAdamW, lr: float) -> Run:
        """Give the loop of this run, which goes on where an earlier one was stopped."""
        folder, losses = self.out / f"{self.name}.checkpoint", LossLog(self.out / f"{self.name}.log.jsonl")
        run = Run(folder, optimiser, self.budget, self.log, losses, lr, self.seed, self.checkpoint_minutes)
        run.begin(self.resume)
        return run

    def write(self, optimiser: Fp32MasterAdamW, save: Callable[[Path], None], name: str = "") -> Path:
        """Write the averaged weights to a folder of the run by `save`, whole or not at all, and give that folder.

        name  of the folder; by default that of the stage
        """
        folder = self.out / (name or self.name)
        with optimiser.averaged():
            swap_folder(folder, save)
        self.log.say(f"written to {folder}")
        return folder

    def ready(self, network: Any, pictures: int) -> None:
        """Say what is going to be trained, and where."""
        size = sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6
        dtype = str(self.dtype).removeprefix("torch.")
        self.log.say(f"{size:.2f} M parameters, {pictures} pictures; training on {self.device} in {dtype}")


def training_dtype(device: torch.device) -> torch.dtype:
    """Give the precision that networks compute in: bf16 where the device has it in hardware, else fp32.

    Never fp16, whose small gradients are zero.
    """
    dtype = choose_dtype("auto", device)
    return torch.float32 if dtype == torch.float16 else dtype
