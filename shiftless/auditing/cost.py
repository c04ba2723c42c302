"""What readings cost, in calls of the denoiser, so that recipes can be weighed before anything is run."""

from __future__ import annotations

from collections.abc import Iterable

from shiftless.recipe import Recipe

CONTROL = 0.5
"""What a ControlNet adds to a call: about the encoder's half of the denoiser that it is a copy of."""


def cost(recipes: Iterable[Recipe]) -> float:
    """Return what reading a photo by recipes costs, in plain calls of the denoiser.

    Readings that differ in their taps only are one. Captions and edge maps are not counted: they are made once.

    >>> cost([Recipe()]), cost([Recipe(), Recipe(taps=("up2",)), Recipe(control="canny", start=60, steps=2)])
    (1.0, 5.5)
    """
    passes = {recipe.but(taps=("all",), captioner="") for recipe in recipes}
    return float(sum(_calls(one) * (1 + CONTROL * len(one.control)) for one in passes))


def _calls(recipe: Recipe) -> int:
    if recipe.noise == "invert":
        return (recipe.steps or recipe.timestep) + 1
    walked = 0 if recipe.start is None else recipe.steps or recipe.start - recipe.timestep
    return (walked + 1) * recipe.ensemble
