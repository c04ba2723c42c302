"""Candidates: the readings worth auditing with a model, bare and steered by each technique that is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shiftless.auditing.compared import bare
from shiftless.backbones.base import Backbone, steerable
from shiftless.conditions.control_maps import kind_in
from shiftless.conditions.template import AUTO, CAPTION, fields_of
from shiftless.errors import BadInput
from shiftless.reading.available import available
from shiftless.recipe import Recipe
from shiftless.taps.names import select

_KINDS = ("prompt", "control", "image_prompt", "inpaint", "lora")
_LORA = 2 + _KINDS.index("lora")


def candidates(
    model: Backbone,
    recipe: Recipe,
    *,
    timesteps: Sequence[int] = (),
    prompts: Sequence[str] = (),
    controls: Sequence[str] = (),
    loras: Sequence[str] = (),
    image_prompts: Sequence[str] = (),
    inpaints: Sequence[str] = (),
) -> list[Recipe]:
    """Return at each timestep the bare reading, each technique alone, and all of them together.

    recipe     where and how to read: taps, seed, size; its timestep if no other is given. Its captioner, its scales
               (one for all, or one each), start and steps apply to the steered recipes, its learned words to the
               prompts that name them
    prompts, controls, loras, image_prompts, inpaints  what to try; if all are left out, what is available for the
               model: a captioner, ControlNets, LoRAs in its folder, IP-Adapters, a mask that keeps the photo. "All
               together" joins the first prompt, every ControlNet, the first image prompt, the first mask and the first
               LoRA. If none was named, it has one ControlNet or T2I-Adapter for each kind of map, and no LoRA if there
               are several, for their styles differ.

    Raises BadInput for a tap that the model does not have, and for a named technique that is not available.

    >>> from shiftless.backbones.registry import load
    >>> options = {"controls": ["canny"], "prompts": ["a red horse, running"]}
    >>> recipes = candidates(load("twin:sd15"), Recipe(timestep=300), **options)
    >>> len(recipes), recipes[-1].control, recipes[-1].prompt
    (4, ('canny',), 'a red horse, running')
    """
    select(recipe.taps, model.taps, model.spec.name)
    base = bare(recipe)
    by_name = bool(prompts or controls or loras or image_prompts or inpaints)
    if not by_name:
        known = "lora" in model.spec.techniques
        prompts = [AUTO] if "prompt" in model.spec.techniques else []
        controls = model.controls() if known else []  # type: ignore[attr-defined]  # a family that has them lists them
        loras = model.loras() if known else []  # type: ignore[attr-defined]  # a family that has them lists them
        images = "image_prompt" in model.spec.techniques
        image_prompts = model.image_prompts() if images else []  # type: ignore[attr-defined]
        inpaints = ["keep"] if "inpaint" in model.spec.techniques else []
    walk: dict[str, Any] = {} if recipe.start is None else {"start": recipe.start, "steps": recipe.steps}
    captioner = {prompt: recipe.captioner if CAPTION in fields_of(prompt) else "" for prompt in prompts}
    words = _words_of(model, recipe, prompts)
    singles = [
        base.but(prompt=prompt, captioner=captioner[prompt], textual_inversion=words[prompt], **walk)
        for prompt in prompts
    ]
    singles += [base.but(inpaint=mask, **walk) for mask in inpaints]
    for kind, names in (("control", controls), ("image_prompt", image_prompts), ("lora", loras)):
        scales = _one_each(kind, names, getattr(recipe, f"{kind}_scale"))
        singles += [base.but(**{kind: name, f"{kind}_scale": scale}, **walk) for name, scale in zip(names, scales)]
    if by_name:
        _check(model, singles)
    singles = list(available(model, {one: one for one in singles}))
    together = _together(base.but(**walk), singles, several=by_name)
    ways = [base, *singles, *([together] if len(singles) > 1 else [])]
    return list(dict.fromkeys(way.at(t) for t in timesteps or [recipe.timestep] for way in ways))


def fewer(recipes: Sequence[Recipe], most: int) -> list[Recipe]:
    """Return at most `most` of the recipes that `candidates` gives, the same ways of steering at every timestep.

    They are kept in this order: the bare reading, all techniques together, prompts, ControlNets, image prompts, masks,
    and LoRAs, which are taken evenly from their list. At least two are kept at each timestep, so that there is
    something to compare.

    >>> every = [Recipe(), *(Recipe(lora=name) for name in "abcd"), Recipe(prompt="auto")]
    >>> [one.lora or one.prompt for one in fewer(every, 4)]
    ['', ('a',), ('c',), 'auto']
    """
    timesteps = {recipe.timestep for recipe in recipes}
    room = max(2, most // max(1, len(timesteps)))
    kept: list[Recipe] = []
    for t in timesteps:
        here = [recipe for recipe in recipes if recipe.timestep == t]
        first = sorted((one for one in here if _order(one) < _LORA), key=_order)[:room]
        loras = [one for one in here if _order(one) == _LORA]
        left = min(room - len(first), len(loras))
        kept += [*first, *(loras[i * len(loras) // left] for i in range(left))]
    return [recipe for recipe in recipes if recipe in kept]


def _order(recipe: Recipe) -> int:
    """Which of a timestep's recipes are tried first."""
    kinds = [kind for kind in _KINDS if getattr(recipe, kind)]
    if len(kinds) > 1 or len(recipe.control) > 1:
        return 1
    return 2 + _KINDS.index(kinds[0]) if kinds else 0


