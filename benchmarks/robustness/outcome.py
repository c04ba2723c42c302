"""Outcome: what became of the cases of one group: carried out, refused in one line, or failed."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from shiftless.errors import MOST, BadInput

SECONDS = 30
"""How long one case may take; a case that takes longer has failed."""


class TooSlow(Exception):
    """A case did not end in time."""


class WrongResult(Exception):
    """A case was carried out, and what came of it is not what must come of it."""


@dataclass
class Outcome:
    """The counts of one group; `failures` holds a line for each failed case, with what repeats it.

    tried = done + refused + len(failures); `skipped` says why a group could not be tried here.
    """

    group: str
    tried: int = 0
    done: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: str = ""
    seconds: float = 0.0

    def attempt(self, case: str, act: Callable[[], object], seconds: float = SECONDS) -> None:
        """Carry out one case and count what became of it: a BadInput of one line is a refusal, any other is a failure.

        >>> outcome = Outcome("divisions")
        >>> for divisor in (1, 0):
        ...     outcome.attempt(f"1 / {divisor}", lambda: 1 / divisor)
        >>> outcome.done, outcome.failures
        (1, ['1 / 0: ZeroDivisionError: division by zero'])
        """
        self.tried += 1
        started = time.monotonic()
        try:
            with in_time(seconds):
                act()
        except BadInput as error:
            message = str(error)
            if "\n" in message or len(message) > MOST:
                self.failures.append(f"{case}: refused in {len(message)} characters: {message[:120]!r}")
            else:
                self.refused += 1
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also what native code raises, which is no Exception
            self.failures.append(f"{case}: {_last_line(error)}")
        else:
            self.done += 1
        self.seconds += time.monotonic() - started

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return asdict(self)


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Raise TooSlow in here after so many seconds, where the system has alarms."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise TooSlow(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check(fact: object, message: str) -> None:
    """Raise WrongResult with a message unless a fact holds."""
    if not fact:
        raise WrongResult(message)


def _last_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "shiftless" in frame.filename]
    where = f" ({own[-1].filename.rpartition('shiftless/')[2]}:{own[-1].lineno})" if own else ""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}{where}"
