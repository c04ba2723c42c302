"""Pending photos: what a writer has read and not published yet, safe from a kill with each photo that is added.

On disk a folder of a writer's own, under .shiftless/pending in the store:

    journal     a line for the groups, then one for each photo: the CRC-32C of its JSON, and the JSON
    K.T.maps    the maps of group K's tap T, one after another: a shard but for its index, which needs no second copy
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shiftless.atomic import reported
from shiftless.errors import BadInput
from shiftless.store.group import Group
from shiftless.store.row import Row
from shiftless.store.shard import Damaged, checksum, seal_of, unseal, write_index

PENDING = ".shiftless/pending"
_JOURNAL = "journal"


class Pending:
    """Photos that wait to be published, in main memory: for a place where files cannot grow.

    groups  the K groups that each photo has a row in, one for each reading

    >>> from shiftless.header import Origin
    >>> from shiftless.recipe import Recipe
    >>> from shiftless.store.shard import seal
    >>> from shiftless.taps.names import Tap
    >>> group = Group(Recipe(), Origin(), (Tap("up1", 1, 8, ""),), (8, 8), ((1, 1, 1),), ("fp16",), 4)
    >>> pending = Pending((group,))
    >>> pending.add([Row("9f", "a.jpg", "1f", (8, 8), "", (), (7,))], [[seal(b"12")]])
    >>> pending.chunk(0, 0, 0)[:2], pending.bytes
    (b'12', 6)
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = tuple(groups)
        self.photos: list[tuple[Row, ...]] = []
        self.bytes = 0
        self._chunks: list[list[list[bytes]]] = []

    def add(self, rows: Sequence[Row], chunks: Sequence[Sequence[bytes]]) -> None:
        """Add a photo: its row in each group, and the sealed bytes of each group's maps."""
        self._keep(rows, chunks)
        self.photos.append(tuple(rows))
        self.bytes += sum(len(chunk) for part in chunks for chunk in part)

    def chunk(self, k: int, photo: int, tap: int) -> bytes:
        """Return the sealed bytes of one map."""
        return self._chunks[photo][k][tap]

    def parts(self, k: int) -> list[Path] | None:
        """Return for each tap of a group a file of its maps, finished as a shard; None in memory."""
        return None

    def sync(self) -> None:
        """Make what was added outlast a power cut."""

    def remove(self) -> None:
        """Forget the photos, which are published."""
        self._chunks.clear()

    def _keep(self, rows: Sequence[Row], chunks: Sequence[Sequence[bytes]]) -> None:
        self._chunks.append([list(part) for part in chunks])


class DiskPending(Pending):
    """Photos that wait on disk, in a folder that is made with the first of them; raises BadInput if it cannot be."""

    def __init__(self, folder: Path, groups: Sequence[Group]) -> None:
        super().__init__(groups)
        self.folder = folder
        self._written = 0  # bytes of the journal that hold whole lines
        self._synced = True

    @classmethod
    def load(cls, folder: Path) -> DiskPending | None:
        """Read what a killed writer left, up to the first photo that is not whole; None if there is none."""
        try:
            lines = _lines((folder / _JOURNAL).read_bytes())
            pending = cls(folder, [Group.from_attributes(about) for about in next(lines)["groups"]])
        except (OSError, StopIteration, ValueError, KeyError, TypeError, IndexError):
            return None
        with suppress(Damaged, OSError, ValueError, KeyError, TypeError):
            for line in lines:
                rows = [Row.from_dict(row) for row in line["rows"]]
                for k, row in enumerate(rows):
                    for tap, expected in enumerate(row.checksums):
                        chunk = pending.chunk(k, len(pending.photos), tap)
                        unseal(chunk)
                        if seal_of(chunk) != expected:
                            raise Damaged("a map of another photo")
                pending.photos.append(tuple(rows))
        return pending

    def chunk(self, k: int, photo: int, tap: int) -> bytes:
        size = _chunk_size(self.groups[k], tap)
        with (self.folder / f"{k}.{tap}.maps").open("rb") as file:
            file.seek(photo * size)
            return file.read(size)

    def parts(self, k: int) -> list[Path] | None:
        paths = []
        group, count = self.groups[k], len(self.photos)
        for tap in range(len(group.taps)):
            path, size = self.folder / f"{k}.{tap}.maps", _chunk_size(group, tap)
            index = write_index([(i * size, size) for i in range(count)], max(group.shard, count))
            with _opened(path) as descriptor:
                _write_at(descriptor, index, count * size)
                os.ftruncate(descriptor, count * size + len(index))
                os.fsync(descriptor)
            paths.append(path)
        return paths

    def sync(self) -> None:
        if not self._synced:
            for path in self.folder.iterdir():
                with _opened(path) as descriptor:
                    os.fsync(descriptor)
        self._synced = True

    def remove(self) -> None:
        with suppress(OSError):
            (self.folder / _JOURNAL).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _keep(self, rows: Sequence[Row], chunks: Sequence[Sequence[bytes]]) -> None:
        self._synced = False
        if not self._written:
            with reported(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            self._log({"groups": [group.attributes() for group in self.groups]})
        for k, part in enumerate(chunks):
            for tap, chunk in enumerate(part):
                if len(chunk) != _chunk_size(self.groups[k], tap):
                    raise BadInput(f"{rows[k].photo}: its maps have other shapes than those of its group")
                with _opened(self.folder / f"{k}.{tap}.maps") as descriptor:
                    _write_at(descriptor, chunk, len(self.photos) * len(chunk))
        self._log({"rows": [row.to_dict() for row in rows]})

    def _log(self, values: dict[str, Any]) -> None:
        text = json.dumps(values).encode()
        line = b"%08x %s\n" % (checksum(text), text)
        with _opened(self.folder / _JOURNAL) as descriptor:
            _write_at(descriptor, line, self._written)
        self._written += len(line)


def _chunk_size(group: Group, tap: int) -> int:
    return group.bytes_of(tap) + 4


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of a file that is written at any place of it; what the system says against it is BadInput."""
    with reported(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _write_at(descriptor: int, content: bytes, place: int) -> None:
    os.lseek(descriptor, place, os.SEEK_SET)
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _lines(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal up to the first that is not whole."""
    for line in content.splitlines(keepends=True):
        sum_, _, text = line.partition(b" ")
        if not line.endswith(b"\n") or sum_ != b"%08x" % checksum(text[:-1]):
            return
        yield json.loads(text)
