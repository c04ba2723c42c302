"""One training run: its loop, its checkpoints, and how it is resumed."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from miniworld.training.budget import Budget, Log, learning_rate
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.losslog import LossLog
from shiftless.errors import BadInput
from shiftless.training.checkpoint import load_checkpoint, save_checkpoint

Numbers = dict[str, float | Tensor]
"""What a step reports, as numbers or as tensors of one, which may lie on the device; the first is shown, all logged."""
Step = Callable[[int, float], tuple[Tensor, int, Numbers]]


@dataclass
class Run:
    """The loop that all stages share: take steps until the budget is spent, write a checkpoint every few minutes."""

    folder: Path
    optimiser: Fp32MasterAdamW
    budget: Budget
    log: Log
    losses: LossLog
    lr: float
    seed: int
    checkpoint_minutes: float
    on_save: Callable[[], None] | None = None

    def begin(self, resume: bool) -> None:
        """Continue from the checkpoint, when there is one and `resume` says so.

        Raises `BadInput` when it cannot be read, or is of another network or of another seed.
        """
        found = load_checkpoint(self.folder) if resume else None
        if found is None:
            self.losses.begin()
            return
        tensors, numbers = found
        expected = {name: tensor.shape for name, tensor in self.optimiser.state_dict().items()}
        if expected != {name: tensor.shape for name, tensor in tensors.items()}:
            raise BadInput(f"{self.folder}: a checkpoint of another network; give --restart or another --out")
        try:
            seed, steps, updates = int(numbers["seed"]), int(numbers["steps"]), int(numbers["updates"])
            images, seconds, window = int(numbers["images"]), float(numbers["seconds"]), dict(numbers["window"])
        except (KeyError, TypeError, ValueError):
            raise BadInput(f"{self.folder}: not a checkpoint of this program; give --restart to begin anew") from None
        if seed != self.seed:
            raise BadInput(f"{self.folder}: a run of seed {seed}; give --seed {seed} to go on, or --restart")
        self.optimiser.load_state_dict(tensors, steps, updates)
        self.budget.spent_images, self.budget.spent_seconds = images, seconds
        self.losses.begin(steps, window)
        self.log.say(f"continues at step {steps}, {images} images")

    def save(self) -> None:
        """Write the checkpoint."""
        optimiser, budget = self.optimiser, self.budget
        counts = {"seed": self.seed, "steps": optimiser.steps, "updates": optimiser.updates}
        spent = {"images": budget.spent_images, "seconds": budget.spent_seconds, "window": self.losses.window}
        save_checkpoint(self.folder, optimiser.state_dict(), {**counts, **spent})

    def go(self, step: Step) -> None:
        """Take steps to the end; `step(number, progress)` gives the loss, how many images it saw, what to report."""
        saved, means = time.monotonic(), defaultdict[str, Mean](Mean)
        facts: dict[str, float] = {}
        self.budget.start()
        while (progress := self.budget.progress()) < 1:
            loss, images, numbers = step(self.optimiser.steps, progress)
            loss.backward()
            rate = learning_rate(self.lr, progress, self.optimiser.steps)
            norm = self.optimiser.step(rate)
            self.budget.spend(images)
            # read from the device when it has been given all of the step's work
            values = {name: float(value) for name, value in {"loss": loss.detach(), "norm": norm, **numbers}.items()}
            self.log.step(self.budget, **{name: means[name](values[name]) for name in list(values)[:3]})
            seconds = round(self.budget.spent_seconds, 1)
            facts = {"images": self.budget.spent_images, "seconds": seconds, "lr": rate}
            self.losses.step(self.optimiser.steps, facts, values)
            if time.monotonic() - saved >= 60 * self.checkpoint_minutes:
                self.save()
                if self.on_save is not None:
                    self.on_save()
                saved = time.monotonic()
        if facts:
            self.losses.write(self.optimiser.steps, facts)
            self.save()


class Mean:
    """A running mean over about the last hundred values; what is not a finite number does not count.

    >>> mean = Mean()
    >>> mean(4.0), mean(2.0), mean(float("nan"))
    (4.0, 3.0, 3.0)
    """

    def __init__(self) -> None:
        self.value, self.count = 0.0, 0

    def __call__(self, value: float) -> float:
        """Take in a value and give the mean."""
        if math.isfinite(value):
            self.count += 1
            self.value += max(0.01, 1 / self.count) * (value - self.value)
        return self.value
