"""Keep freed memory while reading on a CPU, so that layers reuse it instead of asking the kernel each time."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# glibc's names and numbers, malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_WHILE_READING = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1))
# Any setting disables glibc's dynamic thresholds; these are where they end after a large tensor was freed.
_AFTERWARDS = ((_MMAP_MAX, 65536), (_MMAP_THRESHOLD, 32 * 2**20), (_TRIM_THRESHOLD, 64 * 2**20))

_lock = threading.Lock()
_depth = 0
_owned = False


def own_process() -> None:
    """Say that this process is the package's own, as the command line does: only there `kept_memory` acts.

    Settings of malloc cannot be undone, so that programs that use the library are left as they are.
    """
    global _owned
    _owned = True


@contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """Inside the `with`, memory that tensors free stays with the process; afterwards it is given back.

    By default glibc maps every large tensor afresh, and the kernel clears each of its pages: for the image encoder's
    64 MB activations that costs as much time as the layers' own arithmetic. Only in the package's own process
    (`own_process`), on Linux with glibc, for the CPU, and not where the environment already says how malloc should
    behave; elsewhere it does nothing. It is a hint: in some processes glibc gives pages back all the same, which costs
    only what it saved.

    >>> import torch
    >>> with kept_memory(torch.device("cpu")):
    ...     torch.ones(3).sum()
    tensor(3.)
    """
    malloc = _glibc() if _owned and device.type == "cpu" else None
    if malloc is None:
        yield
        return
    _enter(malloc)
    try:
        yield
    finally:
        _leave(malloc)


def _enter(malloc: Any) -> None:
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            _set(malloc.mallopt, _WHILE_READING)


def _leave(malloc: Any) -> None:
    global _depth
    with _lock:
        _depth -= 1
        if _depth == 0:
            _set(malloc.mallopt, _AFTERWARDS)
            malloc.malloc_trim(0)


def _set(mallopt: Callable[[int, int], int], options: tuple[tuple[int, int], ...]) -> None:
    for name, value in options:
        mallopt(name, value)


@cache
def _glibc() -> Any:
    """Return the C library if it is glibc with an untuned malloc, else None."""
    tuned = any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if not sys.platform.startswith("linux") or tuned:
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    library.malloc_trim.argtypes = [ctypes.c_size_t]
    return library
