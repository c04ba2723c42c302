"""The answer of one reading: from the mean over its noise draws to the maps that are given out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from shiftless.errors import BadInput
from shiftless.progress import detail
from shiftless.recipe import AUTO, Recipe
from shiftless.taps.massive import massive_channels, without_channels
from shiftless.taps.modulation import modulated, modulation_of
from shiftless.taps.names import Tap, select


def taps_of(recipe: Recipe, known: Sequence[Tap], model: str) -> tuple[Tap, ...]:
    """Return the taps that a recipe answers with; raises BadInput for those that it cannot modulate or discard from.

    known  every tap of the model      model  its name, for messages

    >>> taps_of(Recipe(taps="up1", discard=8), [Tap("up1", 8, 16, "a")], "toy")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: toy: discard=8: tap up1 has 8 channels, 0 to 7
    """
    taps = select(recipe.taps, known, model)
    for tap in taps:
        if recipe.modulate and not tap.modulation:
            inputs = [one.name for one in known if one.modulation]
            remedy = f"read one, such as {inputs[len(inputs) // 2]}" if inputs else "this model has none, leave it out"
            raise BadInput(
                f"{model}: modulate: tap {tap.name} is not the input of a block with AdaLN (a layer norm, then a scale "
                f"and a shift); {remedy}"
            )
        if recipe.discard and (tap.kind != "out" or not tap.channels):
            raise BadInput(f"{model}: discard: tap {tap.name} is a map of attention, which has no channels to discard")
        if recipe.mirror and not (tap.channels or tap.over_words):
            raise BadInput(
                f"{model}: mirror: tap {tap.name} is attention over cells, whose channels are places and cannot "
                "be added to those of the mirror image; leave it or mirror out"
            )
        if recipe.discard != AUTO and (beyond := [one for one in recipe.discard if int(one) >= tap.channels]):
            raise BadInput(
                f"{model}: discard={beyond[0]}: tap {tap.name} has {tap.channels} channels, 0 to {tap.channels - 1}"
            )
    return taps


def taps_read(recipe: Recipe, taps: Sequence[Tap]) -> tuple[Tap, ...]:
    """Return what the denoiser is read at for a recipe's taps: these, and what modulates them.

    >>> block = Tap("block3.in", 48, 16, "blocks.3", side="in", modulation=("blocks.3.norm1.linear",))
    >>> [tap.name for tap in taps_read(Recipe(taps="block3.in", modulate=True), [block])]
    ['block3.in', 'block3.in (modulation)']
    """
    return (*taps, *(modulation_of(tap) for tap in taps if recipe.modulate))


def answered(
    recipe: Recipe, taps: Sequence[Tap], means: Mapping[str, torch.Tensor], photo: str
) -> dict[str, torch.Tensor]:
    """Return the maps 1 C H W of a recipe's taps, in their order and each in the dtype of its mean.

    means  name of a tap of `taps_read` -> its mean over the noise draws, 1 C H W
    photo  the image's name, for what is said of the channels that discard="auto" finds

    The order is DiTF's (Gan et al. 2025): channels are discarded, then what is left is normed and modulated.

    >>> means = {"up1": torch.ones(1, 2, 1, 1)}
    >>> answered(Recipe(taps="up1", discard=0), [Tap("up1", 2, 16, "a")], means, "a.jpg")["up1"].flatten()
    tensor([0., 1.])
    """
    maps = {}
    for tap in taps:
        value = means[tap.name]
        if recipe.discard:
            value = without_channels(value, _discarded(recipe, tap, value, photo))
        if recipe.modulate:
            value = modulated(value, means[modulation_of(tap).name]).to(value.dtype)
        maps[tap.name] = value
    return maps


def _discarded(recipe: Recipe, tap: Tap, value: torch.Tensor, photo: str) -> tuple[int, ...]:
    if recipe.discard != AUTO:
        return tuple(int(one) for one in recipe.discard)
    found = massive_channels(value)
    detail(f"{photo}: {tap.name}: massive channels {', '.join(map(str, found)) or 'none'}, of {value.shape[1]}")
    return found
