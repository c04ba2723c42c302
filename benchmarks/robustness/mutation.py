"""Mutations: broken copies of a file's bytes and of JSON values, drawn from a seeded generator."""

from __future__ import annotations

import json
import math
import random
import struct
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**6, 2**31, 2**63, 10**30, 10**400, 0.5, 1e308, math.nan, math.inf, -math.inf,
    "", "a", "0", "\0", "\ud800", "../" * 8, "é" * 300, "x" * 5000, [], [[]], [None], ["a", 1], [0] * 1000, {},
    {"": {}}, [[[[[[[[]]]]]]]], {"a": {"b": {"c": []}}},
)  # fmt: skip
"""Values that a field is given in place of its own."""


def deep(levels: int = 100_000) -> str:
    """Return JSON that is nested more deeply than a parser recurses."""
    return "[" * levels + "]" * levels


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return a broken copy of some bytes: flipped, cut, doubled, overwritten; rarely empty or all noise."""
    broken = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if not broken:
            break
        at = rng.randrange(len(broken))
        kind = rng.randrange(9)
        if kind == 0:
            broken[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            broken[at] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            del broken[at : at + rng.randrange(1, 64)]
        elif kind == 3:
            broken[at:at] = rng.randbytes(rng.randrange(1, 64))
        elif kind == 4:
            del broken[at:]
        elif kind == 5:
            broken[at:at] = broken[at : at + rng.randrange(1, 256)]
        elif kind == 6:  # a length or a size
            broken[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 2**31 - 1, 2**32 - 1)))
        elif kind == 7:  # the head, where the formats keep their sizes
            broken[rng.randrange(min(len(broken), 64))] = rng.randrange(256)
        else:
            size = min(len(broken) - at, rng.randrange(1, 32))
            broken[at : at + size] = rng.randbytes(size)
    return bytes(broken) if rng.random() > 0.02 else rng.choice((b"", rng.randbytes(200)))


def mutated_json(value: Any, rng: random.Random) -> Any:
    """Return a copy of a JSON value in which one field, anywhere, is lost, renamed or hostile."""
    copy = json.loads(json.dumps(value))
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            collect(node[key])

    collect(copy)
    if not places or rng.random() < 0.05:
        return rng.choice(HOSTILE)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        node, key = rng.choice(places)
        try:
            node[key]
        except (KeyError, IndexError):
            continue  # lost by an earlier change
        kind = rng.randrange(8)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, dict):
            node[f"{key}_"] = node.pop(key)
        elif kind == 2 and isinstance(node[key], int | float) and not isinstance(node[key], bool):
            node[key] = rng.choice((-node[key], node[key] * 1000, 0.5, str(node[key]), [node[key]]))
        elif kind == 3 and isinstance(node[key], list):
            node[key] = rng.choice((node[key] * 2, node[key][:-1], node[key][::-1], [node[key]]))
        else:
            node[key] = rng.choice(HOSTILE)
    return copy


def json_text(value: Any, rng: random.Random) -> bytes:
    """Return a JSON value as bytes, sometimes broken as text too: not UTF-8, cut, nested too deeply."""
    text = json.dumps(value).encode()
    kind = rng.randrange(20)
    if kind == 0:
        return mutated_bytes(text, rng)
    if kind == 1:
        return b"\xff\xfe" + text
    if kind == 2:
        return deep().encode()
    if kind == 3:
        return b'{"a": ' + b"9" * 6000 + b"}"
    return text


def mutated_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Return a broken copy of a safetensors file: its header's JSON, its metadata, its numbers or its bytes."""
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    kind = rng.randrange(6)
    if kind == 0:
        return mutated_bytes(data, rng)
    if kind == 1:
        text = json_text(mutated_json(header, rng), rng)
    elif kind == 2 and header.get("__metadata__"):  # strings in strings: what this library itself writes there
        about = header["__metadata__"]
        key = rng.choice(list(about))
        try:
            about[key] = json_text(mutated_json(json.loads(about[key]), rng), rng).decode("latin-1")
        except ValueError:
            about[key] = mutated_bytes(about[key].encode(), rng).decode("latin-1")
        if rng.random() < 0.2:
            del about[key]
        text = json.dumps(header).encode()
    elif kind == 3:  # numbers that are not finite, or far too large
        number = rng.choice((b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f", b"\xff" * 4))
        at = rng.randrange(0, max(1, len(body) - 4)) // 4 * 4
        times = rng.choice((1, 4, 64))
        body = body[:at] + (number * times)[: len(body) - at] + body[at + 4 * times :]
        text = json.dumps(header).encode()
    elif kind == 4:  # shapes that do not fit what follows
        name = rng.choice([name for name in header if name != "__metadata__"])
        header[name]["shape"] = mutated_json(header[name]["shape"], rng)
        text = json.dumps(header).encode()
    else:
        names = [name for name in header if name != "__metadata__"]
        a, b = rng.choice(names), rng.choice(names)
        header[a], header[b] = header[b], header[a]
        header[rng.choice(("", "x" * 300, "a.b.c", a.upper()))] = header.pop(a)
        text = json.dumps(header).encode()
    text = text + b" " * (-len(text) % 8)
    return struct.pack("<Q", rng.choice((len(text),) * 9 + (2**60,))) + text + body
