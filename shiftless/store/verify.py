"""Verify: every byte that a store shows, checked against the checksums beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from shiftless.progress import Progress
from shiftless.store.contents import Maps, rows_in_file
from shiftless.store.manifest import NAME, Manifest, Published, documents
from shiftless.store.place import Place
from shiftless.store.row import ROWS, Row
from shiftless.store.shard import Damaged
from shiftless.store.transforms import transform_of


@dataclass(frozen=True)
class Fault:
    """Something in a group that is damaged or lost.

    what   in a line
    rows   the numbers of the rows that are hit; none where no photo is
    """

    group: str
    what: str
    rows: tuple[int, ...] = ()


@dataclass
class Found:
    """What verifying found.

    photos  how many rows were read     bytes  how many bytes of maps
    faults  what is damaged             behind  copies of metadata that are older than the manifest, or lost
    """

    photos: int = 0
    bytes: int = 0
    faults: list[Fault] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)


def verify(place: Place, manifest: Manifest, progress: Progress | None = None) -> Found:
    """Read every row and every map that a store shows, and say what is damaged.

    progress  counts rows

    >>> from shiftless.store.place import place_of
    >>> verify(place_of("memory://none.zarr"), Manifest())
    Found(photos=0, bytes=0, faults=[], behind=[])
    """
    found = Found()
    for one in manifest.groups.values():
        found.behind += list(_behind(place, one))
        maps = Maps(place, one)
        try:
            transform_of(place, one.group)
        except Damaged as error:
            found.faults.append(Fault(one.name, f"{one.name}: {error}"))
        for first in range(0, one.rows, ROWS):
            rows = _rows(place, one, first, found)
            for number, row in enumerate(rows, first):
                if row is None or row.key:
                    _check(maps, number, row, found)
                if progress is not None:
                    progress.advance()
    return found


def _rows(place: Place, one: Published, first: int, found: Found) -> list[Row | None]:
    """The rows of one file of the columns; None for each where the file is damaged."""
    try:
        return list(rows_in_file(place, one, first // ROWS))
    except Damaged as error:
        numbers = range(first, min(one.rows, first + ROWS))
        found.faults.append(Fault(one.name, f"{one.name}: {error}", tuple(numbers)))
        return [None] * len(numbers)


def _check(maps: Maps, number: int, row: Row | None, found: Found) -> None:
    group = maps.one.group
    for tap, about in enumerate(group.taps):
        try:
            found.bytes += len(maps.read(tap, number, None if row is None else row.checksums[tap]))
        except Damaged as error:
            photo = "a photo whose row is damaged" if row is None else row.photo
            found.faults.append(Fault(maps.one.name, f"{maps.one.name}: {about.name} of {photo}: {error}", (number,)))
    found.photos += 1


def _behind(place: Place, one: Published) -> Iterator[str]:
    for key, document in documents(one):
        try:
            same = json.loads(place.read(f"{key}/{NAME}")) == json.loads(json.dumps(document))
        except (FileNotFoundError, ValueError):
            same = False
        if not same:
            yield f"{key}/{NAME}"
