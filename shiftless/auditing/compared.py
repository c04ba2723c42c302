"""What is compared with what: each recipe with the bare reading at its timestep, and how they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from shiftless.conditions.template import fields_of
from shiftless.reading.passes import controls_of, image_prompts_of, loras_of
from shiftless.recipe import Recipe

_STEERING = {
    "prompt": "", "captioner": "", "control": (), "control_scale": (1.0,), "lora": (), "lora_scale": (1.0,),
    "image_prompt": (), "image_prompt_scale": (1.0,), "textual_inversion": (), "inpaint": "",
    "start": None, "steps": None,
}  # fmt: skip
_SIMPLE = 3


def bare(recipe: Recipe) -> Recipe:
    """Return a recipe without anything that steers it: the same noise, read at the same places.

    >>> bare(Recipe(timestep=300, control="canny", start=340, steps=2)) == Recipe(timestep=300)
    True
    """
    steering: dict[str, Any] = dict(_STEERING)
    if recipe.noise == "invert":
        steering["steps"] = recipe.steps
    return recipe.but(label="", **steering)


def is_bare(recipe: Recipe) -> bool:
    """Whether nothing steers a recipe but, at most, a simple prompt of three words, as GATE's baseline has.

    >>> [is_bare(Recipe(prompt=prompt)) for prompt in ("a photo", "auto", "a horse, high quality")]
    [True, False, False]
    """
    simple = not fields_of(recipe.prompt) and len(recipe.prompt.split()) <= _SIMPLE
    steered = (
        recipe.control or recipe.lora or recipe.image_prompt or recipe.textual_inversion or recipe.inpaint == "keep"
    )
    return simple and not steered and recipe.start is None


def compared(recipes: Sequence[Recipe]) -> tuple[tuple[Recipe, ...], tuple[int, ...]]:
    """Return the recipes, named, after the bare recipes that were missing, and the index of each one's baseline.

    Recipes that differ only in seed and in what steers them share a baseline.

    >>> every, baselines = compared([Recipe(timestep=300, control="canny")])
    >>> [recipe.label for recipe in every], baselines
    (['t=300', 't=300 canny'], (0, 0))
    """
    kinds = [bare(recipe).but(seed=0, ensemble=1) for recipe in recipes]
    have = {kind for kind, recipe in zip(kinds, recipes) if is_bare(recipe)}
    added: dict[Recipe, Recipe] = {}
    for kind, recipe in zip(kinds, recipes):
        if kind not in have:
            added.setdefault(kind, bare(recipe))
    every, kinds = [*added.values(), *recipes], [*added, *kinds]
    first: dict[Recipe, int] = {}
    for k, kind in enumerate(kinds):
        if is_bare(every[k]):
            first.setdefault(kind, k)
    return named(every), tuple(first[kind] for kind in kinds)


def named(recipes: Sequence[Recipe]) -> tuple[Recipe, ...]:
    """Return recipes each with a label of its own: the one it has, or what it does.

    >>> some = [Recipe(label="a"), Recipe(label="a", seed=1), Recipe(lora="x/cat.safetensors")]
    >>> [recipe.label for recipe in named(some)]
    ['a', 'a seed 1', 't=50 LoRA cat']
    """
    labels = [recipe.label or describe(recipe) for recipe in recipes]
    for mark in (_seed, _taps, _key):
        often = Counter(labels)
        labels = [f"{label}{mark(r)}" if often[label] > 1 else label for label, r in zip(labels, recipes)]
    return tuple(replace(recipe, label=label) for recipe, label in zip(recipes, labels))


def describe(recipe: Recipe) -> str:
    """Say in a few words at what noise a recipe reads and what steers it.

    >>> describe(Recipe(timestep=300, prompt="auto", control="canny", control_scale=0.5, start=340, steps=2))
    't=300 from 340, captions, canny x0.5'
    """
    begin = f"t={recipe.timestep}" + (f" from {recipe.start}" if recipe.start is not None else "")
    if recipe.noise != "draw":
        begin += {"invert": " inverted", "none": " without noise"}[recipe.noise]
    parts = []
    if recipe.prompt:
        parts.append("captions" if recipe.prompt in ("auto", "{caption}") else f'"{recipe.prompt}"')
    techniques = [*controls_of(recipe), *((f"LoRA {_file(lora)}", scale) for lora, scale in loras_of(recipe))]
    techniques += [(f"image prompt {_file(name)}", scale) for name, scale in image_prompts_of(recipe)]
    techniques += [(f"word {_file(name)}", 1.0) for name in recipe.textual_inversion]
    techniques += [(f"inpaint {recipe.inpaint}", 1.0)] if recipe.inpaint else []
    parts += [name + (f" x{scale:g}" if scale != 1 else "") for name, scale in techniques]
    return " ".join([f"{begin}," if recipe.start is not None and parts else begin, ", ".join(parts)]).strip()


def _file(lora: str) -> str:
    return lora.rpartition("/")[2].removesuffix(".safetensors")


def _seed(recipe: Recipe) -> str:
    return f" seed {recipe.seed}" if recipe.seed else ""


def _taps(recipe: Recipe) -> str:
    after = [" modulated"] if recipe.modulate else []
    if recipe.discard:
        channels = recipe.discard if isinstance(recipe.discard, str) else "+".join(map(str, recipe.discard))
        after.append(f" without {channels}")
    return f" at {'+'.join(recipe.taps)}{''.join(after)}"


def _key(recipe: Recipe) -> str:
    return f" {recipe.key()[:6]}"
