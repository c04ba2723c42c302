"""Behind: a thread that writes what was read while the model reads on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import Queue
from types import TracebackType
from typing import Protocol

from shiftless.features import FeatureMaps


class Written(Protocol):
    """What buckets are written into: a `FeatureFolder` or a `StoreWriter`."""

    def write(self, bucket: Sequence[FeatureMaps]) -> object:
        """Add a claimed photo's features."""


class Behind:
    """Writes buckets in their order, in a thread of its own.

    target  where they are written
    most    how many may wait, which bounds memory: `write` then waits too; 0 writes at once, in the caller's thread

    An error of the target is raised by the next `write`, or when the block ends, and nothing is written after it.
    When the block ends, for whatever reason, what was given has been written; a second Ctrl-C meanwhile leaves out
    what still waits.

    >>> class Kept(list):
    ...     write = list.append
    >>> kept = Kept()
    >>> with Behind(kept, most=2) as behind:
    ...     behind.write("a bucket")
    >>> kept
    ['a bucket']
    """

    def __init__(self, target: Written, most: int) -> None:
        self.target = target
        self._error: BaseException | None = None
        self._given_up = False
        self._waiting: Queue[Sequence[FeatureMaps] | None] = Queue(most)
        self._thread = threading.Thread(target=self._run, name="shiftless-behind", daemon=True) if most else None

    def write(self, bucket: Sequence[FeatureMaps]) -> None:
        """Add a bucket to what is written; raises what the target raised for an earlier one."""
        if self._thread is None:
            self.target.write(bucket)
            return
        if self._error is not None:
            raise self._error
        self._waiting.put(bucket)

    def __enter__(self) -> Behind:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._thread is None:
            return
        try:
            self._waiting.put(None)
            self._thread.join()
        except BaseException:
            self._given_up = True  # the thread throws away what waits, so that neither of these lasts
            self._waiting.put(None)
            self._thread.join()
            raise
        if kind is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (bucket := self._waiting.get()) is not None:
            if self._error is None and not self._given_up:
                try:
                    self.target.write(bucket)
                except BaseException as error:
                    self._error = error
