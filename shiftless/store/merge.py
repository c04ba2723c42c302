"""Merge: the photos of several stores in one, which shows them all at once or none of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from shiftless.errors import BadInput
from shiftless.progress import Progress
from shiftless.store.commit import Commit
from shiftless.store.contents import Keys, Maps, rows_of
from shiftless.store.group import Group
from shiftless.store.manifest import Manifest, Published, shard_key
from shiftless.store.place import Place
from shiftless.store.row import Row
from shiftless.store.shard import Damaged
from shiftless.store.transform import NONE
from shiftless.store.transforms import check_mixed, check_transforms, transform_key

Chosen = tuple[Maps, int, Row]  # a row, its number, and what reads the maps of its group


def merge(sources: Sequence[Place], target: Place, progress: Progress | None = None, *, trusted: bool = False) -> int:
    """Copy what stores show into another one, which is made if it is new; return how many readings were added.

    What is there already, by its key, is left out, and so is what was taken out as damaged. Everything is published by
    one commit at the end. Maps are copied as they are, each checked against its checksum; the memory needed is that of
    one map and of the table.

    progress  counts rows
    trusted   the sources were written just now and are not needed any more: on one disk their full shards get a second
              name in the target, and maps are not read

    Raises BadInput for a source that is not there, is the target, or is damaged, and where two stores hold one reading
    by two transforms.
    """
    manifests = [Manifest.opened(source) for source in sources]
    if same := [source.name for source in sources if source.name.rstrip("/") == target.name.rstrip("/")]:
        raise BadInput(f"{same[0]}: is merged into itself; give another --out")
    added = 0
    with target.lock():
        commit = Commit(target, Keys(target))
        shown = [(source.name, manifest) for source, manifest in zip(sources, manifests)]
        check_mixed([*shown, (target.name, commit.manifest)])
        for source, manifest in zip(sources, manifests):
            check_transforms(source, manifest)
            for one in manifest.groups.values():
                _copy_transform(source, target, one)
        source = target
        try:
            if trusted:
                for key in dict.fromkeys(key for manifest in manifests for key in manifest.groups):
                    pairs = [(place, manifest.groups.get(key)) for place, manifest in zip(sources, manifests)]
                    added += _append_shards(commit, [(place, one) for place, one in pairs if one is not None])
            else:
                for source, manifest in zip(sources, manifests):
                    for one in manifest.groups.values():
                        added += _append(commit, source, one, progress)
        except Damaged as error:
            raise BadInput(f"{source.name}: {error}; repair it: shiftless store repair {source.name}") from None
        commit.publish()
        commit.manifest.copy_out(target)
    return added


def _copy_transform(source: Place, target: Place, one: Published) -> None:
    """Give the target what decodes a group's maps; raises BadInput if it keeps another one for their reading."""
    if one.group.compress == NONE:
        return
    key = transform_key(one.group)
    content = source.read(key)
    try:
        there = target.read(key)
    except FileNotFoundError:
        target.write(key, [content])
        return
    if there != content:
        raise BadInput(f"{source.name} and {target.name}: hold two transforms of one reading; give another --out")


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
        rows_of_maps = [(maps, number, row) for number, row in chosen]
        added += commit.append(one.group, [row for _, row in chosen], partial(_chunk, rows_of_maps))


def _fresh(rows: Iterator[tuple[int, Row]], commit: Commit, progress: Progress | None) -> Iterator[tuple[int, Row]]:
    """The rows that are not in the target yet."""
    for number, row in rows:
        if progress is not None:
            progress.advance()
        if row.key and row.key not in commit.keys:
            yield number, row


def _append_shards(commit: Commit, sources: Sequence[tuple[Place, Published]]) -> int:
    """Append one group's rows of several sources: full shards as they are, the others' rows before and behind them.

    The rows before are as many as fill the target's last shard, so that full ones begin where a shard begins there.
    """
    group = sources[0][1].group
    full: list[tuple[Place, Published, list[Chosen]]] = []
    rest: list[Chosen] = []
    there = commit.manifest.groups.get(group.key)
    shard = group.shard if there is None else there.group.shard
    for source, one in sources:
        maps, rows = Maps(source, one), enumerate(rows_of(source, one))
        while block := list(itertools.islice(rows, one.group.shard)):
            fresh = [(maps, number, row) for number, row in block if row.key and row.key not in commit.keys]
            if len(fresh) == one.group.shard == shard:
                full.append((source, one, fresh))
            else:
                rest += fresh
    room = 0 if there is None else -there.rows % shard
    while full and len(rest) < room:
        rest += full.pop()[2]
    added = _append_rows(commit, group, rest[:room])
    for source, one, chosen in full:
        files = partial(_files, source, one, chosen)
        added += commit.append(group, [row for *_, row in chosen], partial(_chunk, chosen), files)
    return added + sum(_append_rows(commit, group, rest[i : i + shard]) for i in range(room, len(rest), shard))


def _append_rows(commit: Commit, group: Group, rows: Sequence[Chosen]) -> int:
    return commit.append(group, [row for *_, row in rows], partial(_chunk, rows)) if rows else 0


def _files(source: Place, one: Published, rows: Sequence[Chosen]) -> list[Path] | None:
    """The files of a full shard, one a tap; None for a source that is not on a disk."""
    number = rows[0][1] // one.group.shard
    if source.path is None:
        return None
    return [source.path / shard_key(one, node, number) for node in one.group.nodes]


def _chunk(rows: Sequence[Chosen], i: int, tap: int) -> bytes:
    maps, number, row = rows[i]
    return maps.read(tap, number, row.checksums[tap])