def _together(start: Recipe, singles: Sequence[Recipe], several: bool) -> Recipe:
    """The first of each technique, and every ControlNet.

    several  whether several of a kind are meant; else one control for each kind of map, and no LoRA if there are more
    """
    prompted, controlled, shown, kept, lent = ([one for one in singles if getattr(one, kind)] for kind in _KINDS)
    changes: dict[str, Any] = {}
    if prompted:
        changes |= {name: getattr(prompted[0], name) for name in ("prompt", "captioner", "textual_inversion")}
    if not several:
        kinds = [kind_in(one.control[0]) for one in controlled]
        controlled = [one for i, one in enumerate(controlled) if kinds.index(kinds[i]) == i]
    if controlled:
        changes |= {name: tuple(getattr(one, name)[0] for one in controlled) for name in ("control", "control_scale")}
    if shown:
        changes |= {"image_prompt": shown[0].image_prompt, "image_prompt_scale": shown[0].image_prompt_scale}
    if kept:
        changes["inpaint"] = kept[0].inpaint
    if lent and (several or len(lent) == 1):
        changes |= {"lora": lent[0].lora, "lora_scale": lent[0].lora_scale}
    return start.but(**changes)


def _words_of(model: Backbone, recipe: Recipe, prompts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Which of a recipe's learned words each prompt names; raises BadInput for one that none does."""
    token: dict[str, str] = {}
    for name in recipe.textual_inversion:
        token[name] = steerable(model, "textual_inversion").textual_inversion(name).token
        if not any(_may_name(prompt, token[name]) for prompt in prompts):
            raise BadInput(
                f"textual_inversion {name!r}: no prompt names {token[name]}, its learned word; give one that "
                f"does, such as 'a photo of {token[name]}'"
            )
    return {prompt: tuple(name for name in token if _may_name(prompt, token[name])) for prompt in prompts}


def _may_name(prompt: str, token: str) -> bool:
    """Whether a prompt names a word, or has a field that the caller fills."""
    return token.lower() in prompt.lower() or bool({*fields_of(prompt)} - {CAPTION})


def _one_each(kind: str, names: Sequence[str], scales: tuple[float, ...]) -> tuple[float, ...]:
    """A scale for each name, from one for all or one each."""
    if len(scales) not in (1, len(names)):
        raise BadInput(f"{kind}_scale={scales!r}: give one number for all, or {len(names)}, one for each {kind}")
    return scales * len(names) if len(scales) == 1 else scales


def _check(model: Backbone, recipes: Sequence[Recipe]) -> None:
    """Raise BadInput, in the words of what is missing, for the first recipe that cannot be read."""
    for kind in _KINDS:
        if any(getattr(recipe, kind) for recipe in recipes):
            steerable(model, kind)
    missing = [recipe for recipe in recipes if not available(model, {recipe: recipe})]
    for recipe in missing:
        for name in recipe.control:
            model.control(name)  # type: ignore[attr-defined]  # says itself what is wrong
        for name in recipe.image_prompt:
            model.image_prompt(name)  # type: ignore[attr-defined]
        if recipe.prompt:
            model.captioner(recipe.captioner)  # type: ignore[attr-defined]
        raise BadInput(
            f"{', '.join(recipe.lora)}: no such LoRA file, nor one of {model.spec.name}'s own "
            f"({', '.join(getattr(model, 'loras', list)()) or 'it has none'}); give a .safetensors file"
        )
