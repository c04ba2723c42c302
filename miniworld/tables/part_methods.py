"""The rows of the tables of parts: which readings of which models each method takes."""

from __future__ import annotations

from dataclasses import dataclass

from shiftless.recipe import Recipe

TIMESTEP = 20
"""The best of 20 to 300 for both tables, by `bench mini-parts --choose` and `bench mini-rooms --choose`."""
TAPS = ("up0", "up1", "up2")
MAPS = ("up.cross.map.s16", "up.cross.map.s8")
SIMPLE = {"parts": "a photo", "rooms": "a photo"}
NAMES = {
    "parts": "a photo of a horse, ridden by a person",
    "rooms": "a photo of a bedroom with a bed, a lamp, a table, a chair, a curtain, a window, a door and a picture",
}
"""One prompt for all pictures of a set, as attention maps are compared token by token."""
LORA_SCALE = 0.6
WALK = {"start": TIMESTEP + 40, "steps": 2}
DIFT = "DIFT: mean of 8 noise draws"
BASELINE = "baseline"
DDPM, MAE = "DDPM", "MAE"
GATE, GATE_DDPM = "GATE", "GATE with the DDPM's features"


@dataclass(frozen=True)
class PartMethod:
    """A row: readings of the embedded model that are merged, those whose maps are joined, and other models beside them.

    readings  keys of `readings_of`
    joined    keys of `readings_of`, joined as they are
    models    "ddpm" and "mae": other models, by the keys of MODELS; or one of the keys of `gan_features.NEEDED`
    distilled whether one network learns from the ensemble's labels of generated pictures, and is scored in its place

    >>> METHODS[-1].name
    "GATE with the DDPM's features"
    """

    name: str
    readings: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    distilled: bool = False


_BUCKET = ("fine", "control", "lora-a", "lora-b")
METHODS = (
    PartMethod("ALAE", models=("alae",)),
    PartMethod("GAN inversion", models=("gan-inversion",)),
    PartMethod("GAN encoder", models=("gan-encoder",)),
    PartMethod("DatasetGAN", models=("gan-inversion",), distilled=True),
    PartMethod(MAE, models=("mae",)),
    PartMethod("DatasetDDPM", models=("ddpm",), distilled=True),
    PartMethod(DDPM, models=("ddpm",)),
    PartMethod(DIFT, ("dift",)),
    PartMethod(BASELINE, ("base0",)),
    PartMethod("+ fine prompts", ("fine",)),
    PartMethod("+ ControlNet", ("control",)),
    PartMethod("+ LoRA", ("lora-a",)),
    PartMethod("all techniques in one reading", ("all",)),
    PartMethod("baseline: 4 seeds", ("base0", "base1", "base2", "base3")),
    PartMethod(GATE, _BUCKET, ("maps",)),
    PartMethod(GATE_DDPM, _BUCKET, ("maps",), ("ddpm",)),
)
MODELS = {"ddpm": "mini-ddpm", "mae": "mini-mae"}
"""Other models that are read."""
OTHERS = {
    "ddpm": tuple(
        Recipe(timestep=t, taps=taps, label=f"t={t} {'+'.join(taps)}")
        for t in (20, 50, 100, 200)
        for taps in (("up0", "up1"), ("up0", "up1", "up2"))
    ),
    "mae": tuple(Recipe(taps=taps, label="+".join(taps)) for taps in (("block3",), ("block5",), ("block3", "block5"))),
}
"""The readings of other models that are tried."""
CHOSEN = {
    "parts": {"ddpm": OTHERS["ddpm"][5], "mae": OTHERS["mae"][2]},
    "rooms": {"ddpm": OTHERS["ddpm"][1], "mae": OTHERS["mae"][0]},
}
"""Those that each table takes: the best on pictures that no table scores (`bench mini-parts --choose`)."""


def readings_of(name: str, loras: tuple[str, str] = ("photo-a", "photo-b")) -> dict[str, Recipe]:
    """Return every reading that a table takes of the embedded model, by key.

    name   "parts" or "rooms"
    loras  two that were trained on pictures of the same look and kind, none of which is in the table

    >>> readings_of("parts")["control"].control
    ('canny',)
    """
    base = Recipe(timestep=TIMESTEP, taps=TAPS, prompt=SIMPLE[name])
    recipes = {f"base{i}": base.but(seed=i) for i in range(4)}
    recipes["dift"] = base.but(taps=("up1",), ensemble=8)
    recipes["fine"] = base.but(prompt="auto")
    recipes["control"] = base.but(control="canny", **WALK)
    recipes |= {f"lora-{k}": base.but(lora=lora, lora_scale=LORA_SCALE) for k, lora in zip("ab", loras)}
    every = {"lora": loras[0], "lora_scale": LORA_SCALE, "control": "canny", **WALK}
    recipes["all"] = base.but(prompt="auto", **every)
    recipes["maps"] = base.but(taps=MAPS, prompt=NAMES[name], joined=True, **every)
    return {key: recipe.but(label=key) for key, recipe in recipes.items()}
