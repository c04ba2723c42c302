"""Silence third-party logging: progress bars and notes of diffusers and transformers while models load."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

from shiftless.progress import VERBOSE, verbosity

_lock = threading.Lock()
_inside = 0
_restore: Callable[[], None] | None = None
_SPOKEN = ("torchao", "bitsandbytes")  # libraries that diffusers imports where they are installed


@cache
def import_quietly() -> None:
    """Let diffusers import libraries for quantising that are installed, whose notes on missing kernels are held back.

    >>> import_quietly()
    """
    if verbosity() == VERBOSE or not any(find_spec(name) for name in _SPOKEN):
        return
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        import diffusers.quantizers  # noqa: F401
    finally:
        logging.disable(before)


@contextmanager
def silenced() -> Iterator[None]:
    """Hold back what diffusers and transformers print while a model is loaded, and put their settings back.

    Where several threads are inside, the settings return with the last of them. Nothing is held back if the package
    is to be verbose.
    """
    global _inside, _restore
    if verbosity() == VERBOSE:
        yield
        return
    with _lock:
        if not _inside:
            _restore = _silenced()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _restore is not None:
                _restore()


def _silenced() -> Callable[[], None]:
    """Silence the libraries; return a function that restores their settings."""
    import_quietly()
    from diffusers.utils import logging as ours
    from transformers.utils import logging as theirs

    # diffusers' own ControlNet of Flux uses a name that diffusers is going to move
    warnings.filterwarnings("ignore", "`FluxPosEmbed` is deprecated", FutureWarning)
    levels = ours.get_verbosity(), theirs.get_verbosity()
    bars = getattr(theirs, "is_progress_bar_enabled", lambda: True)()
    ours.set_verbosity_error()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()

    def restore() -> None:
        ours.set_verbosity(levels[0])
        theirs.set_verbosity(levels[1])
        if bars:
            theirs.enable_progress_bar()

    return restore
