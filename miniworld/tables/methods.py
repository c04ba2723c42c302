"""The rows of the correspondence table: which readings each method takes, and what is trained on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shiftless.recipe import Recipe

TIMESTEP = 300
"""The timestep of every row but DIFT's and hyperfeatures'; the baseline scores alike from 100 to 400 (validation)."""
DIFT_TIMESTEPS = (50, 100, 200, 300, 400)
"""The timesteps that DIFT's row picks from, on validation pairs."""
HYPER_TIMESTEPS = (50, 150, 300)
WALK = {"start": TIMESTEP + 40, "steps": 2}
LORA_SCALE = 0.6
"""The strength of LoRAs; picked on validation pairs by `shiftless bench mini-lora-scale`."""
IMAGE_PROMPT = "ip-adapter-plus"
SIMPLE = "a photo"
NAMES = (
    "a photo of a horse, a cow, a dog, a cat, a sheep, an elephant, a giraffe, a pig, a camel, a zebra, "
    "a car, a bus, a truck, a bicycle, a boat"
)
MAPS = ("up.cross.map.s16", "up.cross.map.s8")
CONVOLUTIONAL = ("up0",)
SEEDS = 6


@dataclass(frozen=True)
class Method:
    """A row: named readings, merged; others whose attention maps are joined to them; and what is trained.

    readings   keys of `readings_of`, each read for its convolutional features ("key") or its maps ("key/maps")
    attention  keys of the readings whose maps are joined
    head       "" (nothing is trained), "gate" or "hyper"
    conv       with a trained output convolution
    against    the row it is compared with
    flip_of    the method whose features and heads it takes, to match the mirrored source where that fits better
    """

    name: str
    readings: tuple[str, ...]
    attention: tuple[str, ...] = ()
    head: str = ""
    conv: bool = False
    against: str = "baseline, convolutional"
    flip_of: str = ""

    @property
    def trained(self) -> bool:
        """Whether it matches by a trained head."""
        return bool(self.head) or self.conv

    @property
    def heads(self) -> str:
        """The name that its heads go by: its own, or that of the method it flips."""
        return self.flip_of or self.name

    def with_flip(self) -> Method:
        """The same method with flip, compared with the same baseline as it is."""
        return replace(self, name=f"{self.name}, with flip", flip_of=self.name)


_BASE = tuple(f"base{i}" for i in range(SEEDS))
_BUCKET = ("fine0", "fine1", "control0", "control1", "lora0", "lora1")
_CONV = "baseline + output convolution"
_METHODS = (
    Method("DIFT: mean of 8 noise draws at its best timestep", ("dift",)),
    Method("baseline, convolutional", ("base0",)),
    Method("baseline, convolutional, mirrored too", ("mirrored0",)),
    Method("baseline, attention", ("base0/maps",)),
    Method("+ fine prompts, convolutional", ("fine0",)),
    Method("+ fine prompts, attention", ("names/maps",)),
    Method("+ ControlNet, convolutional", ("control0",)),
    Method("+ ControlNet, attention", ("control0/maps",)),
    Method("+ LoRA, convolutional", ("lora0",)),
    Method("+ LoRA, attention", ("lora0/maps",)),
    Method("+ image prompt, convolutional", ("image0",)),
    Method("all techniques in one reading", ("all0",)),
    Method("all techniques in one reading, mirrored too", ("mirrored1",)),
    Method("baseline: 6 seeds, plain mean", _BASE),
    Method("plain mean of GATE's readings", _BUCKET),
    Method("baseline: 6 seeds, trained weights", _BASE, head="gate"),
    Method("GATE without output convolution", _BUCKET, ("all/maps",), head="gate"),
    Method("hyperfeatures: one step at 3 timesteps", ("hyper0", "hyper1", "hyper2"), head="hyper", against=_CONV),
    Method(_CONV, ("base0",), conv=True, against=_CONV),
    Method("+ fine prompts + output convolution", ("fine0",), conv=True, against=_CONV),
    Method("+ ControlNet + output convolution", ("control0",), conv=True, against=_CONV),
    Method("+ LoRA + output convolution", ("lora0",), conv=True, against=_CONV),
    Method("baseline: 6 seeds + output convolution", _BASE, head="gate", conv=True, against=_CONV),
    Method("GATE with output convolution", _BUCKET, ("all/maps",), head="gate", conv=True, against=_CONV),
)  # fmt: skip
FLIPPED = ("baseline, convolutional", "GATE without output convolution", _CONV, "GATE with output convolution")
"""The methods that have a second row, with flip."""
METHODS = tuple(one for m in _METHODS for one in ((m, m.with_flip()) if m.name in FLIPPED else (m,)))


def readings_of(look: str, dift_timestep: int = 100) -> dict[str, Recipe]:
    """Return every reading that the table takes of pictures of a look, by key.

    The captions of "fine" come from the captioner; "names" is one prompt for all pictures, as attention maps are
    compared token by token. LoRAs were trained on pictures of the same look that are in no pair.

    >>> readings_of("photo")["control0"].control
    ('canny',)
    """
    base = Recipe(timestep=TIMESTEP, taps=CONVOLUTIONAL, prompt=SIMPLE)
    both = base.but(taps=(*CONVOLUTIONAL, *MAPS))
    steered = {"control": "canny", **WALK}
    loras = (f"{look}-a", f"{look}-b")
    recipes = {"dift": base.but(timestep=dift_timestep, ensemble=8)}
    recipes |= {f"base{i}": (base if i else both).but(seed=i) for i in range(SEEDS)}
    recipes |= {f"fine{i}": base.but(prompt="auto", seed=i) for i in range(2)}
    recipes |= {f"control{i}": (base if i else both).but(seed=i, **steered) for i in range(2)}
    styled = {"lora_scale": LORA_SCALE}
    recipes |= {f"lora{i}": (base if i else both).but(lora=lora, seed=i, **styled) for i, lora in enumerate(loras)}
    recipes["image0"] = base.but(image_prompt=IMAGE_PROMPT)
    recipes["names"] = base.but(taps=MAPS, prompt=NAMES)
    recipes["all"] = base.but(taps=MAPS, prompt=NAMES, lora=loras[0], **styled, **steered)
    recipes["all0"] = base.but(prompt="auto", lora=loras[0], **styled, **steered)
    recipes["mirrored0"] = base.but(mirror=True)
    recipes["mirrored1"] = recipes["all0"].but(mirror=True)
    recipes |= {f"hyper{i}": base.but(timestep=t, taps=("mid", "up0", "up1")) for i, t in enumerate(HYPER_TIMESTEPS)}
    return {key: recipe.but(label=key) for key, recipe in recipes.items()}


def recipes_of(method: Method, look: str) -> list[Recipe]:
    """Return the recipes of a method's bucket, in its order, each with the taps that the method takes.

    >>> gate = next(m for m in METHODS if m.name == "GATE with output convolution")
    >>> [recipe.taps for recipe in recipes_of(gate, "photo")][-2:]
    [('up0',), ('up.cross.map.s16', 'up.cross.map.s8')]
    """
    readings = readings_of(look)
    recipes = []
    for name in (*method.readings, *method.attention):
        key, _, part = name.partition("/")
        taps = tuple(tap for tap in readings[key].taps if (".map." in tap) == (part == "maps"))
        recipes.append(readings[key].but(taps=taps))
    return recipes
