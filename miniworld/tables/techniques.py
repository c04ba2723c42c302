"""The techniques of the attention bench, one recipe each, as far as they are available for a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from miniworld.tables.methods import LORA_SCALE
from shiftless.backbones.base import Backbone, steerable
from shiftless.conditions.caption import remembered
from shiftless.conditions.template import CAPTION, fields_of
from shiftless.errors import BadInput
from shiftless.image import Photo
from shiftless.recipe import Recipe

WORD, OTHER, SWAPPED = "horse", "cow", "swapped"
BASE = f"a photo of a {WORD}"
FINE = f"a photo of a {WORD}, {{{CAPTION}}}"
BASELINE, PROMPT, CONTROL, LORA, ALL = "baseline", "fine prompt", "ControlNet", "LoRA", "all combined"
_WALK = {"above": 40, "steps": 2}  # with a ControlNet, start at a higher timestep and denoise


def techniques(model: Backbone, recipe: Recipe, look: str = "photo") -> tuple[dict[str, Recipe], list[str]]:
    """Return name -> recipe for every technique at hand, the baseline first; and, for the others, why not.

    recipe  how all are read; the ControlNets, LoRAs, captioner, start and steps that it names are what the columns
            take, else the model's own: canny, and a LoRA of its folder whose name begins with the look, at the
            strength that the correspondence table takes

    Raises BadInput for what the recipe names and the model cannot take.

    >>> from shiftless.backbones.registry import load
    >>> found, absent = techniques(load("twin:sd15"), Recipe(taps=("up1",)))
    >>> list(found), len(absent)
    (['baseline', 'ControlNet'], 2)
    """
    walk = {"start": recipe.start, "steps": recipe.steps}
    if recipe.start is None:
        start = min(999, recipe.timestep + _WALK["above"])
        plain = recipe.scheduler == "plain" and start - recipe.timestep >= _WALK["steps"]
        walk = {"start": start, "steps": _WALK["steps"] if plain else None}
    base = recipe.but(prompt=BASE, captioner="", control=(), lora=(), control_scale=1.0, lora_scale=1.0, start=None,
                      steps=None, label="")  # fmt: skip
    ways: dict[str, dict[str, Any]] = {}
    absent: list[str] = []

    def offer(name: str, find: Callable[[], dict[str, Any]], requested: object) -> None:
        try:
            ways[name] = find()
        except BadInput as error:
            if requested:
                raise
            absent.append(f"without {name}: {error}")

    def prompt() -> dict[str, Any]:
        steerable(model, "prompt").captioner(recipe.captioner)
        return {"prompt": FINE, "captioner": recipe.captioner}

    def control() -> dict[str, Any]:
        names = recipe.control or ("canny",)
        for name in names:
            steerable(model, "control").control(name)
        return {"control": names, "control_scale": recipe.control_scale, **walk}

    def lora() -> dict[str, Any]:
        own = [name for name in getattr(model, "loras", list)() if name.startswith(look)]
        if not (recipe.lora or own):
            raise BadInput(f"{model.spec.name}: this model has no LoRA of the look {look!r}; give one with --lora FILE")
        names = recipe.lora or (own[0],)
        scale = recipe.lora_scale if recipe.lora or recipe.lora_scale != (1.0,) else LORA_SCALE
        with steerable(model, "lora").adapted([(name, 0.0) for name in names]):  # raises for one that does not fit
            return {"lora": names, "lora_scale": scale}

    offer(PROMPT, prompt, recipe.captioner)
    offer(CONTROL, control, recipe.control)
    offer(LORA, lora, recipe.lora)
    if len(ways) > 1:
        ways[ALL] = {key: value for way in list(ways.values()) for key, value in way.items()}
    return {BASELINE: base, **{name: base.but(**way) for name, way in ways.items()}}, absent


def say_each(model: Backbone, photos: Sequence[Photo], recipes: Iterable[Recipe]) -> Callable[[Photo], dict[str, str]]:
    """Return a function that fills prompts by photo: the captioner's caption, and the same with the other word."""
    caption_of: dict[str, str] = {}
    for captioner in {recipe.captioner for recipe in recipes if CAPTION in fields_of(recipe.prompt)}:
        captions = remembered(steerable(model, "prompt").captioner(captioner), photos)
        caption_of |= {photo.digest: text for photo, text in zip(photos, captions)}

    def fill(photo: Photo) -> dict[str, str]:
        text = caption_of.get(photo.digest)
        return {} if text is None else {CAPTION: text, SWAPPED: swap(text)}

    return fill


def swap(text: str) -> str:
    """Exchange the word for another of its kind, wherever it stands as a word.

    >>> swap("a photo of a horse, Horse-drawn by horses")
    'a photo of a cow, cow-drawn by horses'
    """
    return re.sub(rf"\b{WORD}\b", OTHER, text, flags=re.IGNORECASE)
