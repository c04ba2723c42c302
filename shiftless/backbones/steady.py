"""Steady: a model that gives a row the same numbers, to the bit, whatever else is in its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from shiftless.backbones.base import Backbone, Reading
from shiftless.conditions.condition import Condition, take
from shiftless.taps.names import Tap

ROWS = 4
"""Rows of a block: fewer waste less on a single photo, more are faster on many."""


class Steady:
    """A backbone whose every call is made in blocks of as many rows, the last filled up with copies.

    Half precision sums in another order for another batch, and rounds to other numbers. In blocks of one size a row's
    numbers depend on the row alone, which is what a measurement must promise. Everything else is the model's own.

    >>> from shiftless.backbones.registry import load
    >>> model = Steady(load("twin:sd15"))
    >>> pixels = torch.rand(5, 3, 64, 64)
    >>> torch.equal(model.encode_image(pixels)[4:], model.encode_image(pixels[4:])), model.spec.name
    (True, 'twin:sd15')
    """

    def __init__(self, model: Backbone, rows: int = ROWS) -> None:
        self.model, self.rows = model, rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode_image(
        self, pixels: torch.Tensor, *, latent: str = "mean", noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """B 3 H W in [-1, 1] -> the clean latent; with `noise` of B times m, m posterior samples an image."""
        if noise is None:
            return self._each(lambda rows: self.model.encode_image(pixels[rows], latent=latent), len(pixels))
        times = len(noise) // len(pixels)
        one = pixels.repeat_interleave(times, 0)
        return self._each(lambda rows: self.model.encode_image(one[rows], latent=latent, noise=noise[rows]), len(noise))

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """B c h w clean latent -> pixels B 3 H W in [-1, 1]."""
        return self._each(lambda rows: self.model.decode(latent[rows]), len(latent))

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
        for rows, kept in self._blocks(len(latent)):
            one = self.model.denoise(latent[rows], timestep, take(condition, rows), taps, full=full)
            prediction = None if one.prediction is None else one.prediction[:kept]
            read.append(Reading({name: value[:kept] for name, value in one.maps.items()}, prediction))
        maps = {name: torch.cat([one.maps[name] for one in read]) for name in read[0].maps}
        predictions = [one.prediction for one in read if one.prediction is not None]
        return Reading(maps, torch.cat(predictions) if predictions else None)

    def _each(self, call: Callable[[list[int]], torch.Tensor], count: int) -> torch.Tensor:
        return torch.cat([call(rows)[:kept] for rows, kept in self._blocks(count)])

    def _blocks(self, count: int) -> Iterator[tuple[list[int], int]]:
        """Yield (the rows of a block, how many of them are wanted)."""
        for first in range(0, count, self.rows):
            kept = min(self.rows, count - first)
            yield [first + min(i, kept - 1) for i in range(self.rows)], kept
