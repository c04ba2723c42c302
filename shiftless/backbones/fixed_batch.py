"""FixedBatch: a model whose results for a row are bit-identical whatever the rest of its batch is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from shiftless.backbones.base import Backbone, Reading
from shiftless.conditions.condition import Condition, take
from shiftless.taps.names import Tap

ROWS, CELLS = 4, 1024
"""Rows of a block of small latents, and the most cells that are small: larger ones fill a machine one at a time."""


class FixedBatch:
    """A backbone whose calls are made in blocks of a fixed number of rows, the last padded with copies.

    Half precision sums in another order for another batch, and rounds to other numbers. In blocks of one size a row's
    numbers depend on the row alone, as measurements need. Everything else is the model's own.

    >>> from shiftless.backbones.registry import load
    >>> model = FixedBatch(load("twin:sd15"))
    >>> pixels = torch.rand(5, 3, 64, 64)
    >>> torch.equal(model.encode_image(pixels)[4:], model.encode_image(pixels[4:])), model.spec.name
    (True, 'twin:sd15')
    """

    def __init__(self, model: Backbone) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode_image(
        self, pixels: torch.Tensor, *, latent: str = "mean", noise: torch.Tensor | None = None, **options: Any
    ) -> torch.Tensor:
        """B 3 H W in [-1, 1] -> the clean latent; with `noise` of B times m, m posterior samples an image.

        Other options are the model's own.
        """
        cells = pixels[0, 0].numel() // self.model.spec.latent[1] ** 2
        if noise is None:
            return _each(
                lambda rows: self.model.encode_image(pixels[rows], latent=latent, **options), len(pixels), cells
            )
        times = len(noise) // len(pixels)
        one = pixels.repeat_interleave(times, 0)
        return _each(
            lambda rows: self.model.encode_image(one[rows], latent=latent, noise=noise[rows]), len(noise), cells
        )

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """B c h w clean latent -> pixels B 3 H W in [-1, 1]."""
        return _each(lambda rows: self.model.decode(latent[rows]), len(latent), latent[0, 0].numel())

    def denoise(
        self,
        latent: torch.Tensor,
        timestep: int,
        condition: Condition,
        taps: Sequence[Tap] = (),
        *,
        full: bool = False,
    ) -> Reading:
        """B c h w at `timestep` -> the taps' maps and the prediction, as the model's own `denoise` gives them."""
        read: list[Reading] = []
        for rows, kept in _blocks(len(latent), latent[0, 0].numel()):
            one = self.model.denoise(latent[rows], timestep, take(condition, rows), taps, full=full)
            prediction = None if one.prediction is None else one.prediction[:kept]
            read.append(Reading({name: value[:kept] for name, value in one.maps.items()}, prediction))
        maps = {name: torch.cat([one.maps[name] for one in read]) for name in read[0].maps}
        predictions = [one.prediction for one in read if one.prediction is not None]
        return Reading(maps, torch.cat(predictions) if predictions else None)


def _each(call: Callable[[list[int]], torch.Tensor], count: int, cells: int) -> torch.Tensor:
    return torch.cat([call(rows)[:kept] for rows, kept in _blocks(count, cells)])


def _blocks(count: int, cells: int) -> Iterator[tuple[list[int], int]]:
    """Yield (the rows of a block, how many of them are real, not padding)."""
    size = ROWS if cells <= CELLS else 1
    for first in range(0, count, size):
        kept = min(size, count - first)
        yield [first + min(i, kept - 1) for i in range(size)], kept
