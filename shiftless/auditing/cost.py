"""What readings cost, in calls of the denoiser, so that recipes can be weighed before anything is run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shiftless.backbones.walk import finish_calls
from shiftless.noise import reference_timestep
from shiftless.reading.counted import calls, pass_calls, written_passes
from shiftless.recipe import Recipe

CONTROL = 0.5
"""What a ControlNet adds to a call: about the encoder's half of the denoiser that it is a copy of."""
ADAPTER = 0.1
"""What a T2I-Adapter adds to a call: about the share of its parameters in the denoiser's, 77 M of 860 M."""


def cost(recipes: Iterable[Recipe]) -> float:
    """Return what reading a photo by recipes costs, in plain calls of the denoiser.

    It is the number of calls (`shiftless.reading.counted.calls`), each with half a call more for every ControlNet,
    and a tenth for every control with "t2i" in its name. Captions and edge maps are not counted: they are made once.

    >>> cost([Recipe()]), cost([Recipe(), Recipe(taps=("up2",)), Recipe(control="canny", start=60, steps=2)])
    (1.0, 5.5)
    """
    return float(sum(made * (1 + _steering(one.recipe)) for one, made in pass_calls(recipes).items()))


def _steering(recipe: Recipe) -> float:
    """What a recipe's controls add to each of its calls."""
    return sum(ADAPTER if "t2i" in name.lower() else CONTROL for name in recipe.control)


def audit_calls(plan: Sequence[Recipe], finished: Sequence[int]) -> int:
    """Return how many calls of the denoiser an audit makes for a photo.

    plan      every recipe that is read, with further noise draws and nearly clean readings
    finished  for each, in how many steps it is denoised to the end; 0 is not at all

    >>> audit_calls([Recipe(timestep=300), Recipe(timestep=300, seed=1)], [8, 0])
    10
    """
    ends = {
        (one, steps): finish_calls(_read_at(recipe), steps)
        for recipe, steps in zip(plan, finished, strict=True)
        for one in written_passes(recipe)
        if steps
    }
    return calls(plan) + sum(ends.values())


def _read_at(recipe: Recipe) -> int:
    """The timestep that the denoiser is called with where features are read."""
    stays = recipe.scheduler == "plain" or recipe.start is not None
    return recipe.timestep if stays else reference_timestep(recipe.timestep)
