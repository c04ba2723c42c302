"""Denoiser calls: how many recipes need, and a wrapper that reports each call of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from shiftless.backbones.base import Backbone, Reading, Spec
from shiftless.backbones.walk import continued, strides_left, walk_calls
from shiftless.conditions.condition import Condition
from shiftless.conditions.template import CAPTION, fields_of, template
from shiftless.reading.passes import Pass, effective, passes_of
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap


def calls(recipes: Iterable[Recipe], spec: Spec | None = None) -> int:
    """Return how many times the denoiser is called for a photo that is read by recipes, in rows of its batches.

    Passes that recipes share are made once, and so is the part that an inversion shares with one to a smaller
    timestep. Prompts are compared as they are written: templates that give a photo the same text make fewer calls.

    spec  of the model, if it is known: recipes may differ in what changes nothing for its family, as a seed does
          where no noise is added

    >>> calls([Recipe(), Recipe(taps=("up2",))]), calls([Recipe(start=60)]), calls([Recipe(ensemble=8)])
    (1, 11, 8)
    >>> calls([Recipe(), Recipe(mirror=True)])
    2
    >>> calls([Recipe(timestep=t, noise="invert", steps=t // 50) for t in (50, 100, 150)])
    6
    """
    known = recipes if spec is None else [effective(recipe, spec) for recipe in recipes]
    return sum(pass_calls(known).values())


def pass_calls(recipes: Iterable[Recipe]) -> dict[Pass, int]:
    """Return every pass of a photo that recipes need, in the order that they run in, with its calls.

    >>> list(pass_calls([Recipe(ensemble=2), Recipe(start=60, steps=2)]).values())
    [1, 1, 3]
    """
    passes = dict.fromkeys(one for recipe in recipes for one in written_passes(recipe))
    reached: dict[tuple[Pass, float], int] = {}  # (pass without its timestep, stride) -> timestep reached so far
    calls_of: dict[Pass, int] = {}
    for one in sorted(passes, key=lambda one: one.recipe.timestep):
        recipe = one.recipe
        if recipe.noise == "invert" and recipe.timestep:
            steps = recipe.steps or recipe.timestep
            way = replace(one, recipe=recipe.but(timestep=1, steps=None)), recipe.timestep / steps
            first = continued(recipe.timestep, steps, reached[way]) if way in reached else 0
            reached[way] = recipe.timestep
            calls_of[one] = strides_left(recipe.timestep, steps, first) + 1
        elif recipe.start is not None:
            reference = recipe.scheduler == "pndm-reference"
            calls_of[one] = walk_calls(recipe.start, recipe.timestep, recipe.steps, reference) + 1
        else:
            calls_of[one] = 1
    return calls_of


def written_passes(recipe: Recipe) -> list[Pass]:
    """Return a recipe's passes of any one photo, 0, and of its mirror image, 1, if it reads that too.

    Prompts captioned by different captioners are kept apart.
    """
    captioned = CAPTION in fields_of(recipe.prompt)
    prompt = template(recipe.prompt) + (f"\n{recipe.captioner}" if captioned else "")
    return [one for photo in range(1 + recipe.mirror) for one in passes_of(photo, recipe, prompt, (0, 0))]


class Counted:
    """A model that reports each denoiser call; everything else is the model's own.

    report  called with the number of rows of each batch after the denoiser has run it

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
