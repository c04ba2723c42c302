"""Locks between processes, where the system has them; a process that is killed lets go of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

_LATELY = 3600.0  # seconds


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock for the time of the block; wait for it if another process holds it.

    Nothing is locked on Windows, nor on a file system without locks.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder)):
    ...     pass
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def take(folder: Path) -> int | None:
    """Take a folder's lock without waiting, and keep it: a descriptor to close, or None if a process holds it.

    Where there are no locks, a folder in which something was written less than an hour ago is taken to be held.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     held = take(Path(folder))
    ...     os.close(held)
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None if _lately(folder) else os.open(os.devnull, os.O_RDONLY)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks
        if _lately(folder):
            os.close(descriptor)
            return None
    return descriptor


class Held(Protocol):
    """What a process holds until it releases it, or is killed."""

    def renew(self) -> None:
        """Make sure that it is still held; raises Lost where another process has taken it over."""

    def release(self) -> None:
        """Let another process hold it."""


class Folder:
    """A folder whose lock this process keeps, made by `held`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def held(cls, folder: Path) -> Folder | None:
        """Take a folder's lock as `take` does."""
        descriptor = take(folder)
        return None if descriptor is None else cls(descriptor)

    def renew(self) -> None:
        """Do nothing: a lock of the system stays with its process."""

    def release(self) -> None:
        """Let another process take it."""
        os.close(self._descriptor)


class Unlocked:
    """What stands for something that is held where there are no locks."""

    def renew(self) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""


def _lately(folder: Path) -> bool:
    """Whether something in a folder was written less than an hour ago."""
    times = [0.0]
    for file in folder.rglob("*"):
        with suppress(OSError):  # gone meanwhile
            times.append(file.stat().st_mtime)
    return time.time() - max(times) < _LATELY
