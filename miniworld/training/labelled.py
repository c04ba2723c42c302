"""Drawn pictures with what every pixel shows and where every point is, as the oracle is trained on them."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from miniworld.datasets import SEEDS, seeds
from miniworld.oracle import POINTS, truth_labels, truth_points
from miniworld.training.epochs import Epochs
from miniworld.training.processes import draw_in_processes
from miniworld.world.picture import draw
from shiftless.atomic import write_atomic
from shiftless.errors import BadInput
from shiftless.image import to_uint8

if TYPE_CHECKING:
    from shiftless.backbones.base import Backbone

FIRST = SEEDS["oracle"].start
"""The first seed of the oracle's pictures."""
LOOKS = {"photo": 0.5, "embroidery": 0.35, "pencil": 0.075, "nightvision": 0.075}
"""How often each look is shown."""
KEPT, BLURRED = 0.5, 0.25
"""Shares of pictures that go through the embedded autoencoder, and that are then blurred (sigma up to 1.2 pixels).

An oracle trained on clean pictures only would misread the autoencoder's artefacts and blur.
"""
SHARD = 500


def reconstructed(model: Backbone, images: np.ndarray) -> np.ndarray:
    """Give what a model's autoencoder alone leaves of pictures B H W 3 uint8, as B H W 3 uint8.

    >>> from shiftless.backbones.registry import load
    >>> reconstructed(load("twin:sd15"), np.zeros((2, 64, 64, 3), np.uint8)).shape
    (2, 64, 64, 3)
    """
    out = []
    with torch.no_grad():
        for i in range(0, len(images), 25):
            pixels = torch.from_numpy(np.array(images[i : i + 25])).permute(0, 3, 1, 2).float() / 127.5 - 1
            out.append(to_uint8(model.decode(model.encode_image(pixels)).float()))
    return np.concatenate(out)


def draw_labelled(
    folder: str | Path,
    n: int,
    *,
    first: int = FIRST,
    size: int = 128,
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Draw the pictures of seeds `first .. first + n - 1` with their truth into shards; shards that are there stay.

    They are drawn by `workers` processes, by default one for each core. Raises `BadInput` when the seeds leave the
    oracle's own range.

    >>> draw_labelled("never-made", 10, first=2**30)
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: 10 pictures from number 473741824 on: the seeds of 'oracle' are 600000000 to 1073741823
    """
    seeds("oracle", n, first - FIRST)
    jobs = [(str(folder), first + s, min(SHARD, n - s), size) for s in range(0, n, SHARD)]
    missing = [job for job in jobs if not _path(job[0], job[1]).exists()]
    draw_in_processes(_draw, missing, [job[2] for job in missing], workers, progress)


def draw_shard(job: tuple[str, int, int, int]) -> None:
    """Draw one shard, an array of records of `image` S S 3, `labels` S S and `points` P 2, for (folder, seed, n, S)."""
    folder, first, count, size = job
    kinds = [("image", "u1", (size, size, 3)), ("labels", "u1", (size, size)), ("points", "f4", (len(POINTS), 2))]
    shard = np.empty(count, kinds)
    rng = np.random.default_rng([first, 5])
    for i, look in enumerate(rng.choice(list(LOOKS), count, p=list(LOOKS.values()))):
        picture = draw(first + i, size=size, look=str(look))
        shard[i] = (picture.image, truth_labels(picture), truth_points(picture))
    kept, blurred = rng.random(count) < KEPT, rng.random(count) < BLURRED
    if kept.any():
        shard["image"][kept] = reconstructed(_autoencoder(), shard["image"][kept])
    for i in np.flatnonzero(blurred).tolist():
        shard["image"][i] = cv2.GaussianBlur(shard["image"][i], (0, 0), float(rng.uniform(0.3, 1.2)))
    content = io.BytesIO()
    np.save(content, shard)
    write_atomic(_path(folder, first), content.getvalue())


class LabelledPictures:
    """A folder of `draw_labelled`, memory-mapped; raises `BadInput` when it is empty."""

    def __init__(self, folder: str | Path) -> None:
        self.shards = [np.load(path, mmap_mode="r") for path in sorted(Path(folder).glob("*.labelled.npy"))]
        if not self.shards:
            raise BadInput(f"{folder}: no labelled pictures here; let the run draw them, or name their folder")
        self.ends = np.cumsum([len(shard) for shard in self.shards])
        self._epochs = Epochs(len(self), stream=4)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def batch(self, size: int, seed: int, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw the batch of one step, the same for the same seed and step, in shuffled epochs.

        Gives pictures B H W 3 uint8, labels B H/2 W/2 and points B P 2. A cell of the labels takes one of its four
        pixels, drawn at random for the whole batch: over many steps no side is preferred.
        """
        rows = [self._record(i) for i in self._epochs.rows(size, seed, step)]
        dy, dx = np.random.default_rng([seed, 6, step]).integers(0, 2, 2)
        labels = np.stack([row["labels"][dy::2, dx::2] for row in rows])
        points = np.stack([row["points"] for row in rows])
        images = np.stack([row["image"] for row in rows])
        return torch.from_numpy(images), torch.from_numpy(labels).long(), torch.from_numpy(points)

    def _record(self, index: int) -> np.void:
        shard = int(np.searchsorted(self.ends, index, side="right"))
        record: np.void = self.shards[shard][index - (int(self.ends[shard - 1]) if shard else 0)]
        return record


def _path(folder: str | Path, first: int) -> Path:
    return Path(folder) / f"{first:010d}.labelled.npy"


@cache
def _autoencoder() -> Backbone:
    from shiftless.backbones.registry import load

    return load("mini", device="cpu")


def _draw(job: tuple[str, int, int, int]) -> None:
    torch.set_num_threads(1)  # of this process, which shares the cores with others
    draw_shard(job)
