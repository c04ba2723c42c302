"""Parts: the stores that the workers of a run write inside the store where all of it will lie.

They lie under .shiftless/parts/RUN, where no reader looks. A worker owns the shards of its part, and nobody else writes
there. At the end all parts are merged into the store by one commit.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shiftless.store.commit import Commit
from shiftless.store.contents import Keys
from shiftless.store.lock import Held
from shiftless.store.manifest import NAME
from shiftless.store.merge import merge
from shiftless.store.place import SUFFIX, Place
from shiftless.store.recovery import recover

PARTS = ".shiftless/parts"


@dataclass(frozen=True)
class Run:
    """A run that goes on: its name, and what says so to others."""

    name: str
    held: Held


@contextmanager
def new_run(place: Place) -> Iterator[Run]:
    """Give a run its name, and on a disk or S3 a lock that says that it goes on until the block ends.

    >>> from shiftless.store.place import place_of
    >>> with new_run(place_of("memory://runs.zarr")) as run:
    ...     len(run.name)
    12
    """
    held = None
    while held is None:  # another process may take the folder for that of a run that has ended, before it is held
        name = secrets.token_hex(6)
        with place.lock():
            held = place.hold(f"{PARTS}/{name}")
    try:
        yield Run(name, held)
    finally:
        held.release()


def part_name(out: str, run: str) -> str:
    """Return the name of a new part of a run.

    >>> part_name("a.zarr/", "9f")[:27]
    'a.zarr/.shiftless/parts/9f/'
    """
    return f"{out.rstrip('/')}/{PARTS}/{run}/{secrets.token_hex(6)}{SUFFIX}"


def merge_parts(place: Place, own: Run | None = None) -> int:
    """Add the photos of runs that have ended to their store, by one commit, and remove their parts.

    own  the run of the caller, which holds its lock

    Returns how many readings were added. A run that goes on is left alone; on a target that has no locks, none does.
    Photos that wait in the part of a worker that was killed are added too. Raises BadInput as `merge` does, and Lost
    where another process took the own run for one that had ended, which may have cost it some of its parts.
    """
    if own is not None:
        own.held.renew()
    runs, ended, parts = [], [], []
    for run in place.names(PARTS):
        if own is None or run != own.name:
            held = place.hold(f"{PARTS}/{run}")
            if held is None:
                continue
            ended.append(held)
        runs.append(run)
        names = [name for name in place.names(f"{PARTS}/{run}") if name.endswith(SUFFIX)]
        found = [place.inside(f"{PARTS}/{run}/{name}") for name in names]
        parts += [part for part in found if _whole(part)]
    try:
        added = merge(parts, place, trusted=True) if parts else 0
        for run in runs:
            if place.path is None:
                place.delete(f"{PARTS}/{run}")
            else:
                shutil.rmtree(place.path / PARTS / run, ignore_errors=True)
    finally:
        for held in ended:
            held.release()
    return added


def _whole(part: Place) -> bool:
    """Whether a part is a store, after what a killed worker left in it is published there."""
    if part.path is not None:
        with part.lock():
            recover(Commit(part, Keys(part)))
    return NAME in part.names()
