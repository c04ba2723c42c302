"""Checkpoints of a training run: a folder of small shards that is whole at every moment."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from shiftless.atomic import write_atomic
from shiftless.errors import BadInput

SHARD_BYTES = 14_000_000
"""The most bytes of weights in a shard; its header comes on top."""
INDEX = "checkpoint.json"
_ANEW = "copy the folder again, or delete it (or give --restart) to begin anew"


def save_checkpoint(
    folder: str | Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], *, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write named tensors and what JSON holds of a run, as a checkpoint that replaces the folder's last one.

    Shards are safetensors files named by a digest of their content; tensors lie in them in flat pieces. The index,
    written last, says which shards are the checkpoint's: a run that is killed meanwhile leaves the last one whole.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(folder, {"a": torch.ones(2, 3)}, {"steps": 5})
    ...     tensors, numbers = load_checkpoint(folder)
    >>> tensors["a"].shape, numbers
    (torch.Size([2, 3]), {'steps': 5})
    """
    folder = Path(folder)
    shards = []
    for shard in _packed(tensors, shard_bytes):
        content = save({name: piece.cpu() for name, piece in shard.items()})
        name = _name(content)
        write_atomic(folder / name, content)
        shards.append(name)
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    index = {"numbers": dict(numbers), "shards": shards, "shapes": shapes}
    write_atomic(folder / INDEX, (json.dumps(index) + "\n").encode())
    for path in folder.glob("*.safetensors"):
        if path.name not in shards:
            path.unlink(missing_ok=True)


def load_checkpoint(folder: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read the tensors, on the CPU, and the numbers of a checkpoint, or give None when there is none yet.

    Raises `BadInput` when the index cannot be read, and when a shard is missing or is not what was written.
    """
    folder = Path(folder)
    if not (folder / INDEX).exists():
        if next(folder.glob("*.safetensors"), None) is not None:
            raise BadInput(f"{folder}: {INDEX} is missing; {_ANEW}")
        return None
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        numbers, shards, shapes = dict(index["numbers"]), list(index["shards"]), dict(index["shapes"])
        missing = {name: math.prod(shape) for name, shape in shapes.items()}
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"{folder / INDEX}: not the index of a checkpoint; {_ANEW}") from None
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        for key, piece in load(_read(folder / shard)).items():
            name, _, start = key.rpartition("@")
            flat = tensors.setdefault(name, torch.empty(math.prod(shapes.get(name, [0])), dtype=piece.dtype))
            flat[int(start) : int(start) + len(piece)] = piece
            missing[name] = missing.get(name, 0) - len(piece)
    if any(missing.values()):
        raise BadInput(f"{folder / INDEX}: names other weights than its shards hold; {_ANEW}")
    return {name: flat.reshape(shapes[name]) for name, flat in tensors.items()}, numbers


def _packed(tensors: Mapping[str, Tensor], limit: int) -> Iterator[dict[str, Tensor]]:
    """Cut tensors into flat pieces, named "tensor@first element", and yield them in shards of at most `limit` bytes."""
    shard: dict[str, Tensor] = {}
    room = limit
    for name, tensor in tensors.items():
        flat, start = tensor.detach().reshape(-1), 0
        while start < len(flat):
            piece = flat[start : start + room // flat.element_size()]
            if not len(piece):
                yield shard
                shard, room = {}, limit
                continue
            shard[f"{name}@{start}"] = piece
            room -= len(piece) * flat.element_size()
            start += len(piece)
    if shard:
        yield shard


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError:
        raise BadInput(f"{path}: is missing or cannot be read; {_ANEW}") from None
    if _name(content) != path.name:
        raise BadInput(f"{path}: is not what was written there; {_ANEW}")
    return content


def _name(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
