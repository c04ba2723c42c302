"""Merge: the photos of several stores in one, which shows them all at once or none of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

from shiftless.errors import BadInput
from shiftless.progress import Progress
from shiftless.store.commit import Commit
from shiftless.store.contents import Keys, Maps, rows_of
from shiftless.store.manifest import Manifest, Published
from shiftless.store.place import Place
from shiftless.store.row import Row
from shiftless.store.shard import Damaged


def merge(sources: Sequence[Place], target: Place, progress: Progress | None = None) -> int:
    """Copy what stores show into another one, which is made if it is new; return how many readings were added.

    What is there already, by its key, is left out, and so is what was taken out as damaged. Everything is published by
    one commit at the end. Maps are copied as they are, each checked against its checksum; the memory needed is that of
    one map and of the table.

    progress  counts rows

    Raises BadInput for a source that is not there, is the target, or is damaged.
    """
    manifests = [Manifest.opened(source) for source in sources]
    if same := [source.name for source in sources if source.name.rstrip("/") == target.name.rstrip("/")]:
        raise BadInput(f"{same[0]}: is merged into itself; give another --out")
    added = 0
    with target.lock():
        commit = Commit(target, Keys(target))
        for source, manifest in zip(sources, manifests):
            for one in manifest.groups.values():
                try:
                    added += _append(commit, source, one, progress)
                except Damaged as error:
                    raise BadInput(f"{source.name}: {error}; repair it: shiftless store repair {source.name}") from None
        commit.publish()
        commit.manifest.copy_out(target)
    return added


def rows_in(sources: Sequence[Place]) -> int:
    """Return how many rows stores show; raises BadInput for one that is not there."""
    return sum(one.rows for source in sources for one in Manifest.opened(source).groups.values())


def _append(commit: Commit, source: Place, one: Published, progress: Progress | None) -> int:
    """Append a group's rows, as many at a time as fill a shard of the target."""
    maps, added = Maps(source, one), 0
    rows = iter(enumerate(rows_of(source, one)))
    while True:
        there = commit.manifest.groups.get(one.group.key)
        room = one.group.shard if there is None else there.group.shard - there.rows % there.group.shard
        chosen = list(itertools.islice(_fresh(rows, commit, progress), room))
        if not chosen:
            return added
        added += commit.append(one.group, [row for _, row in chosen], partial(_chunk, maps, chosen))


def _fresh(rows: Iterator[tuple[int, Row]], commit: Commit, progress: Progress | None) -> Iterator[tuple[int, Row]]:
    """The rows that are not in the target yet."""
    for number, row in rows:
        if progress is not None:
            progress.advance()
        if row.key and row.key not in commit.keys:
            yield number, row


def _chunk(maps: Maps, chosen: Sequence[tuple[int, Row]], i: int, tap: int) -> bytes:
    number, row = chosen[i]
    return maps.read(tap, number, row.checksums[tap])
