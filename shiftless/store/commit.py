"""Commit: rows are added behind those that a store has, and then become visible in one step."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from shiftless.atomic import reported
from shiftless.errors import BadInput
from shiftless.store.contents import Keys, entries_of, rows_in_file
from shiftless.store.group import Group
from shiftless.store.manifest import Manifest, Published, column_key, shard_key
from shiftless.store.pending import Pending
from shiftless.store.place import Place
from shiftless.store.row import COLUMNS, ROWS, Row, encode
from shiftless.store.shard import Damaged, Entry, write_index

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Commit:
    """One commit to a store, whose lock the caller holds: `append` as often as needed, then `publish` once.

    What `append` writes lies behind the published rows, where no reader looks, or replaces a file by one that begins
    with the same rows; `publish` replaces the manifest. A process that is killed in between has changed nothing.

    keys  of the published rows; a row whose key is among them is left out
    """

    def __init__(self, place: Place, keys: Keys) -> None:
        self.place, self.keys = place, keys
        self.manifest = Manifest.of(place)
        if not self.manifest.commit:
            self.manifest.publish(place)  # what is killed from here on leaves a store, of no photos
        self.keys.update(self.manifest)
        self._added: list[tuple[str, list[Row], int]] = []  # group, its new rows, how many it then has
        self._mine: set[str] = set()
        self._new = False

    def append(
        self,
        group: Group,
        rows: Sequence[Row],
        chunk: Callable[[int, int], bytes],
        parts: Callable[[], list[Path] | None] = lambda: None,
    ) -> int:
        """Add rows to a group, which is made if it is new; return how many were not there yet.

        chunk  (row, tap) -> the sealed bytes of its map
        parts  gives for each tap a file that is the shard which these rows fill, to be taken as it is where it can be

        Raises BadInput where the disk is full, or the group's last shard is damaged.
        """
        fresh = self._fresh(rows)
        if not fresh:
            return 0
        one = self.manifest.groups.get(group.key)
        if one is None:
            one = Published(group, self.manifest.name_for(group), 0)
            self._new = True
        chosen = [rows[i] for i in fresh]
        whole = len(fresh) == len(rows) <= group.shard == one.group.shard and one.rows % group.shard == 0
        files = parts() if whole else None
        for tap in range(len(group.taps)):
            if files is None or not self._linked(files[tap], shard_key(one, group.nodes[tap], one.rows // group.shard)):
                self._write_shards(one, tap, [partial(chunk, i, tap) for i in fresh])
        self._write_columns(one, chosen)
        one.rows += len(chosen)
        self.manifest.groups[group.key] = one
        self._added.append((group.key, chosen, one.rows))
        return len(chosen)

    def publish(self) -> None:
        """Make visible what was appended; nothing is done where nothing was."""
        if self._added:
            self.manifest.publish(self.place)
        for group, rows, seen in self._added:
            self.keys.add(group, [row.key for row in rows], seen)
        self._added.clear()
        if self._new:
            self.manifest.copy_out(self.place)
        self._new = False

    def _fresh(self, rows: Sequence[Row]) -> list[int]:
        """The numbers of the rows that are not there yet, each key once."""
        first: dict[str, int] = {}
        for i, row in enumerate(rows):
            if row.key not in self.keys and row.key not in self._mine:
                first.setdefault(row.key, i)
        self._mine |= set(first)
        return list(first.values())

    def _linked(self, part: Path, key: str) -> bool:
        """Give a finished shard its place under a second name; False where the file system has no such links."""
        assert self.place.path is not None
        target = self.place.path / key
        second = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
        with reported(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(part, second)
                os.replace(second, target)
            except OSError as error:
                if error.errno in _FULL:
                    raise
                return False
            finally:
                with suppress(OSError):  # of two names of one file neither is replaced
                    second.unlink()
        return True

    def _write_shards(self, one: Published, tap: int, chunks: Sequence[Callable[[], bytes]]) -> None:
        """Write the shards that hold new maps of a tap, the first one anew if it has maps already."""
        shard, start = one.group.shard, one.rows
        for number in range(start // shard, -(-(start + len(chunks)) // shard)):
            first = number * shard
            old = self._old(one, tap, number, start - first) if start > first else []
            new = chunks[max(0, first - start) : first + shard - start]
            self.place.write(shard_key(one, one.group.nodes[tap], number), shard_pieces([*old, *new], shard))

    def _old(self, one: Published, tap: int, number: int, count: int) -> list[Callable[[], bytes]]:
        """What reads the maps that a shard has already; one that was taken out reads as nothing."""
        key = shard_key(one, one.group.nodes[tap], number)
        try:
            entries = entries_of(self.place, one, tap, number)[:count]
        except Damaged as error:
            name = self.place.name
            raise BadInput(f"{name}: {error}; repair it first: shiftless store repair {name}") from None
        return [bytes if entry is None else partial(self.place.read, key, *entry) for entry in entries]

    def _write_columns(self, one: Published, rows: Sequence[Row]) -> None:
        start = one.rows
        for number in range(start // ROWS, -(-(start + len(rows)) // ROWS)):
            first = number * ROWS
            try:
                old = rows_in_file(self.place, one, number) if start > first else []
            except Damaged as error:
                name = self.place.name
                raise BadInput(f"{name}: {error}; repair it first: shiftless store repair {name}") from None
            new = rows[max(0, first - start) : first + ROWS - start]
            for column in COLUMNS:
                self.place.write(column_key(one, column, number), [encode([*old, *new], column)])


def shard_pieces(chunks: Iterable[Callable[[], bytes]], rows: int) -> Iterator[bytes]:
    """Yield a shard chunk by chunk, then its index; a chunk of no bytes is one that is not there.

    >>> len(b"".join(shard_pieces([lambda: b"12", lambda: b""], 2)))
    38
    """
    entries: list[Entry] = []
    place = 0
    for read in chunks:
        data = read()
        entries.append((place, len(data)) if data else None)
        place += len(data)
        yield data
    yield write_index(entries, rows)


def commit_pending(commit: Commit, pending: Pending) -> int:
    """Append pending photos to a commit; return how many rows were not there yet."""
    added = 0
    for k, group in enumerate(pending.groups):
        rows = [photo[k] for photo in pending.photos]
        added += commit.append(group, rows, partial(pending.chunk, k), partial(pending.parts, k))
    return added
