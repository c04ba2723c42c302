"""Edge maps of a picture folder, kept as bits: what the ControlNet is trained with."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from miniworld.training.pictures import PictureFolder
from miniworld.training.vae import to_tensor
from shiftless.atomic import write_atomic
from shiftless.conditions.control_maps import canny
from shiftless.errors import BadInput
from shiftless.progress import count, reporting


def draw_edges(pictures: PictureFolder, folder: str | Path, *, progress: bool = False) -> None:
    """Write the edges of every shard of a picture folder, N H W/8 uint8 of eight pixels a byte; old shards stay."""
    root = Path(folder)
    missing = [(name, images) for name, (images, _) in zip(pictures.names, pictures.shards)]
    missing = [(name, images) for name, images in missing if not (root / f"{name}.npy").exists()]
    total = sum(len(images) for _, images in missing)
    with reporting(progress and bool(missing), f"edges of {count(total, 'picture')}", total, "picture") as drawn:
        for name, images in missing:
            shard = io.BytesIO()
            edges = [canny(to_tensor(images[i : i + 50]))[:, 0].numpy() > 0 for i in range(0, len(images), 50)]
            np.save(shard, np.packbits(np.concatenate(edges), axis=-1))
            write_atomic(root / f"{name}.npy", shard.getvalue())
            drawn(len(images))


class EdgeMaps:
    """A folder of `draw_edges`, in memory (2 KB a picture of 128 pixels); raises `BadInput` when it is empty."""

    def __init__(self, folder: str | Path) -> None:
        paths = sorted(Path(folder).glob("*.npy"))
        if not paths:
            raise BadInput(f"{folder}: no edge maps here; run the stage that draws them first")
        self.bits = np.concatenate([np.load(path) for path in paths])

    def __len__(self) -> int:
        return len(self.bits)

    def batch(self, rows: Tensor) -> Tensor:
        """Unpack the edges of B pictures: B 1 H W uint8 of 0 and 1."""
        return torch.from_numpy(np.unpackbits(self.bits[rows.numpy()], axis=-1))[:, None]
