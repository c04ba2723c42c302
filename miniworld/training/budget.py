"""The length of a training run and its learning-rate schedule."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from shiftless.errors import BadInput
from shiftless.progress import Progress, notice


@dataclass
class Budget:
    """A run's length, in minutes of training or in images, with what is spent of it.

    >>> budget = Budget(images=1000)
    >>> budget.spend(250)
    >>> budget.progress()
    0.25
    >>> Budget()
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: give a length: minutes or images, one of them and above 0
    """

    minutes: float | None = None
    images: int | None = None
    spent_images: int = 0
    spent_seconds: float = 0.0
    _mark: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.images is None) or not (self.minutes or self.images or 0) > 0:
            raise BadInput("give a length: minutes or images, one of them and above 0")

    def start(self) -> None:
        """Start the clock: what happened before (loading, compiling) is not training."""
        self._mark = time.monotonic()

    def spend(self, images: int) -> None:
        """Count one step."""
        now = time.monotonic()
        self.spent_seconds += now - self._mark
        self._mark = now
        self.spent_images += images

    def progress(self) -> float:
        """The part of the run that is over, 0 to 1."""
        if self.images is not None:
            return min(1.0, self.spent_images / self.images)
        assert self.minutes is not None
        return min(1.0, self.spent_seconds / (60 * self.minutes))


def learning_rate(peak: float, progress: float, steps: int, *, warmup: int = 200, floor: float = 0.01) -> float:
    """Linear warm-up over the first steps, then half a cosine down to `floor` of the peak at the run's end.

    >>> learning_rate(1.0, 0.0, 0), round(learning_rate(1.0, 0.5, 1000), 3), learning_rate(1.0, 1.0, 5000)
    (0.005, 0.505, 0.01)
    """
    cosine = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
    return peak * min(1.0, (steps + 1) / warmup) * cosine


class Log:
    """What a run reports: what it will do, how far it is, and lines of its own; use it in a `with`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._progress = Progress(f"training the {name}", 1.0, "")
        self._last = (time.monotonic(), 0)
        self._rate = 0.0
        self._begun = False

    def __enter__(self) -> Log:
        self._progress.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._progress.__exit__(*raised)

    def say(self, text: str) -> None:
        """Print a line of its own."""
        notice(f"{self.name}: {text}")

    def step(self, budget: Budget, **numbers: float) -> None:
        """Report a step."""
        now, (then, images) = time.monotonic(), self._last
        if not self._begun:  # the run may continue an earlier one, and drawing and compiling come before it
            self._begun = True
            self._progress.resume(budget.progress())
        if now - then >= 1:
            self._rate = (budget.spent_images - images) / (now - then)
            self._last = (now, budget.spent_images)
        text = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        self._progress.to(budget.progress(), f"{budget.spent_images} images  {self._rate:.1f}/s  {text}")
