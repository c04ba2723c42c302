"""Digests: names made of contents. What is cached or stored is keyed by them, never by a path or a name alone."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from shiftless.atomic import write_atomic
from shiftless.errors import BadInput

LENGTH = 32
"""Hexadecimal digits of a digest: 128 bits of a SHA-256."""
_BLOCK = 1 << 22
_LARGE = 1 << 26  # bytes from which a file's digest is kept on disk, since reading it takes a noticeable time
_SETTLED = 2.0  # seconds after which a further write must change a file's times, on every usual file system

_files: dict[tuple[Any, ...], str] = {}


def digest_of(*values: Any) -> str:
    """Return the digest of plain values: anything that JSON can hold.

    >>> digest_of("canny", {"scale": 1.0}) == digest_of("canny", {"scale": 0.5})
    False
    """
    text = json.dumps(values, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def digest_of_file(path: str | os.PathLike[str]) -> str:
    """Return the digest of a file's content: the first 32 digits of its SHA-256.

    A file is read again only when its size, its times or its place on disk have changed; the digests of large files
    are kept in the cache folder too, so that a new process need not read them. Raises BadInput if it cannot be read.

    >>> digest_of_file("nowhere.safetensors")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere.safetensors: cannot be read (No such file or directory); check the path
    """
    try:
        whole = Path(path).resolve()
        before = os.stat(whole)
        key = (str(whole), *_marks(before))
        digest = _files.get(key) or (_kept(key) if before.st_size >= _LARGE else "")
        if not digest:
            hasher = hashlib.sha256()
            with whole.open("rb") as file:
                while block := file.read(_BLOCK):
                    hasher.update(block)
            digest = hasher.hexdigest()[:LENGTH]
            settled = time.time() - max(before.st_mtime, before.st_ctime) > _SETTLED
            if not settled or _marks(os.stat(whole)) != _marks(before):
                return digest  # just written: another write could leave the same times, so it is not cached
            if before.st_size >= _LARGE:
                _keep(key, digest)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check the path") from None
    _files[key] = digest
    return digest


def digest_of_folder(folder: str | os.PathLike[str], patterns: Iterable[str]) -> str:
    """Return the digest of a folder's files that match the patterns: their relative names and contents.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     before = digest_of_folder(folder, ["*.json"])
    ...     _ = Path(folder, "config.json").write_text("{}")
    ...     digest_of_folder(folder, ["*.json"]) == before
    False
    """
    top = Path(folder)
    files = sorted({path for pattern in patterns for path in top.glob(pattern) if path.is_file()})
    return digest_of_files({path.relative_to(top).as_posix(): path for path in files})


def digest_of_files(files: Mapping[str, Path]) -> str:
    """Return the digest of several files under the given names; large ones are read in parallel."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return digest_of(dict(zip(files, pool.map(digest_of_file, files.values()))))


def digest_of_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the digest of named tensors: names, dtypes, shapes and values, independent of memory format.

    >>> ones = torch.ones(1, 3, 2, 2)
    >>> same = ones.to(memory_format=torch.channels_last)
    >>> digest_of_tensors({"a": ones}) == digest_of_tensors({"a": same}) != digest_of_tensors({"b": ones})
    True
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        for part in plain([value]):
            flat = part.cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()[:LENGTH]


def in_order(content: bytes) -> bytes:
    """Return the content of a safetensors file with its metadata in the order of their names.

    The library writes them in a random order; in order, the same values are the same bytes and have the same digest.

    >>> from safetensors.torch import save
    >>> contents = {in_order(save({"a": torch.zeros(2)}, {name: "1" for name in "pqrst"})) for _ in range(8)}
    >>> len(contents)
    1
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def plain(tensors: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yield tensors, and in the place of each that is made of others (quantised weights) those.

    >>> len(list(plain([torch.zeros(2), torch.zeros(3)])))
    2
    """
    for tensor in tensors:
        inner = getattr(tensor, "__tensor_flatten__", None)
        yield from [tensor] if inner is None else plain(getattr(tensor, name) for name in inner()[0])


def state_of(tensors: Iterable[torch.Tensor]) -> tuple[tuple[int, int], ...]:
    """Return what changes when any of the tensors is written to or replaced, without reading their values.

    Writes through `.data` and those of fused optimisers, which torch does not count, are left to `samples_of`.

    >>> weight = torch.zeros(2)
    >>> before = state_of([weight])
    >>> _ = weight.add_(1)
    >>> state_of([weight]) == before
    False
    """
    return tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in plain(tensors))


def samples_of(tensors: Iterable[torch.Tensor], each: int = 8) -> bytes:
    """Return a few values of every tensor, spread over its memory: a cheap check for changed weights.

    >>> weight = torch.zeros(2, 2)
    >>> before = samples_of([weight])
    >>> _ = weight.data.add_(1)
    >>> samples_of([weight]) == before
    False
    """
    parts = []
    with torch.no_grad():
        for tensor in plain(tensors):
            if n := tensor.numel():
                step = -(-n // each)
                if tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last):
                    parts.append(tensor.as_strided((-(-n // step),), (step,)))
                else:
                    parts.append(tensor.flatten()[::step])
        return torch.cat(parts).float().cpu().numpy().tobytes() if parts else b""


def marks_of(files: Iterable[Path]) -> tuple[tuple[int, ...], ...]:
    """Return what changes when any of the files is written to or replaced, without reading them.

    A file that is gone has marks too.
    """
    return tuple(_marks(path.stat()) if path.exists() else () for path in files)


def cache_folder(kind: str) -> Path:
    """Return the cache folder for one kind of data: under $SHIFTLESS_CACHE, else in the user's cache folder."""
    own = os.environ.get("SHIFTLESS_CACHE")
    if own:
        return Path(own) / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "shiftless" / kind


def _marks(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _place(key: tuple[Any, ...]) -> Path:
    return cache_folder("digests") / f"{digest_of(*key)}.txt"


def _kept(key: tuple[Any, ...]) -> str:
    try:
        text = _place(key).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if len(text) == LENGTH and not set(text) - set("0123456789abcdef") else ""


def _keep(key: tuple[Any, ...], digest: str) -> None:
    with suppress(BadInput):  # a cache that cannot be written costs time only
        write_atomic(_place(key), f"{digest}\n".encode())
