"""Contents: the rows, indices and maps of a published group, read from its files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from shiftless.store.manifest import Manifest, Published, column_key, shard_key
from shiftless.store.place import Place
from shiftless.store.row import COLUMNS, ROWS, Row, decode, texts_in
from shiftless.store.shard import Damaged, Entry, index_size, read_index, seal_of, unseal
from shiftless.store.transform import Transform
from shiftless.store.transforms import transform_of

DTYPES = {"fp16": "<f2", "fp32": "<f4", "uint8": "|u1"}
_INDICES = 64  # of shards of one group, kept in memory


def rows_of(place: Place, one: Published, first: int = 0) -> Iterator[Row]:
    """Yield a group's rows from number `first` on; raises Damaged where a column is lost or damaged."""
    for number in range(first // ROWS, -(-one.rows // ROWS)):
        rows = rows_in_file(place, one, number)
        yield from rows[max(0, first - number * ROWS) :]


def rows_in_file(place: Place, one: Published, number: int) -> list[Row]:
    """Return the published rows that lie in one file of each column; raises Damaged."""
    try:
        files = {column: place.read(column_key(one, column, number)) for column in COLUMNS}
    except FileNotFoundError as error:
        raise Damaged(f"{error} is not there") from None
    return decode(files, min(ROWS, one.rows - number * ROWS), len(one.group.taps))


def texts_in_file(place: Place, one: Published, column: str, number: int) -> list[str]:
    """Return the published values that lie in one file of a column of texts; raises Damaged."""
    try:
        data = place.read(column_key(one, column, number))
    except FileNotFoundError as error:
        raise Damaged(f"{error} is not there") from None
    return texts_in(data, min(ROWS, one.rows - number * ROWS))


def entries_of(place: Place, one: Published, tap: int, number: int) -> list[Entry]:
    """Return where the maps of a shard lie in it; raises Damaged if the shard is not there, or its index damaged."""
    key, rows = shard_key(one, one.group.nodes[tap], number), one.group.shard
    size = index_size(rows)
    try:
        return read_index(place.read(key, -size, size), rows)
    except FileNotFoundError:
        raise Damaged(f"{key} is not there") from None
    except Damaged as error:
        raise Damaged(f"{key}: {error}") from None


class Maps:
    """Reads the maps of a group, and keeps the indices of the shards that were read last."""

    def __init__(self, place: Place, one: Published) -> None:
        self.place, self.one = place, one
        self._indices: dict[tuple[int, int], list[Entry]] = {}

    def read(self, tap: int, row: int, expected: int | None = None) -> bytes:
        """Return the sealed bytes of one map; raises Damaged if they are not there, or not whole.

        expected  the checksum that they must have; where they have another, the index is read again, since the shard
                  may have been replaced
        """
        number, place = divmod(row, self.one.group.shard)
        key = shard_key(self.one, self.one.group.nodes[tap], number)
        reason = ""
        for _ in range(2):
            try:
                entry = self._index(tap, number)[place]
                if entry is None:
                    raise Damaged("it is not there")
                data = self.place.read(key, *entry)
                unseal(data)
                if expected is None or seal_of(data) == expected:
                    return data
                raise Damaged("it is another photo's")
            except (Damaged, FileNotFoundError) as error:
                reason = f"{key} is not there" if isinstance(error, FileNotFoundError) else str(error)
                self._indices.pop((tap, number), None)
        raise Damaged(reason)

    def array(self, tap: int, row: int, expected: int) -> np.ndarray:
        """Return one map as C H W, decoded if it is compressed; raises Damaged."""
        data = memoryview(self.read(tap, row, expected))[:-4]
        group = self.one.group
        array = np.frombuffer(data, DTYPES[group.dtypes[tap]]).reshape(group.shapes[tap])
        return array if self.transform is None else self.transform.decode(group.taps[tap].name, array)

    @cached_property
    def transform(self) -> Transform | None:
        """What decodes the maps, None where they are not compressed; raises Damaged if it is lost."""
        return transform_of(self.place, self.one.group)

    def decoded(self, tap: int) -> tuple[str, tuple[int, int, int]]:
        """Return the dtype of NumPy and the shape C H W of what `array` gives."""
        group = self.one.group
        _, h, w = group.shapes[tap]
        if self.transform is None:
            return DTYPES[group.dtypes[tap]], group.shapes[tap]
        return "<f4", (self.transform.channels[group.taps[tap].name], h, w)

    def _index(self, tap: int, number: int) -> list[Entry]:
        if (tap, number) not in self._indices:
            if len(self._indices) >= _INDICES:
                self._indices.pop(next(iter(self._indices)))
            self._indices[tap, number] = entries_of(self.place, self.one, tap, number)
        return self._indices[tap, number]


class Keys:
    """The keys of every row that a store has published, and the group that each lies in; read once, and kept up.

    beside  keys of another store, which count as its own too

    >>> from shiftless.store.place import place_of
    >>> "9f" in Keys(place_of("memory://none.zarr"))
    False
    """

    def __init__(self, place: Place, beside: Keys | None = None) -> None:
        self._place, self._beside = place, beside
        self._groups: dict[str, str] = {}
        self._seen: dict[str, int] = {}

    @classmethod
    def of(cls, place: Place) -> Keys:
        """Read the keys of a store, none if it is not there."""
        keys = cls(place)
        keys.update(Manifest.of(place))
        return keys

    def update(self, manifest: Manifest) -> None:
        """Read the rows that were published since the last time; what is damaged counts as not there."""
        for key, one in manifest.groups.items():
            while (seen := self._seen.get(key, 0)) < one.rows:
                number = seen // ROWS
                try:
                    texts = texts_in_file(self._place, one, "key", number)[seen - number * ROWS :]
                except Damaged:
                    texts = []
                self.add(key, [text for text in texts if text], min(one.rows, (number + 1) * ROWS))

    def add(self, group: str, keys: list[str], seen: int) -> None:
        """Add the keys of rows that a group has gained, and how many rows it then has."""
        self._groups |= dict.fromkeys(keys, group)
        self._seen[group] = seen

    def group(self, key: str) -> str | None:
        """Return the key of the group that a row lies in, None if it is not there."""
        found = self._groups.get(key)
        return self._beside.group(key) if found is None and self._beside is not None else found

    def __contains__(self, key: object) -> bool:
        return key in self._groups or (self._beside is not None and key in self._beside)
