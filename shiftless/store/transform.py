"""Transforms: how maps in a compressed store are written with fewer bytes, and read again.

    int8   each channel as one of 256 values between the ends of its range: half of fp16
    pca:K  the first K principal components of the channels, in fp16 or fp32
    pq:M   product quantisation: the channels in M parts, each part a byte, the number of one of 256 centroids

A transform is learned from some cells of the first photos, and lies in the store beside the maps, which cannot be read
without it. What is decoded is float32, and near what was read, not equal to it.

Source: Jegou, Douze, Schmid, "Product quantization for nearest neighbor search", TPAMI 2011.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from shiftless.digest import digest_of
from shiftless.errors import BadInput

NONE = "none"
_MARGIN = 0.05  # of a channel's range, to each side: later photos go beyond that of the sample
_LEVELS = 255
CENTROIDS = 256
_ROUNDS = 15  # of k-means
_TOLD = "give none, int8, pca:K (K components, such as pca:64) or pq:M (M bytes a cell, such as pq:32)"


@dataclass(frozen=True)
class Compression:
    """What is asked for: `method` is "none", "int8", "pca" or "pq", `size` its K or M, 0 where it has none.

    >>> Compression.parse("pca:64"), str(Compression.parse("int8")), Compression.parse("pq:8").width(192)
    (Compression(method='pca', size=64), 'int8', 8)
    """

    method: str
    size: int = 0

    @classmethod
    def parse(cls, text: str) -> Compression:
        """Read what --compress takes; raises BadInput for anything else."""
        method, colon, number = text.strip().partition(":")
        if method in (NONE, "int8") and not colon:
            return cls(method)
        if method in ("pca", "pq") and number.isdecimal() and 0 < int(number) < 2**16:
            return cls(method, int(number))
        raise BadInput(f"compress {text!r}: {_TOLD}")

    def __str__(self) -> str:
        return f"{self.method}:{self.size}" if self.size else self.method

    @property
    def in_bytes(self) -> bool:
        """Whether what is stored are whole numbers of one byte."""
        return self.method in ("int8", "pq")

    def width(self, channels: int) -> int:
        """Return how many numbers of a cell of so many channels are stored."""
        return self.size or channels

    def check(self, tap: str, channels: int) -> None:
        """Raise BadInput for a map of too few channels."""
        if self.size > channels:
            raise BadInput(f"compress {self}: {tap} has {channels} channels; give at most {self.method}:{channels}")


@dataclass(frozen=True, eq=False)
class Transform:
    """A compression with its learned parameters; those of a tap are named TAP/NAME.

    int8  low, step   C each
    pca   mean        C, and basis K C, of orthonormal rows
    pq    centroids   M 256 D, for parts of D channels; the last ones of a shorter part are 0

    >>> cells = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    >>> transform = learn(Compression("int8"), {"up1": cells})
    >>> stored = transform.encode("up1", torch.from_numpy(cells.T.reshape(6, 20, 25).copy()))
    >>> stored.dtype, float(np.abs(transform.decode("up1", stored.numpy()).reshape(6, -1).T - cells).max()) < 0.02
    (torch.uint8, True)
    """

    compression: Compression
    parameters: Mapping[str, np.ndarray]
    channels: Mapping[str, int]

    def encode(self, tap: str, value: torch.Tensor) -> torch.Tensor:
        """Return what is stored of a map C H W: uint8, or float32 for principal components."""
        c, h, w = value.shape
        cells = value.float().cpu().reshape(c, -1).T.numpy()
        return torch.from_numpy(np.ascontiguousarray(self._encoded(tap, cells).T).reshape(-1, h, w))

    def decode(self, tap: str, stored: np.ndarray) -> np.ndarray:
        """Return the map C H W float32 of what `encode` gave."""
        _, h, w = stored.shape
        cells = self._decoded(tap, stored.reshape(len(stored), -1).T)
        return np.ascontiguousarray(cells.T, np.float32).reshape(-1, h, w)

    def _encoded(self, tap: str, cells: np.ndarray) -> np.ndarray:
        p = self._of(tap)
        if self.compression.method == "int8":
            return np.rint((cells - p["low"]) / p["step"]).clip(0, _LEVELS).astype(np.uint8)
        if self.compression.method == "pca":
            return (cells - p["mean"]) @ p["basis"].T
        parts = _parts(cells, len(p["centroids"]))
        return np.stack([_nearest(part, all_) for part, all_ in zip(parts, p["centroids"])], 1).astype(np.uint8)

    def _decoded(self, tap: str, stored: np.ndarray) -> np.ndarray:
        p = self._of(tap)
        if self.compression.method == "int8":
            return stored.astype(np.float32) * p["step"] + p["low"]
        if self.compression.method == "pca":
            return stored.astype(np.float32) @ p["basis"] + p["mean"]
        sizes = _sizes(self.channels[tap], len(p["centroids"]))
        return np.hstack([all_[column, :size] for all_, column, size in zip(p["centroids"], stored.T, sizes)])

    def _of(self, tap: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(f"{tap}/"): p for key, p in self.parameters.items() if key.startswith(f"{tap}/")}

    def to_bytes(self) -> bytes:
        """Return the transform as the bytes of a safetensors file."""
        from safetensors.numpy import save

        about = json.dumps({"compress": str(self.compression), "channels": dict(self.channels)})
        return save(dict(self.parameters), {"transform": about})  # one text: safetensors orders several by chance

    @classmethod
    def from_bytes(cls, content: bytes) -> Transform:
        """Read what `to_bytes` gave; raises ValueError for anything else."""
        from safetensors.numpy import load

        try:
            parameters = load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            about = json.loads(header["__metadata__"]["transform"])
            channels = {str(tap): int(n) for tap, n in about["channels"].items()}
            return cls(Compression.parse(about["compress"]), parameters, channels)
        except Exception as error:  # broken files make the parser raise nearly anything
            raise ValueError(f"is no transform ({error})") from None


def digest_of_transform(content: bytes) -> str:
    """Return what a group names its transform by: a digest of the file's bytes."""
    return digest_of(content.hex())[:16]


