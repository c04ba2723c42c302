"""Drawn pictures of what the tables of parts show: horses, most of them ridden, and bedrooms, half each."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch

from miniworld.datasets import seeds
from miniworld.gan.generator import WORLDS
from miniworld.training.epochs import Epochs
from miniworld.training.pictures import PictureFolder
from miniworld.training.processes import draw_in_processes
from miniworld.world.bedroom.picture import draw_bedroom
from miniworld.world.picture import draw
from shiftless.atomic import write_atomic
from shiftless.errors import BadInput

SHARD = 500
FOLDER, N_PICTURES = "part-pictures", 30_000
"""The folder of a run's pictures, and how many it draws for itself."""
RIDDEN = 4
"""Of so many horses, all but one have a rider."""


def draw_part_pictures(
    folder: str | Path,
    n: int,
    *,
    first: int = 0,
    size: int = 128,
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Draw the pictures of seeds `first .. first + n - 1` into shards of horses and of bedrooms by turns.

    Horses are in the poses of the tables, three of four with riders. Shards that are there stay. Raises `BadInput` when
    the seeds leave the range that is set aside for training.

    >>> draw_part_pictures("never-made", 10, first=2**30)
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: 10 pictures from number 1073741824 on: the seeds of 'model' are 0 to 699999
    """
    seeds("model", n, first)
    jobs = [(str(folder), first + s, min(SHARD, n - s), size, s // SHARD % 2) for s in range(0, n, SHARD)]
    missing = [job for job in jobs if not _path(job[0], job[1]).exists()]
    draw_in_processes(_draw, missing, [job[2] for job in missing], workers, progress)


def draw_part_shard(folder: str, first: int, count: int, size: int, label: int) -> None:
    """Draw `count` pictures of one label of `WORLDS` from seed `first` on into one shard, N H W 3 uint8."""
    images = np.empty((count, size, size, 3), np.uint8)
    for i, seed in enumerate(range(first, first + count)):
        if label:
            images[i] = draw_bedroom(seed, size=size).image
        else:
            images[i] = draw(seed, size=size, kind="horse", rider=bool(seed % RIDDEN)).image
    content = io.BytesIO()
    np.save(content, images)
    path = _path(folder, first)
    write_atomic(path.with_suffix(".json"), json.dumps([{"world": WORLDS[label]}] * count).encode())
    write_atomic(path, content.getvalue())  # last: a shard whose pixels are there is whole


class PartPictures:
    """A folder of `draw_part_pictures`; raises `BadInput` when it is empty or holds something else."""

    def __init__(self, folder: str | Path) -> None:
        self.pictures = PictureFolder(folder)
        worlds = np.array([one.get("world") for _, about in self.pictures.shards for one in about])
        self.rows = [np.flatnonzero(worlds == world) for world in WORLDS]
        if not all(map(len, self.rows)) or sum(map(len, self.rows)) != len(worlds):
            raise BadInput(f"{folder}: not pictures of {' and '.join(WORLDS)}; give another --out, or let the run draw")
        self._epochs = [Epochs(len(rows), stream=20 + label) for label, rows in enumerate(self.rows)]
        self.side = self.pictures[0][0].shape[0]

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, size: int, seed: int, step: int) -> tuple[np.ndarray, torch.Tensor]:
        """Give the batch of one step: (B H W 3 uint8, labels B), labels by turns, every second picture mirrored."""
        labels = np.arange(size) % len(WORLDS)
        mirrored = np.random.default_rng([seed, 22, step]).random(size) < 0.5
        chosen = [epochs.rows(int((labels == i).sum()), seed, step) for i, epochs in enumerate(self._epochs)]
        images = np.empty((size, self.side, self.side, 3), np.uint8)
        for row, label in enumerate(labels):
            image = self.pictures[int(self.rows[label][chosen[label][row // len(WORLDS)]])][0]
            images[row] = image[:, ::-1] if mirrored[row] else image
        return images, torch.from_numpy(labels)


def _path(folder: str | Path, first: int) -> Path:
    return Path(folder) / f"{first:010d}.npy"


def _draw(job: tuple[str, int, int, int, int]) -> None:
    draw_part_shard(*job)
