"""A folder of drawn pictures, in shards, so that pictures are drawn once and not in every epoch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from miniworld.datasets import drawer, seeds
from miniworld.training.processes import draw_in_processes
from shiftless.errors import BadInput

SHARD = 500
TURNS = ("creatures", "bedrooms", "creatures", "streets", "creatures")
"""Whose turn it is: the worlds of five shards, one after another, over and over."""


def world_of(first: int) -> str:
    """Say which world the shard that begins with a seed is of.

    >>> world_of(0), world_of(SHARD), world_of(6 * SHARD)
    ('creatures', 'bedrooms', 'bedrooms')
    """
    return TURNS[first // SHARD % len(TURNS)]


def draw_shard(folder: str, first: int, count: int, size: int) -> str:
    """Draw `count` pictures from seed `first` on into one shard of the folder, and give the shard's name.

    They are of the world whose turn it is; creatures take livelier poses than in pairs and tables, and bear marks.
    """
    world = world_of(first)
    draw, name = drawer(world), f"{first:010d}"
    how = {"lively": True, "marked": True} if world == "creatures" else {}
    images = np.empty((count, size, size, 3), np.uint8)
    about = []
    for i in range(count):
        picture = draw(first + i, size=size, **how)
        images[i] = picture.image
        about.append(_about(world, picture))
    root = Path(folder)
    _write(root / f"{name}.json", json.dumps(about).encode())
    part = root / f"{name}.{os.getpid()}.tmp"
    with part.open("wb") as handle:
        np.save(handle, images)
    os.replace(part, root / f"{name}.npy")  # last: a shard whose pixels are there is whole
    return name


def draw_pictures(
    folder: str | Path,
    n: int,
    *,
    first: int = 0,
    size: int = 128,
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Draw the pictures of seeds `first .. first + n - 1` into a folder, keeping the shards that are there already.

    Three shards of five are of creatures, one of bedrooms and one of streets (`TURNS`).

    They are drawn by `workers` processes, by default one for each core. A shard is an array of N H W 3 uint8 with its
    captions beside it. Raises `BadInput` when the seeds leave the range that is set aside for training.

    >>> draw_pictures("never-made", 10, first=2**30)
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: 10 pictures from number 1073741824 on: the seeds of 'model' are 0 to 699999
    """
    seeds("model", n, first)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    jobs = [(first + s, min(SHARD, n - s)) for s in range(0, n, SHARD)]
    jobs = [job for job in jobs if not (root / f"{job[0]:010d}.npy").exists()]
    draw_in_processes(_draw, [(str(root), *job, size) for job in jobs], [job[1] for job in jobs], workers, progress)


class PictureFolder:
    """The shards of a folder as one long array, memory-mapped; raises `BadInput` for an empty folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.shards: list[tuple[np.ndarray, list[dict[str, Any]]]] = []
        self.names: list[str] = []
        for path in sorted(self.folder.glob("*.npy")):
            about = json.loads(path.with_suffix(".json").read_text())
            self.shards.append((np.load(path, mmap_mode="r"), about))
            self.names.append(path.stem)
        if not self.shards:
            raise BadInput(f"{folder}: no drawn pictures here; let the run draw them, or name the folder that has them")
        self.ends = np.cumsum([len(images) for images, _ in self.shards])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        """One picture: H W 3 uint8, and what is known of it (world, captions, kind; of creatures also facing)."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = int(np.searchsorted(self.ends, index, side="right"))
        images, about = self.shards[shard]
        at = index - (int(self.ends[shard - 1]) if shard else 0)
        return images[at], about[at]


def crops(pictures: PictureFolder, batch: int, size: int, seed: int, step: int) -> np.ndarray:
    """Draw the batch of one training step: B H W 3 uint8 crops, the same for the same seed and step."""
    rng = np.random.default_rng([seed, step])
    out = np.empty((batch, size, size, 3), np.uint8)
    for row, index in enumerate(rng.integers(0, len(pictures), batch)):
        image = pictures[int(index)][0]
        y = int(rng.integers(0, (image.shape[0] - size) // 4 + 1)) * 4
        x = int(rng.integers(0, (image.shape[1] - size) // 4 + 1)) * 4
        crop = image[y : y + size, x : x + size]
        out[row] = crop[:, ::-1] if rng.random() < 0.5 else crop
    return out


def unseen(
    n: int, *, size: int = 128, first: int = 0, world: str = "creatures"
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Draw `n` pictures that no training, pair or table uses, one by one, from number `first` of their seeds on."""
    draw = drawer(world)
    for seed in seeds("prove", n, first):
        picture = draw(seed, size=size)
        yield picture.image, _about(world, picture)


def _about(world: str, picture: Any) -> dict[str, Any]:
    about = {"world": world, "captions": picture.captions, "kind": picture.kind}
    return {**about, "facing": picture.facing} if world == "creatures" else about


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    part.write_bytes(data)
    os.replace(part, path)


def _draw(job: tuple[str, int, int, int]) -> str:
    return draw_shard(*job)
