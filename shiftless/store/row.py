"""Row: what a store knows of one photo in one group, and the columns that hold it on disk."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from shiftless.store.shard import Damaged, seal, unseal

ROWS = 1024
"""Rows in one file of a column."""
COLUMNS: Mapping[str, str] = {  # name -> data type in Zarr; "size" and "checksum" have several values a row
    "photo": "string",
    "digest": "string",
    "key": "string",
    "size": "int32",
    "prompt": "string",
    "words": "string",
    "checksum": "uint32",
}


@dataclass(frozen=True)
class Row:
    """One photo in one group.

    key        digest of all that its features depend on, as `shiftless.store.key` makes it; "" where a photo was that
               has been taken out since it was damaged
    photo      its file, as it was given
    digest     of its pixels
    size       (h, w) of the photo in its own pixels
    prompt     the text that the model was given
    words      the prompt's tokens
    checksums  for each tap the CRC-32C of its map's bytes
    """

    key: str
    photo: str
    digest: str
    size: tuple[int, int]
    prompt: str
    words: tuple[str, ...]
    checksums: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Row:
        """Read what `to_dict` gave, from JSON too; raises ValueError, KeyError or TypeError for anything else."""
        h, w = values["size"]
        texts = {name: str(values[name]) for name in ("key", "photo", "digest", "prompt")}
        words, checksums = tuple(map(str, values["words"])), tuple(map(int, values["checksums"]))
        return cls(**texts, size=(int(h), int(w)), words=words, checksums=checksums)


def empty_row(taps: int) -> Row:
    """Return the row that stands where a damaged photo was."""
    return Row("", "", "", (0, 0), "", (), (0,) * taps)


def encode(rows: Sequence[Row], column: str) -> bytes:
    """Return one file of a column: the chunk of ROWS values that Zarr reads, of which the first ones are given."""
    if column == "size":
        return _numbers([row.size for row in rows], 2, "<i4")
    if column == "checksum":
        return _numbers([row.checksums for row in rows], len(rows[0].checksums), "<u4")
    values = [json.dumps(row.words) if column == "words" else getattr(row, column) for row in rows]
    encoded = [value.encode("utf-8", "backslashreplace") for value in values] + [b""] * (ROWS - len(rows))
    return seal(struct.pack("<I", ROWS) + b"".join(struct.pack("<I", len(value)) + value for value in encoded))


def decode(files: Mapping[str, bytes], rows: int, taps: int) -> list[Row]:
    """Return the first rows of one file of each column; raises Damaged for files that are not whole.

    >>> row = Row("9f", "a.jpg", "1f", (64, 96), "a horse", ("a", "horse"), (7,))
    >>> decode({column: encode([row], column) for column in COLUMNS}, rows=1, taps=1) == [row]
    True
    """
    try:
        texts = {name: texts_in(files[name], rows) for name in COLUMNS if COLUMNS[name] == "string"}
        sizes = np.frombuffer(unseal(files["size"]), "<i4").reshape(ROWS, 2)[:rows].tolist()
        sums = np.frombuffer(unseal(files["checksum"]), "<u4").reshape(ROWS, taps)[:rows].tolist()
        known = {text: tuple(map(str, json.loads(text or "[]"))) for text in set(texts["words"])}
    except (ValueError, struct.error, KeyError) as error:
        raise Damaged(f"a column of the table is damaged ({error})") from None
    return [
        Row(key, photo, digest, (h, w), prompt, known[words], tuple(checksums))
        for key, photo, digest, (h, w), prompt, words, checksums in zip(
            texts["key"], texts["photo"], texts["digest"], sizes, texts["prompt"], texts["words"], sums
        )
    ]


def texts_in(content: bytes, rows: int) -> list[str]:
    """Return the first values of one file of a column of texts; raises Damaged for a file that is not whole."""
    data = unseal(content)
    values, place = [], 4
    try:
        for _ in range(rows):
            (length,) = struct.unpack_from("<I", data, place)
            place += 4
            values.append(str(data[place : place + length], "utf-8"))
            place += length
    except (struct.error, ValueError) as error:
        raise Damaged(f"a column of the table is damaged ({error})") from None
    return values


def _numbers(values: Sequence[Sequence[int]], each: int, dtype: str) -> bytes:
    array = np.zeros((ROWS, each), dtype)
    array[: len(values)] = values
    return seal(array.tobytes())
