"""Packing: numbers and arrays in one binary answer, since JSON would make the arrays four times as large."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MAGIC = b"SHF1"
MEDIA = "application/octet-stream"


def pack(about: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> bytes:
    """Pack a JSON object and uint8 arrays into bytes.

    They are "SHF1", the length of the JSON (uint32, little endian), the JSON, and the arrays. The JSON gets a list
    "arrays" with the shape and the place of each, counted from the end of the JSON.

    >>> packed = pack({"n": 1}, [np.zeros((2, 3), np.uint8)])
    >>> about, arrays = unpack(packed)
    >>> about["n"], arrays[0].shape
    (1, (2, 3))
    """
    places, start = [], 0
    for array in arrays:
        places.append({"shape": list(array.shape), "at": start})
        start += array.size
    text = json.dumps({**about, "arrays": places}, allow_nan=False).encode()
    whole = [MAGIC, struct.pack("<I", len(text)), text]
    return b"".join([*whole, *(np.ascontiguousarray(array, np.uint8).tobytes() for array in arrays)])


def unpack(content: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return what was packed."""
    (length,) = struct.unpack("<I", content[4:8])
    about = json.loads(content[8 : 8 + length])
    rest = np.frombuffer(content, np.uint8, offset=8 + length)
    shaped = [(place["at"], tuple(place["shape"])) for place in about["arrays"]]
    return about, [rest[at : at + int(np.prod(shape))].reshape(shape) for at, shape in shaped]
