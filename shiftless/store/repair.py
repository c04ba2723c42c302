"""Repair: what is whole in a damaged store is kept, and the rest taken out, to be read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from shiftless.errors import BadInput
from shiftless.progress import Progress
from shiftless.store.commit import Commit, shard_pieces
from shiftless.store.contents import Keys, entries_of, rows_in_file
from shiftless.store.manifest import Manifest, Published, column_key, shard_key
from shiftless.store.place import Place
from shiftless.store.recovery import recover
from shiftless.store.row import COLUMNS, ROWS, empty_row, encode
from shiftless.store.shard import Damaged
from shiftless.store.transforms import check_transforms
from shiftless.store.verify import verify


@dataclass
class Repaired:
    """What a repair did.

    rebuilt    whether the manifest had to be put together again
    recovered  readings that a killed writer had left, now published
    copies     copies of metadata that were written anew
    lost       damaged readings that were taken out: (group, photo)
    """

    rebuilt: bool
    recovered: int
    copies: int
    lost: list[tuple[str, str]]


def repair(place: Place, progress: Callable[[int], Progress] | None = None) -> Repaired:
    """Make a store whole: rebuild its manifest, publish what killed writers left, take out what is damaged.

    A reading that is taken out leaves a row without a key, and NaN in its place; `shiftless extract` reads it again,
    and `shiftless store merge` into a new store leaves such rows behind. What the killed commits of dead
    writers left in the arrays is removed.

    progress  given the number of rows, returns what counts them

    Raises BadInput where there is nothing to rebuild from, and where the transform of compressed maps is lost.
    """
    with place.lock():
        rebuilt = _whole_manifest(place)
        commit = Commit(place, Keys(place))
        check_transforms(place, commit.manifest)
        recovered = recover(commit)
        manifest = commit.manifest
        copies = len(manifest.copy_out(place))
        rows = sum(one.rows for one in manifest.groups.values())
        if progress is None:
            found = verify(place, manifest)
        else:
            with progress(rows) as step:
                found = verify(place, manifest, step)
        lost: list[tuple[str, str]] = []
        for one in manifest.groups.values():
            numbers = {number for fault in found.faults if fault.group == one.name for number in fault.rows}
            if numbers:
                lost += [(one.name, photo) for photo in _take_out(place, one, numbers)]
            _remove_orphans(place, one)
    return Repaired(rebuilt, recovered, copies, lost)


def _whole_manifest(place: Place) -> bool:
    """Put a manifest in its place if there is none that can be read; return whether that was needed."""
    try:
        Manifest.read(place)
        return False
    except (BadInput, FileNotFoundError):
        manifest = Manifest.rebuilt(place)
    if not manifest.groups:
        raise BadInput(f"{place.name}: nothing of a store is left there to rebuild it from; extract the photos again")
    for one in manifest.groups.values():
        one.rows = _rows_written(place, one)
    manifest.publish(place)
    return True


def _rows_written(place: Place, one: Published) -> int:
    """How many rows a group has on disk: the copy of its metadata may be behind its columns, which are written last."""
    last = one.rows
    number = one.rows // ROWS
    while True:
        whole = Published(one.group, one.name, (number + 1) * ROWS)
        try:
            rows = rows_in_file(place, whole, number)
        except Damaged:
            return last
        kept = [i for i, row in enumerate(rows, number * ROWS) if row.key and row.digest and any(row.checksums)]
        last = max(last, *(i + 1 for i in kept)) if kept else last
        if len(kept) < ROWS:
            return last
        number += 1


def _take_out(place: Place, one: Published, numbers: set[int]) -> Iterator[str]:
    """Empty rows, first in the columns, which readers of shiftless go by, then in the shards; yield the photos."""
    for number in sorted({n // ROWS for n in numbers}):
        count = min(ROWS, one.rows - number * ROWS)
        empty = empty_row(len(one.group.taps))
        try:
            rows = rows_in_file(place, one, number)
        except Damaged:
            rows = [empty] * count
        for i in range(count):
            if number * ROWS + i in numbers:
                yield rows[i].photo
                rows[i] = empty
        for column in COLUMNS:
            place.write(column_key(one, column, number), [encode(rows, column)])
    for tap in range(len(one.group.taps)):
        for shard in sorted({n // one.group.shard for n in numbers}):
            _rewrite(place, one, tap, shard, numbers)


def _rewrite(place: Place, one: Published, tap: int, number: int, numbers: set[int]) -> None:
    """Write a shard anew without the maps of some rows."""
    shard = one.group.shard
    key = shard_key(one, one.group.nodes[tap], number)
    count = min(shard, one.rows - number * shard)
    try:
        entries = entries_of(place, one, tap, number)[:count]
    except Damaged:
        entries = [None] * count
    kept = [None if number * shard + i in numbers else entry for i, entry in enumerate(entries)]
    place.write(key, shard_pieces([bytes if e is None else partial(place.read, key, *e) for e in kept], shard))


def _remove_orphans(place: Place, one: Published) -> None:
    """Remove the shards that a commit wrote behind the published ones, and did not live to publish."""
    end = -(-one.rows // one.group.shard)
    for node in one.group.nodes:
        for name in place.names(f"{one.name}/{node}"):
            number = name.split(".")[1] if name.startswith("c.") else ""
            if number.isdigit() and int(number) >= end:
                place.delete(f"{one.name}/{node}/{name}")
