"""Denoiser calls: how many recipes need, and a model that counts those it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from shiftless.backbones.base import Backbone, Reading
from shiftless.conditions.condition import Condition
from shiftless.reading.passes import passes_of
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap


def calls(recipes: Iterable[Recipe]) -> int:
    """Return how many times the denoiser is called for a photo that is read by recipes, in rows of its batches.

    Passes that recipes share are made once, and so is the part that an inversion shares with one to a smaller
    timestep.

    >>> calls([Recipe(), Recipe(taps=("up2",))]), calls([Recipe(start=60)]), calls([Recipe(ensemble=8)])
    (1, 11, 8)
    >>> calls([Recipe(timestep=t, noise="invert", steps=t // 50) for t in (50, 100, 150)])
    6
    """
    passes = {one for recipe in recipes for one in passes_of(0, recipe, recipe.prompt, (0, 0))}
    inverted: dict[Any, int] = {}  # (pass but for its timestep, stride) -> timestep reached so far
    made = 0
    for one in sorted(passes, key=lambda one: one.recipe.timestep):
        r = one.recipe
        if r.noise == "invert" and r.timestep:
            steps = r.steps or r.timestep
            key = (one.member, one.prompt, r.but(timestep=1, steps=None), r.timestep / steps)
            first = inverted.get(key, 0)
            first = 0 if first % (r.timestep / steps) else first
            inverted[key] = r.timestep
            made += round((r.timestep - first) * steps / r.timestep)
        elif r.start is not None:
            made += r.start - r.timestep + 1 if r.scheduler == "pndm-reference" else r.steps or r.start - r.timestep
        made += 1
    return made


class Counted:
    """A model that reports each denoiser call; everything else is the model's own.

    report  called with the number of rows of each batch as soon as the denoiser is through with it

    >>> from shiftless.backbones.registry import load
    >>> from shiftless.reading import extract
    >>> rows = []
    >>> _ = extract(Counted(load("twin:sd15"), rows.append), torch.rand(3, 64, 64), Recipe(start=60, steps=2))
    >>> rows
    [1, 1, 1]
    """

    def __init__(self, model: Backbone, report: Callable[[int], object]) -> None:
        self.model, self.report = model, report

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def denoise(
        self,
        latent: torch.Tensor,
        timestep: int,
        condition: Condition,
        taps: Sequence[Tap] = (),
        *,
        full: bool = False,
    ) -> Reading:
        """B c h w at `timestep` -> what the model's own `denoise` gives, reported."""
        read = self.model.denoise(latent, timestep, condition, taps, full=full)
        self.report(len(latent))
        return read
