"""The rows of the tables of scenes: which readings of which model each method takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shiftless.recipe import Recipe
from shiftless.training.scenesettings import SceneSettings

TIMESTEP = 100
TAPS = ("up0", "up1", "up2")
LORA_SCALE = 0.6
WALK: dict[str, Any] = {"start": TIMESTEP + 40, "steps": 2}
MAE, BASELINE, GATE = "MAE", "baseline", "GATE"
MODELS = {"mae": "mini-mae"}
"""Other models that are read, by the keys of readings."""
MAE_RECIPE = Recipe(taps=("block3", "block5"), label="mae")
SETTINGS = SceneSettings(
    steps=800, batch=4, side=128, scales=(0.8, 1.6), colour=False, lr=2e-3, least_lr=2e-5, every=200
)
HEAD: dict[str, Any] = {"decoder": "fpn", "options": {"width": 64, "hidden": 32}}


@dataclass(frozen=True)
class SceneMethod:
    """A row: readings of the embedded model that a head merges, or one of another model.

    readings  keys of `readings_of`, or one of MODELS
    gated     whether the head weighs several readings, or averages them

    >>> METHODS[-1].name, METHODS[-1].readings
    ('GATE', ('base0', 'control-a', 'control-b'))
    """

    name: str
    readings: tuple[str, ...]
    gated: bool = True


METHODS = (
    SceneMethod(MAE, ("mae",)),
    SceneMethod(BASELINE, ("base0",)),
    SceneMethod("+ fine prompts", ("fine",)),
    SceneMethod("+ ControlNet", ("control",)),
    SceneMethod("+ LoRA", ("lora",)),
    SceneMethod("all techniques in one reading", ("all",)),
    SceneMethod("baseline: 3 noise draws", ("base0", "base1", "base2")),
    SceneMethod("GATE's readings averaged", ("base0", "control-a", "control-b"), gated=False),
    SceneMethod(GATE, ("base0", "control-a", "control-b")),
)
"""GATE's readings are those of ADE20K and Cityscapes: plain, and two LoRAs with a ControlNet of edges."""


def readings_of(timestep: int = TIMESTEP, taps: tuple[str, ...] = TAPS) -> dict[str, Recipe]:
    """Return every reading that the tables take, by key.

    >>> readings_of()["control-a"].lora, readings_of(50, ("up1",))["base0"].timestep
    (('photo-a',), 50)
    """
    base = Recipe(timestep=timestep, taps=taps, prompt="a photo")
    walk = {**WALK, "start": timestep + WALK["start"] - TIMESTEP}
    recipes = {f"base{i}": base.but(seed=i) for i in range(3)}
    recipes["fine"] = base.but(prompt="auto")
    recipes["control"] = base.but(control="canny", **walk)
    recipes["lora"] = base.but(lora="photo-a", lora_scale=LORA_SCALE)
    for one in "ab":
        recipes[f"control-{one}"] = base.but(control="canny", lora=f"photo-{one}", lora_scale=LORA_SCALE, **walk)
    recipes["all"] = recipes["control-a"].but(prompt="auto")
    return {key: recipe.but(label=key) for key, recipe in recipes.items()}
