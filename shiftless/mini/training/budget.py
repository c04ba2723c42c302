"""How long a run lasts and what its learning rate is on the way."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field

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
    """The run's voice: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, name: str, *, every_seconds: float = 15.0) -> None:
        self.name, self.every = name, every_seconds
        self.live = sys.stderr.isatty()
        self._last = (time.monotonic(), 0)

    def say(self, text: str) -> None:
        """Print a line of its own."""
        print(f"{time.strftime('%H:%M:%S')} {self.name}: {text}", file=sys.stderr, flush=True)

    def step(self, budget: Budget, **numbers: float) -> None:
        """Report a step, when it is time to."""
        now, (then, images) = time.monotonic(), self._last
        if now - then < (1.0 if self.live else self.every):
            return
        rate = (budget.spent_images - images) / (now - then)
        self._last = (now, budget.spent_images)
        values = "  ".join(f"{k} {v:.4g}" for k, v in numbers.items())
        text = f"{100 * budget.progress():5.1f}%  {budget.spent_images} images  {rate:.1f}/s  {values}"
        if self.live:
            print(f"\r{self.name}: {text}   ", end="", file=sys.stderr, flush=True)
        else:
            self.say(text)
