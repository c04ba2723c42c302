"""Passes: which denoiser calls K recipes need, none of them twice, and which can share a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shiftless.backbones.base import Spec
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap

Loras = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Pass:
    """One call of the denoiser for one noisy latent; which taps are read from it is not part of it.

    photo   which of the window's photos
    member  which draw of the ensemble
    fed     (h, w) in pixels as the model sees it
    prompt  the text, fields filled in
    recipe  how it is steered; taps, ensemble, prompt, label and what becomes of the mean take no part
    """

    photo: int
    member: int
    fed: tuple[int, int]
    prompt: str
    recipe: Recipe


def loras_of(recipe: Recipe) -> Loras:
    """Pair a recipe's LoRAs with their scales.

    >>> loras_of(Recipe(lora=("a", "b"), lora_scale=0.5))
    (('a', 0.5), ('b', 0.5))
    """
    return tuple(zip(recipe.lora, _each(recipe.lora_scale, len(recipe.lora))))


def controls_of(recipe: Recipe) -> tuple[tuple[str, float], ...]:
    """Pair a recipe's ControlNets with their scales.

    >>> controls_of(Recipe(control=("canny", "depth"), control_scale=(1, 0.5)))
    (('canny', 1.0), ('depth', 0.5))
    """
    return tuple(zip(recipe.control, _each(recipe.control_scale, len(recipe.control))))


def effective(recipe: Recipe, spec: Spec) -> Recipe:
    """Return a recipe without what changes nothing for a model: recipes that read the same become equal.

    Where the picture is its own latent, there is no posterior to sample. Where no noise is added, timestep, scheduler,
    seed and ensemble are without effect, but for seed and ensemble of a posterior's samples; so is the seed of a recipe
    without noise. Repainting all is how a model for inpainting is read anyway.

    >>> spec = Spec("dino", "vit", 224, 16, (3, 1), takes_text=False, takes_noise=False)
    >>> effective(Recipe(timestep=261, seed=3, ensemble=8, latent="sample"), spec) == Recipe(timestep=0)
    True
    """
    if spec.latent[1] == 1:
        recipe = recipe.but(latent="mean")
    if recipe.inpaint == "all":
        recipe = recipe.but(inpaint="")
    if recipe.noise == "none" and recipe.latent != "sample":
        recipe = recipe.but(seed=0)
    if spec.takes_noise or recipe.start is not None or recipe.noise == "invert":  # these are refused without noise
        return recipe
    recipe = recipe.but(timestep=0, scheduler="plain")
    return recipe if recipe.latent == "sample" else recipe.but(seed=0, ensemble=1)


def image_prompts_of(recipe: Recipe) -> tuple[tuple[str, float], ...]:
    """Pair a recipe's image prompts with their scales.

    >>> image_prompts_of(Recipe(image_prompt="ip-adapter", image_prompt_scale=0.6))
    (('ip-adapter', 0.6),)
    """
    return tuple(zip(recipe.image_prompt, _each(recipe.image_prompt_scale, len(recipe.image_prompt))))


def passes_of(i: int, recipe: Recipe, prompt: str, fed: tuple[int, int]) -> list[Pass]:
    """List the passes that a recipe needs of photo i, one an ensemble member; equal ones are equal.

    >>> a, b = Recipe(taps=("up0",), label="a"), Recipe(taps=("up1",), ensemble=2)
    >>> passes_of(0, a, "", (64, 64))[0] in passes_of(0, b, "", (64, 64))
    True
    """
    bare = recipe.but(
        taps=("all",), prompt="", captioner="", ensemble=1, modulate=False, discard=(), mirror=False, label=""
    )
    return [Pass(i, member, fed, prompt, bare) for member in range(recipe.ensemble)]


def union(tap_lists: Iterable[Sequence[Tap]]) -> tuple[Tap, ...]:
    """Join lists of taps, each tap once, in the order of first mention."""
    return tuple(dict.fromkeys(tap for taps in tap_lists for tap in taps))


def _each(scale: tuple[float, ...], n: int) -> tuple[float, ...]:
    return scale * n if len(scale) == 1 else scale
