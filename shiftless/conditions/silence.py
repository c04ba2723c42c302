"""Quiet loading: the libraries' progress bars and notes are theirs to print, not ours to pass on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what diffusers and transformers print while a model is loaded, and put their settings back."""
    from diffusers.utils import logging as ours
    from transformers.utils import logging as theirs

    levels = ours.get_verbosity(), theirs.get_verbosity()
    bars = getattr(theirs, "is_progress_bar_enabled", lambda: True)()
    ours.set_verbosity_error()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        ours.set_verbosity(levels[0])
        theirs.set_verbosity(levels[1])
        if bars:
            theirs.enable_progress_bar()
