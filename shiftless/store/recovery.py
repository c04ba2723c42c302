"""Recovery: the photos that a killed writer left are published by the next one."""

from __future__ import annotations

import os
import shutil

from shiftless.store.commit import Commit, commit_pending
from shiftless.store.lock import take
from shiftless.store.pending import PENDING, DiskPending
from shiftless.store.sample import SAMPLES


def recover(commit: Commit) -> int:
    """Publish what killed writers left in a store on disk, whose lock the caller holds; return how many rows.

    A writer that lives holds the lock of its own folder, which is then left alone.
    """
    top = commit.place.path
    if top is None:
        return 0
    added, done = 0, []
    for name in commit.place.names(PENDING):
        folder = top / PENDING / name
        held = take(folder)
        if held is None:
            continue
        done.append((folder, held))
        for part in sorted(folder.iterdir()):
            pending = DiskPending.load(part)
            if pending is not None and pending.photos:
                added += commit_pending(commit, pending)
    commit.publish()
    for folder, held in done:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)
    return added


def waiting(place_path: os.PathLike[str] | None) -> int:
    """Return how many photos wait in a store to be published, of living and killed writers.

    >>> waiting(None)
    0
    """
    from pathlib import Path

    if place_path is None:
        return 0
    places = (Path(place_path, PENDING), Path(place_path, SAMPLES))
    found = [DiskPending.load(part) for place in places for part in place.glob("*/*")]
    return sum(len(pending.photos) for pending in found if pending is not None)
