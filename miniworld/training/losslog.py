"""What a run measured, as lines of JSON in its folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shiftless.atomic import write_atomic

EVERY = 100
"""Steps between two lines."""


class LossLog:
    """A file of one line for every hundred steps: the means of what these steps reported.

    What is not a finite number, such as the error at a noise level that a batch has not, does not count. `window` is
    what the next line will be made of. It is kept in checkpoints, so that a run that was stopped and resumed writes the
    lines that it would have written without.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = LossLog(Path(folder) / "a.jsonl", every=2)
    ...     for step, loss in enumerate([3.0, 1.0, 5.0], 1):
    ...         log.step(step, {"images": 4 * step}, {"loss": loss})
    ...     (Path(folder) / "a.jsonl").read_text()
    '{"step": 2, "images": 8, "loss": 2.0}\\n'
    """

    def __init__(self, path: Path, every: int = EVERY) -> None:
        self.path, self.every = path, every
        self.window: dict[str, list[float]] = {}  # name -> sum and count
        self._last = 0

    def begin(self, steps: int = 0, window: Mapping[str, Any] | None = None) -> None:
        """Go on after so many steps: later lines, of a run that was not saved or is begun anew, are removed."""
        self.window = {name: [float(total), int(count)] for name, (total, count) in (window or {}).items()}
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        kept = [line for line in lines if 0 < _step(line) <= steps]
        self._last = max(map(_step, kept), default=0)
        if kept != lines:
            write_atomic(self.path, "".join(f"{line}\n" for line in kept).encode())

    def step(self, number: int, facts: Mapping[str, float], numbers: Mapping[str, float]) -> None:
        """Take in what a step reported; the line's `facts` are as they are at its step."""
        for name, value in numbers.items():
            if math.isfinite(value):
                total, count = self.window.get(name, [0.0, 0])
                self.window[name] = [total + value, count + 1]
        if number % self.every == 0:
            self.write(number, facts)
            self.window = {}

    def write(self, number: int, facts: Mapping[str, float]) -> None:
        """Write the line of a step, from what is there, unless it is written already."""
        if number <= self._last:
            return
        self._last = number
        means = {name: total / count for name, (total, count) in self.window.items()}
        rounded = {name: float(f"{value:.6g}") for name, value in means.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": number, **facts, **rounded}) + "\n")


def _step(line: str) -> int:
    """Read the step of a line; 0 for one that was not written to its end."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 0
