"""Progress of long commands on stderr: the work ahead, the time left and the share done, on terminals and in pipes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
QUIET, NORMAL, VERBOSE = -1, 0, 1
_LONG = 10.0  # seconds; shorter work gets no progress lines
_EVERY = 30.0  # seconds between the lines of a piped command, and 2% of its time if that is longer
_verbosity = NORMAL
_bars: list[Any] = []  # rich's live display, of which a terminal takes one: what runs inside it adds its own row


def set_verbosity(level: int) -> None:
    """Say how much the package prints to stderr: QUIET (nothing but errors), NORMAL or VERBOSE."""
    global _verbosity
    _verbosity = level


def verbosity() -> int:
    """Return what `set_verbosity` was last given."""
    return _verbosity


def notice(line: str) -> None:
    """Print a line to stderr, above a progress bar if there is one; nothing if the package is to be quiet."""
    if _verbosity == QUIET:
        return
    if _bars:
        _bars[-1].console.print(line, markup=False, highlight=False, soft_wrap=True)
    else:
        print(line, file=sys.stderr, flush=True)


def detail(line: str) -> None:
    """Print a line to stderr if the package is to be verbose."""
    if _verbosity == VERBOSE:
        notice(line)


def duration(seconds: float) -> str:
    """Write a time in readable units.

    >>> [duration(s) for s in (0.2, 45, 200, 4000, 12000, 190000)]
    ['1 s', '45 s', '3 min', '67 min', '3 h 20 min', '2 days 5 h']
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} days {hours % 24} h"


def count(n: float, unit: str) -> str:
    """Write a number of things.

    >>> count(1, "photo"), count(412, "denoiser call"), count(18, "category"), count(2, "class")
    ('1 photo', '412 denoiser calls', '18 categories', '2 classes')
    """
    if n == 1:
        return f"{n:,.0f} {unit}"
    plural = f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}es" if unit.endswith(("s", "x", "ch")) else f"{unit}s"
    return f"{n:,.0f} {plural}"


class Progress:
    """The progress messages of a long command; use it in a `with`, and `advance` as the work is done.

    doing  what is done and to what, such as "reading 8 photos"
    total  how many units of work there are; None if unknown, and then no remaining time is shown
    unit   the name of one of them, such as "denoiser call"; "" for work that is counted as a share of its total
    every  seconds between two lines where stderr is not a terminal

    Entering prints a line that says what will be done. After the first units (a second of them, if they are short)
    follows about how long it takes, if that is more than ten seconds; then a progress bar with the remaining time on
    a terminal, and a plain line now and then elsewhere. All of it goes to stderr, and none of it if the package is
    to be quiet. Where several units are finished together, count something finer: see `reading.counted`.

    >>> with Progress("reading 2 photos", 2, "photo") as step:
    ...     step.advance()
    ...     step.advance()
    >>> step.done, step.total
    (2.0, 2.0)
    """

    def __init__(
        self,
        doing: str,
        total: float | None = None,
        unit: str = "photo",
        *,
        every: float = _EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.doing, self.unit = doing, unit
        self.total = None if total is None else float(total)
        self.done = 0.0
        self._every, self._clock = every, clock
        self._start = self._said = clock()
        self._pace = self._start, 0.0  # since when the pace is measured, and what was done by then
        self._estimated = False
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        self._start = self._said = self._clock()
        self._pace = self._start, self.done
        size = "" if self.total is None or not self.unit else count(self.total, self.unit)
        notice(self.doing if not size or size in self.doing else f"{self.doing}: {size}")
        if _verbosity != QUIET and sys.stderr.isatty():
            self._show()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._bar is not None:
            self._bar.remove_task(self._task)
            if _bars.count(self._bar) == 1:
                self._bar.stop()
            _bars.remove(self._bar)
            self._bar = None
        if kind is None and self._estimated:
            notice(f"{self.doing}: done in {duration(self._clock() - self._start)}")

    def advance(self, units: float = 1.0, text: str = "") -> None:
        """Count units of work as done; `text` is shown beside them, such as a loss."""
        self.to(self.done + units, text)

    def to(self, done: float, text: str = "") -> None:
        """Say how many units are done since the beginning."""
        self.done = done if self.total is None else min(done, self.total)
        if self._bar is not None:
            left = "" if self.left is None else f"{duration(self.left)} left"
            shown = f"{self.doing}  {text}" if text else self.doing
            self._bar.update(self._task, completed=self.done, total=self.total, description=shown, left=left)
        self._tell(text)

    def skip(self, units: float = 1.0) -> None:
        """Take units out of the work, such as what an earlier run has done; they say nothing about the time."""
        if self.total is not None:
            self.total = max(self.done, self.total - units)

    def resume(self, done: float) -> None:
        """Say what is done before the pace is measured: by an earlier run, or while the work was being prepared."""
        self.done = done
        self._pace = self._clock(), done

    @property
    def left(self) -> float | None:
        """About how many seconds are left, by the pace so far; None before anything is done."""
        since, before = self._pace
        if self.total is None or self.done <= before:
            return None
        return (self._clock() - since) * (self.total - self.done) / (self.done - before)

    def _tell(self, text: str) -> None:
        """Print about how long it takes when that is known, and how far it is when it is time to."""
        now = self._clock()
        spent, left, done = now - self._pace[0], self.left, self.done - self._pace[1]
        if left is not None and not self._estimated and spent >= 1:
            self._estimated = spent + left > _LONG
            if self._estimated and self.done < (self.total or 0):
                if not self.unit:
                    so_far = f"{100 * done / (self.total or 1):.1f}%"
                else:
                    so_far = f"the first {self.unit}" if done == 1 else count(done, self.unit)
                notice(f"{self.doing}: about {duration(left)} left ({so_far} took {duration(spent)})")
                self._said = now
        if self._bar is None and now - self._said >= max(self._every, 0.02 * (spent + (left or 0))):
            self._said = now
            if self.total is None:
                parts = [count(self.done, self.unit)]
            else:
                parts = [f"{100 * self.done / (self.total or 1):.0f}%"]
                parts[0] += f" of {count(self.total, self.unit)}" if self.unit else ""
                parts += [f"{duration(left)} left"] if left is not None else []
            notice(f"{self.doing}: {', '.join([*parts, *([text] if text else [])])}")

    def _show(self) -> None:
        if _bars:
            self._bar = _bars[-1]
        else:
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
            left = TextColumn("{task.fields[left]}", style="dim")
            self._bar = Bar(*columns, left, console=Console(stderr=True), transient=True)
            self._bar.start()
        self._task = self._bar.add_task(self.doing, total=self.total, left="")
        _bars.append(self._bar)


def track(items: Iterable[Item], doing: str, total: float | None = None, unit: str = "photo") -> Iterator[Item]:
    """Yield items and report progress; each item counts as done when the next one is requested.

    >>> sum(track([1, 2, 3], "adding", unit="number"))
    6
    """
    size = total if total is not None else len(items) if isinstance(items, Sized) else None
    with Progress(doing, size, unit) as step:
        for item in items:
            yield item
            step.advance()


@contextmanager
def reporting(progress: bool | Progress, doing: str, total: float, unit: str) -> Iterator[Callable[..., object]]:
    """Give a function to report finished units with, and a text if there is one: to a Progress that was begun, to a
    new one, or to none.

    >>> with reporting(False, "reading 2 photos", 2, "photo") as report:
    ...     report(1)
    """
    if isinstance(progress, Progress):
        yield progress.advance
    elif progress:
        with Progress(doing, total, unit) as step:
            yield step.advance
    else:
        yield lambda units, text="": None
