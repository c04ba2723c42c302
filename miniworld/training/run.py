"""One training run: its loop, its checkpoints, and how it is resumed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from miniworld.training.budget import Budget, Log, learning_rate
from miniworld.training.checkpoint import load_checkpoint, save_checkpoint
from miniworld.training.fp32_master import Fp32MasterAdamW

Numbers = dict[str, float | Tensor]
"""What a step reports, as numbers or as tensors of one, which may lie on the device."""
Step = Callable[[int, float], tuple[Tensor, int, Numbers]]


@dataclass
class Run:
    """The loop that all stages share: take steps until the budget is spent, write a checkpoint every few minutes."""

    path: Path
    optimiser: Fp32MasterAdamW
    budget: Budget
    log: Log
    lr: float
    checkpoint_minutes: float
    on_save: Callable[[], None] | None = None

    def restore(self) -> None:
        """Continue from the checkpoint, when there is one."""
        state = load_checkpoint(self.path)
        if state is None:
            return
        self.optimiser.load_state_dict(state["optimiser"])
        self.budget.spent_images, self.budget.spent_seconds = state["images"], state["seconds"]
        self.log.say(f"continues at step {self.optimiser.steps}, {self.budget.spent_images} images")

    def save(self) -> None:
        """Write the checkpoint."""
        budget = self.budget
        state = {"images": budget.spent_images, "seconds": budget.spent_seconds}
        save_checkpoint(self.path, {"optimiser": self.optimiser.state_dict(), **state})

    def go(self, step: Step) -> None:
        """Take steps to the end; `step(number, progress)` gives the loss, how many images it saw, what to report."""
        saved, means = time.monotonic(), defaultdict[str, Mean](Mean)
        self.budget.start()
        while (progress := self.budget.progress()) < 1:
            loss, images, numbers = step(self.optimiser.steps, progress)
            loss.backward()
            norm = self.optimiser.step(learning_rate(self.lr, progress, self.optimiser.steps))
            self.budget.spend(images)
            shown = {"loss": loss.detach(), "norm": norm, **numbers}  # read from the device when all else is done
            self.log.step(self.budget, **{name: means[name](float(value)) for name, value in shown.items()})
            if time.monotonic() - saved >= 60 * self.checkpoint_minutes:
                self.save()
                if self.on_save is not None:
                    self.on_save()
                saved = time.monotonic()
        self.save()


class Mean:
    """A running mean over about the last hundred values.

    >>> mean = Mean()
    >>> mean(4.0), mean(2.0)
    (4.0, 3.0)
    """

    def __init__(self) -> None:
        self.value, self.count = 0.0, 0

    def __call__(self, value: float) -> float:
        """Take in a value and give the mean."""
        self.count += 1
        self.value += max(0.01, 1 / self.count) * (value - self.value)
        return self.value
