"""Locks: threads that hook a module or change its layers take turns, and so do those that build modules."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from weakref import WeakKeyDictionary

from torch import nn

_locks: WeakKeyDictionary[nn.Module, AbstractContextManager[bool]] = WeakKeyDictionary()
_making = threading.Lock()
_construction = threading.RLock()


@contextmanager
def exclusive(*modules: nn.Module | None) -> Iterator[None]:
    """Inside the `with`, no other thread is inside one of the same module; None stands for a module that is not there.

    One thread may enter several times. Hooks and LoRA layers belong to a module, not to a thread: whoever adds them,
    or must not meet another's, enters here. Several modules are named in the order denoiser, text encoder.

    >>> layer = nn.Linear(2, 2)
    >>> with exclusive(layer), exclusive(layer, None):
    ...     layer.in_features
    2
    """
    with ExitStack() as stack:
        for module in modules:
            if module is not None:
                stack.enter_context(_lock_of(module))
        yield


@contextmanager
def construction() -> Iterator[None]:
    """Inside the `with`, no other thread of this process is inside one: for building and loading modules.

    diffusers, transformers and peft replace methods of `nn.Module` while they build one, and random weights are drawn
    from the process's generator. Whoever holds a module enters this second, never the other way round.
    """
    with _construction:
        yield


def _lock_of(module: nn.Module) -> AbstractContextManager[bool]:
    with _making:
        return _locks.setdefault(module, threading.RLock())
