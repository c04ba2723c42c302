"""What other packages add to shiftless, found through entry points.

A package that declares ``[project.entry-points."shiftless.commands"]`` names a function without arguments that adds
commands to `shiftless.cli.app`; one that declares ``[project.entry-points."shiftless.pairs"]`` names a function
``(split, n, look) -> list of PhotoPair`` and so gives `shiftless correspond --data NAME` a dataset of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

COMMANDS, PAIRS = "shiftless.commands", "shiftless.pairs"


def names(group: str) -> list[str]:
    """Return the names that installed packages declare in a group, sorted.

    >>> names(COMMANDS)
    ['miniworld']
    """
    return sorted({entry.name for entry in entry_points(group=group)})


def find(group: str, name: str) -> Callable[..., Any] | None:
    """Return the function that a name stands for, or None if no installed package declares it.

    Exceptions of importing the declaring package are passed on.

    >>> find(PAIRS, "no-such-dataset") is None
    True
    """
    for entry in entry_points(group=group, name=name):
        function: Callable[..., Any] = entry.load()
        return function
    return None
