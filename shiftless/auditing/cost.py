"""What readings cost, in calls of the denoiser, so that recipes can be weighed before anything is run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from shiftless.backbones.walk import continued, finish_calls, strides_left, walk_calls
from shiftless.conditions.template import CAPTION, fields_of, template
from shiftless.noise import reference_timestep
from shiftless.reading.passes import Pass, passes_of
from shiftless.recipe import Recipe

CONTROL = 0.5
"""What a ControlNet adds to a call: about the encoder's half of the denoiser that it is a copy of."""


def cost(recipes: Iterable[Recipe]) -> float:
    """Return what reading a photo by recipes costs, in plain calls of the denoiser.

    It is `calls`, each with half a call more for every ControlNet. Captions and edge maps are not counted: they are
    made once.

    >>> cost([Recipe()]), cost([Recipe(), Recipe(taps=("up2",)), Recipe(control="canny", start=60, steps=2)])
    (1.0, 5.5)
    """
    return float(sum(count * _weight(one) for one, count in _counted(recipes).items()))


def calls(recipes: Iterable[Recipe]) -> int:
    """Return how many calls of the denoiser, of one noisy latent each, reading a photo by recipes makes.

    Readings that differ in their taps only are one, noise draws that ensembles share are made once, and an inversion
    goes on from where a less noisy one of the same stride arrived. Prompts are compared as they are written: two
    templates that give a photo the same text make fewer calls.

    >>> calls(Recipe(timestep=t, noise="invert", steps=t // 20) for t in (100, 200))
    12
    """
    return sum(_counted(recipes).values())


def audit_calls(plan: Sequence[Recipe], finished: Sequence[int]) -> int:
    """Return how many calls an audit makes for a photo.

    plan      every recipe that is read, with further noise draws and nearly clean readings
    finished  for each, in how many steps it is denoised to the end; 0 is not at all

    >>> audit_calls([Recipe(timestep=300), Recipe(timestep=300, seed=1)], [8, 0])
    10
    """
    ends = {
        (one, steps): finish_calls(_read_at(recipe), steps)
        for recipe, steps in zip(plan, finished, strict=True)
        for one in _passes(recipe)
        if steps
    }
    return calls(plan) + sum(ends.values())


def _counted(recipes: Iterable[Recipe]) -> dict[Pass, int]:
    """Every pass of a photo, in the order that they run in, with its calls."""
    passes = dict.fromkeys(one for recipe in recipes for one in _passes(recipe))
    reached: dict[tuple[Pass, float], int] = {}
    found: dict[Pass, int] = {}
    for one in sorted(passes, key=lambda one: one.recipe.timestep):
        recipe = one.recipe
        if recipe.noise == "invert" and recipe.timestep:
            steps = recipe.steps or recipe.timestep
            way = replace(one, recipe=recipe.but(timestep=1, steps=None)), recipe.timestep / steps
            first = continued(recipe.timestep, steps, reached[way]) if way in reached else 0
            reached[way] = recipe.timestep
            found[one] = strides_left(recipe.timestep, steps, first) + 1
        elif recipe.start is not None:
            reference = recipe.scheduler == "pndm-reference"
            found[one] = walk_calls(recipe.start, recipe.timestep, recipe.steps, reference) + 1
        else:
            found[one] = 1
    return found


def _passes(recipe: Recipe) -> list[Pass]:
    """A recipe's passes of any one photo; a prompt with a caption is told from the same one by another captioner."""
    captioned = CAPTION in fields_of(recipe.prompt)
    prompt = template(recipe.prompt) + (f"\n{recipe.captioner}" if captioned else "")
    return passes_of(0, recipe, prompt, (0, 0))


def _read_at(recipe: Recipe) -> int:
    """The timestep that the denoiser is read at."""
    stays = recipe.scheduler == "plain" or recipe.start is not None
    return recipe.timestep if stays else reference_timestep(recipe.timestep)


def _weight(one: Pass) -> float:
    return 1 + CONTROL * len(one.recipe.control)