def learn(compression: Compression, cells: Mapping[str, np.ndarray]) -> Transform:
    """Learn a transform from cells, N C float32 for each tap; the same cells give the same transform.

    Raises BadInput for a map of too few channels.

    >>> cells = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    >>> sorted((k, v.shape) for k, v in learn(Compression("pca", 3), {"up1": cells}).parameters.items())
    [('up1/basis', (3, 8)), ('up1/mean', (8,))]
    """
    parameters: dict[str, np.ndarray] = {}
    for tap, values in cells.items():
        compression.check(tap, values.shape[1])
        for name, value in _LEARNED[compression.method](values, compression.size).items():
            parameters[f"{tap}/{name}"] = np.ascontiguousarray(value, np.float32)
    return Transform(compression, parameters, {tap: values.shape[1] for tap, values in cells.items()})


def _learn_int8(cells: np.ndarray, _: int) -> dict[str, np.ndarray]:
    low, high = cells.min(0), cells.max(0)
    room = _MARGIN * (high - low)
    step = (high - low + 2 * room) / _LEVELS
    return {"low": low - room, "step": np.where(step > 0, step, 1)}


def _learn_pca(cells: np.ndarray, size: int) -> dict[str, np.ndarray]:
    mean = cells.mean(0, dtype=np.float64)
    centred = cells - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)  # by rising variance
    basis = vectors[:, ::-1][:, :size].T
    signs = np.sign(np.take_along_axis(basis, np.abs(basis).argmax(1)[:, None], 1))  # an eigenvector has either sign
    return {"mean": mean, "basis": basis * signs}


def _learn_pq(cells: np.ndarray, size: int) -> dict[str, np.ndarray]:
    parts = _parts(cells, size)
    all_ = np.zeros((size, CENTROIDS, max(part.shape[1] for part in parts)), np.float32)
    for i, part in enumerate(parts):
        all_[i, :, : part.shape[1]] = _centroids(part)
    return {"centroids": all_}


_LEARNED = {"int8": _learn_int8, "pca": _learn_pca, "pq": _learn_pq}


def _centroids(cells: np.ndarray) -> np.ndarray:
    """256 centres of cells N D by k-means, from cells chosen evenly; one that loses all its cells stays where it is."""
    chosen = np.random.default_rng(0).permutation(len(cells))
    centres = cells[np.resize(chosen, CENTROIDS)].astype(np.float64)
    for _ in range(_ROUNDS):
        owner = _nearest(cells, centres.astype(np.float32))
        count = np.bincount(owner, minlength=CENTROIDS)[:, None]
        sums = np.stack([np.bincount(owner, column, CENTROIDS) for column in cells.T], 1)
        centres = np.where(count > 0, sums / np.maximum(count, 1), centres)
    return centres.astype(np.float32)


def _nearest(cells: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The number of the centre nearest to each cell: N. Centres may have more channels, of zeros."""
    centres = centres[:, : cells.shape[1]]
    nearest: np.ndarray = (np.square(centres).sum(1) - 2 * (cells @ centres.T)).argmin(1)
    return nearest


def _parts(cells: np.ndarray, count: int) -> list[np.ndarray]:
    """The channels in so many parts, the first ones a channel longer where they do not divide evenly."""
    return np.array_split(cells, count, axis=1)


def _sizes(channels: int, count: int) -> list[int]:
    return [channels // count + (i < channels % count) for i in range(count)]
