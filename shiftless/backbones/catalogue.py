"""The catalogue: the known models and the taps of each, without loading any."""

from __future__ import annotations

import os

from shiftless.backbones.registry import find, models, taps
from shiftless.errors import BadInput
from shiftless.taps.names import Tap, select


def list_models(available: bool = False) -> list[str]:
    """List the names of known models that `shiftless.load` takes; any diffusers folder or hub id works too.

    available  only those whose weights are on this machine

    >>> list_models()[:2], list_models(available=True)[0]
    (['mini', 'sd15'], 'mini')
    """
    return [name for name in ("mini", *models()) if not available or _here(name)]


def list_taps(name: str | os.PathLike[str], pattern: str = "") -> list[Tap]:
    """List the places where a model can be read, by its name; no weights are needed for a known one.

    name     as `shiftless.load` takes it
    pattern  a tap's name or a glob, such as "up1*"; without one, attention maps of single heads are left out

    Each Tap has a `name`, its `channels` (0 where they depend on the prompt or the image), and its `stride` in pixels
    of the image as the model is fed it. Raises BadInput for an unknown model, and for a pattern that nothing matches.

    >>> [(tap.name, tap.channels, tap.stride) for tap in list_taps("sd15", "up?")]
    [('up0', 1280, 32), ('up1', 1280, 16), ('up2', 640, 8), ('up3', 320, 8)]
    """
    all_taps = taps(name)
    if pattern:
        return list(select([pattern], all_taps, os.fspath(name)))
    return [tap for tap in all_taps if tap.kind != "heads"]


def _here(name: str) -> bool:
    try:
        find(name)
    except BadInput:
        return False
    return True
