"""Shards of Zarr v3: many chunks in one file, each with a checksum, and an index at the end of the file.

    chunk  its values, row by row, little-endian, then their CRC-32C: 4 bytes (the codecs "bytes" and "crc32c")
    index  for each chunk its offset and its size, 8 bytes each (2^64 - 1 twice: none), then the CRC-32C of that

As the index stands at the end, a shard is written by appending chunks to a file, however large it becomes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from shiftless.errors import BadInput

Entry: TypeAlias = tuple[int, int] | None
"""Offset and size of a chunk in its shard, in bytes; None for a chunk that is not there."""
_NONE = 2**64 - 1
_SEAL = 4  # bytes of a CRC-32C


class Damaged(ValueError):
    """Bytes that do not have the checksum that was written beside them."""


def checksum(data: bytes | memoryview) -> int:
    """Return the CRC-32C of bytes; raises BadInput if the package for it is not there.

    >>> hex(checksum(b"123456789"))
    '0xe3069283'
    """
    try:
        import google_crc32c
    except ImportError:
        raise BadInput('a .zarr store needs zarr; install it with: pip install "shiftless[store]"') from None
    return int(google_crc32c.value(np.frombuffer(data, np.uint8)))  # it takes no memoryview


def seal(data: bytes) -> bytes:
    """Return bytes with their checksum behind them."""
    return data + struct.pack("<I", checksum(data))


def unseal(data: bytes) -> memoryview:
    """Return sealed bytes without their checksum; raises Damaged if it is another one.

    >>> bytes(unseal(seal(b"abc")))
    b'abc'
    >>> unseal(seal(b"abc")[1:])
    Traceback (most recent call last):
    ...
    shiftless.store.shard.Damaged: 6 bytes have another checksum than when they were written
    """
    body = memoryview(data)[:-_SEAL]
    if len(data) <= _SEAL or data[-_SEAL:] != struct.pack("<I", checksum(body)):
        raise Damaged(f"{len(data)} bytes have another checksum than when they were written")
    return body


def seal_of(data: bytes) -> int:
    """Return the checksum that stands behind sealed bytes."""
    return int(struct.unpack("<I", data[-_SEAL:])[0])


def index_size(rows: int) -> int:
    """Return how many bytes the index of a shard of so many chunks takes."""
    return 16 * rows + _SEAL


def write_index(entries: Sequence[Entry], rows: int) -> bytes:
    """Return the index of a shard that has room for so many chunks, of which the first ones are there.

    >>> read_index(write_index([(0, 8), None], 3), 3)
    [(0, 8), None, None]
    """
    values = [number for entry in entries for number in (entry or (_NONE, _NONE))]
    return seal(struct.pack(f"<{2 * rows}Q", *values, *[_NONE] * (2 * rows - len(values))))


def read_index(data: bytes, rows: int) -> list[Entry]:
    """Return what an index says; raises Damaged for bytes that are none."""
    if len(data) != index_size(rows):
        raise Damaged(f"an index of {len(data)} bytes where {index_size(rows)} belong")
    numbers = struct.unpack(f"<{2 * rows}Q", unseal(data))
    return [None if size == _NONE else (offset, size) for offset, size in zip(numbers[::2], numbers[1::2])]
