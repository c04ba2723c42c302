"""How long a run lasts and what its learning rate is on the way."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from shiftless.errors import BadInput


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
    """The run's voice: a progress bar on a terminal, plain lines elsewhere; use it in a `with`."""

    def __init__(self, name: str, *, every_seconds: float = 15.0) -> None:
        self.name = name
        self._bar: Any = None
        self._every = every_seconds
        self._last = (time.monotonic(), 0)

    def __enter__(self) -> Log:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task(self.name, total=1.0)
            self._bar.start()
            self._every = 1.0
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line of its own."""
        if self._bar is not None:
            self._bar.console.print(f"{self.name}: {text}", markup=False, highlight=False)
        else:
            print(f"{time.strftime('%H:%M:%S')} {self.name}: {text}", file=sys.stderr, flush=True)

    def step(self, budget: Budget, **numbers: float) -> None:
        """Report a step, when it is time to."""
        now, (then, images) = time.monotonic(), self._last
        if now - then < self._every:
            return
        rate = (budget.spent_images - images) / (now - then)
        self._last = (now, budget.spent_images)
        text = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        text = f"{budget.spent_images} images  {rate:.1f}/s  {text}"
        if self._bar is not None:
            self._bar.update(self._task, completed=budget.progress(), description=f"{self.name}: {text}")
        else:
            self.say(f"{100 * budget.progress():5.1f}%  {text}")
