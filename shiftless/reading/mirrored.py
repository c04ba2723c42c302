"""Mirrored readings: a photo and its mirror image, added up, so that no feature depends on which way a thing faces."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from shiftless.reading.inputs import Inputs
from shiftless.recipe import Recipe

_SIDES = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}


def mirror_sum(value: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
    """Add the unit features 1 C H W of a photo and those of its mirror image, turned back, in `value`'s dtype.

    Each cell gets the sum of the feature at its place and of the one at the same place of the mirrored thing. What is
    read of the mirror image in this way is the mirror image of what is read of the photo.

    >>> a, b = torch.rand(1, 2, 1, 2), torch.rand(1, 2, 1, 2)
    >>> torch.equal(mirror_sum(a, b), mirror_sum(b, a).flip(3))
    True
    """
    turned = F.normalize(mirrored.float(), dim=1).flip(3)
    return (F.normalize(value.float(), dim=1) + turned).to(value.dtype)


def mirrored_prompt(prompt: str) -> str:
    """Let the words left and right change places, as what they name does in the mirror image.

    >>> mirrored_prompt("a cow facing left, to the right of a car")
    'a cow facing right, to the left of a car'
    """
    return re.sub(rf"\b({'|'.join(_SIDES)})\b", lambda found: _SIDES[found[0]], prompt)


def with_mirrored(
    inputs: Sequence[Inputs], prompts: Sequence[Sequence[str]], recipes: Sequence[Recipe]
) -> tuple[list[Inputs], list[list[str]], list[list[int]]]:
    """Put the mirror images of photos behind them, if a recipe reads both.

    prompts  for each recipe a list with one for each photo

    Returns the inputs, prompts for them in the same order as before, and for each of the inputs the numbers of the
    recipes that read it.

    >>> from shiftless.image import open_photo
    >>> one = Inputs(open_photo(torch.zeros(3, 8, 8), name="a"))
    >>> given, prompts, readers = with_mirrored([one], [["left"], ["left"]], [Recipe(), Recipe(mirror=True)])
    >>> [each.photo.name for each in given], prompts, readers
    (['a', 'a'], [['left', 'right'], ['left', 'right']], [[0, 1], [1]])
    """
    everyone, both = list(range(len(recipes))), [k for k, recipe in enumerate(recipes) if recipe.mirror]
    if not both:
        return list(inputs), [list(column) for column in prompts], [everyone] * len(inputs)
    doubled = [[*column, *(mirrored_prompt(one) for one in column)] for column in prompts]
    readers = [everyone] * len(inputs) + [both] * len(inputs)
    return [*inputs, *(one.mirrored for one in inputs)], doubled, readers
