"""Readings that are available: those whose techniques, and what they name, the model has, and whose taps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TypeVar

from shiftless.backbones.base import Backbone, steerable
from shiftless.conditions.template import CAPTION, fields_of
from shiftless.errors import BadInput
from shiftless.reading.answer import taps_of
from shiftless.recipe import Recipe

Key = TypeVar("Key", bound=Hashable)


def available(model: Backbone, recipes: Mapping[Key, Recipe]) -> dict[Key, Recipe]:
    """Return the recipes whose ControlNets, LoRAs, IP-Adapters, learned words, mask, captioner and taps the model has.

    A LoRA is available if it is a file, or one of the model's own by name.

    >>> from shiftless.backbones.registry import load
    >>> requested = {"plain": Recipe(), "captions": Recipe(prompt="auto"), "edges": Recipe(control="canny")}
    >>> list(available(load("twin:sd15"), requested))
    ['plain', 'edges']
    """
    loras = set(getattr(model, "loras", list)())

    def there(recipe: Recipe) -> bool:
        try:
            for name in recipe.control:
                model.control(name)  # type: ignore[attr-defined]  # a family that has none is caught below
            for name in recipe.image_prompt:
                model.image_prompt(name)  # type: ignore[attr-defined]
            for name in recipe.textual_inversion:
                steerable(model, "textual_inversion").textual_inversion(name)
            if recipe.inpaint:
                steerable(model, "inpaint")
            if CAPTION in fields_of(recipe.prompt):
                model.captioner(recipe.captioner)  # type: ignore[attr-defined]
            taps_of(recipe, model.taps, model.spec.name)
        except (BadInput, AttributeError):
            return False
        return all(name in loras or Path(name).is_file() for name in recipe.lora)

    return {key: recipe for key, recipe in recipes.items() if there(recipe)}
