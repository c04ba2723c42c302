"""Candidates: the readings worth auditing with a model, bare and steered by each technique that is at hand."""

from __future__ import annotations

from collections.abc import Sequence

from shiftless.auditing.compared import bare
from shiftless.backbones.base import Backbone
from shiftless.conditions.template import AUTO
from shiftless.errors import BadInput
from shiftless.reading.available import present
from shiftless.recipe import Recipe
from shiftless.taps.names import select


def candidates(
    model: Backbone,
    recipe: Recipe,
    *,
    timesteps: Sequence[int] = (),
    prompts: Sequence[str] = (),
    controls: Sequence[str] = (),
    loras: Sequence[str] = (),
) -> list[Recipe]:
    """Return at each timestep the bare reading, each technique alone, and all of them together.

    recipe     where and how to read: taps, seed, size; its timestep if no other is given
    prompts, controls, loras  what to try; if all are left out, whatever the model has at hand: a captioner,
               ControlNets, LoRAs in its folder. Together go the first prompt, every ControlNet and the first LoRA;
               no LoRA where several were merely at hand, for they are of different looks.

    Raises BadInput for a tap that the model does not have, and for a technique asked for by name that is not at hand.

    >>> from shiftless.backbones.registry import load
    >>> tried = {"controls": ["canny"], "prompts": ["a red horse, running"]}
    >>> found = candidates(load("twin:sd15"), Recipe(timestep=300), **tried)
    >>> len(found), found[-1].control, found[-1].prompt
    (4, ('canny',), 'a red horse, running')
    """
    select(recipe.taps, model.taps, model.spec.name)
    base = bare(recipe)
    asked = bool(prompts or controls or loras)
    if not asked:
        known = "lora" in model.spec.techniques
        prompts = [AUTO] if "prompt" in model.spec.techniques else []
        controls = model.controls() if known else []  # type: ignore[attr-defined]  # a family that has them lists them
        loras = model.loras() if known else []  # type: ignore[attr-defined]
    singles = [base.but(prompt=prompt) for prompt in prompts]
    singles += [base.but(control=control) for control in controls]
    singles += [base.but(lora=lora) for lora in loras]
    if asked:
        _check(model, singles)
    singles = list(present(model, {one: one for one in singles}))
    together = base
    for name in ("prompt", "control", "lora"):
        of_kind = [getattr(one, name) for one in singles if getattr(one, name)]
        if of_kind and (asked or name != "lora" or len(of_kind) == 1):
            joined = tuple(value for one in of_kind for value in one) if name == "control" else of_kind[0]
            together = together.but(**{name: joined})
    ways = [base, *singles, *([together] if len(singles) > 1 else [])]
    return list(dict.fromkeys(way.at(t) for t in timesteps or [recipe.timestep] for way in ways))


def _check(model: Backbone, recipes: Sequence[Recipe]) -> None:
    """Raise BadInput, in the words of what is missing, for the first recipe that cannot be read."""
    missing = [recipe for recipe in recipes if not present(model, {recipe: recipe})]
    for recipe in missing:
        for name in recipe.control:
            model.control(name)  # type: ignore[attr-defined]  # says itself what is wrong
        if recipe.prompt:
            model.captioner(recipe.captioner)  # type: ignore[attr-defined]
        raise BadInput(
            f"{', '.join(recipe.lora)}: no such LoRA file, nor one of {model.spec.name}'s own "
            f"({', '.join(getattr(model, 'loras', list)()) or 'it has none'}); give a .safetensors file"
        )
