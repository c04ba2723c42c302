"""Words: the prompt of each photo, its fields filled in by the caller or by a captioner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from shiftless.backbones.base import Backbone, steerable
from shiftless.conditions.template import CAPTION, fields_of, fill
from shiftless.errors import BadInput
from shiftless.image import Photo
from shiftless.recipe import STEERERS, Recipe

Fill = Mapping[str, str] | Callable[[Photo], Mapping[str, str]]


def values_of(photo: Photo, given: Fill | None) -> dict[str, str]:
    """Return the values that the caller gives a photo's fields."""
    return dict(given(photo) if callable(given) else given or {})


def prompts_of(model: Backbone, photos: Sequence[Photo], recipe: Recipe, given: Fill | None) -> list[str]:
    """Return a recipe's prompt for each photo.

    given  values for all photos ({"category": "horse"}), or a function that gives a photo's own

    A {caption} that the caller does not give is written by the recipe's captioner, from the photo alone.
    Raises BadInput for a field without a value, and for a captioner that is missing or finds no words.

    >>> from shiftless.backbones.registry import load
    >>> from shiftless.image import open_photo
    >>> import numpy as np
    >>> photo = open_photo(np.zeros((64, 64, 3), np.uint8))
    >>> prompts_of(load("twin:sd15"), [photo], Recipe(prompt="a {category}"), {"category": "cow"})
    ['a cow']
    """
    requested = fields_of(recipe.prompt)
    if not requested:
        check_named(model, recipe, recipe.prompt)
        return [recipe.prompt] * len(photos)
    values = [values_of(photo, given) for photo in photos]
    waiting = [i for i, one in enumerate(values) if CAPTION in requested and CAPTION not in one]
    if waiting:
        from shiftless.conditions.caption import remembered

        captions = remembered(steerable(model, "prompt").captioner(recipe.captioner), [photos[i] for i in waiting])
        for i, caption in zip(waiting, captions, strict=True):
            values[i][CAPTION] = caption
    filled = [fill(recipe.prompt, one, photo.name) for photo, one in zip(photos, values)]
    for photo, prompt in zip(photos, filled):
        check_named(model, recipe, prompt, photo.name)
    return filled


def check_named(model: Backbone, recipe: Recipe, prompt: str, photo: str = "") -> None:
    """Raise BadInput if a prompt does not name a learned word of the recipe, which would then do nothing."""
    for name in recipe.textual_inversion:
        word = steerable(model, "textual_inversion").textual_inversion(name).token
        if word.lower() not in prompt.lower():
            whose = f"{photo}: " if photo else ""
            raise BadInput(
                f"{whose}the prompt {prompt!r} does not name {word}, the learned word of {name}; write {word} into the "
                "prompt, or leave textual_inversion out"
            )


def check_techniques(model: Backbone, recipes: Sequence[Recipe]) -> None:
    """Raise BadInput if a recipe asks for what the model's family does not take."""
    for recipe in recipes:
        if recipe.prompt and not model.spec.takes_text:
            raise BadInput(
                f"{model.spec.name}: a model of the {model.spec.family} family takes no text, and the recipe's prompt "
                f"is {recipe.prompt!r}; leave the prompt out"
            )
        for name in (*STEERERS, "textual_inversion", "inpaint", "start"):
            if getattr(recipe, name) not in ((), "", None):
                steerable(model, name)
        if recipe.noise == "invert" and not model.spec.takes_noise:
            raise BadInput(
                f"{model.spec.name}: a model of the {model.spec.family} family takes no noise, and noise='invert' asks "
                "for some; leave noise out"
            )
        if recipe.latent == "unscaled" and not getattr(model, "UNSCALED", False):
            raise BadInput(
                f"{model.spec.name}: latent='unscaled' is for Stable Diffusion 1, 2 and XL, whose latents have one "
                "factor; take mean or sample"
            )


def check_predicts(model: Backbone, recipes: Sequence[Recipe] = ()) -> None:
    """Raise BadInput if the model predicts no picture, which content shift is measured by, or a recipe lets it not."""
    if not model.spec.takes_noise:
        raise BadInput(f"{model.spec.name}: this model takes no noise, so that nothing shifts; audit a diffusion model")
    for recipe in recipes:
        if recipe.mirror:
            raise BadInput(
                f"{recipe.label or 'a recipe'}: mirror: what is predicted of a photo and of its mirror image are two "
                "pictures; leave mirror out here"
            )
        if recipe.noise == "none" or recipe.latent == "unscaled":
            raise BadInput(
                f"{recipe.label or 'a recipe'}: noise={recipe.noise!r}, latent={recipe.latent!r}: without noise, or "
                "with a latent that the model was not trained on, nothing is predicted; leave both out here"
            )
