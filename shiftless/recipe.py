"""Recipe: one way to read an image."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from shiftless.errors import BadInput

STEERERS = ("control", "lora", "image_prompt")  # fields of names, each with a field of scales
TUPLES = ("taps", "textual_inversion", *STEERERS, *(f"{name}_scale" for name in STEERERS))
_LARGEST_SCALE = 1e6  # of a LoRA, a ControlNet or an image prompt; their published range is about -2 to 2
_EXAMPLE = {"control": "canny", "lora": "horses.safetensors", "image_prompt": "ip-adapter",
            "textual_inversion": "cat-toy.safetensors"}  # fmt: skip
_TEXTS = {"prompt": "a text, or '' for none", "captioner": "a name, or '' for the model's own",
          "encoder": "a name or a folder, or '' for the model's autoencoder"}  # fmt: skip
AUTO = "auto"
"""Of `discard`: the channels that hold massive activations, found in each image."""
_LARGEST_CHANNEL = 2**20
LATENTS = ("mean", "sample", "unscaled")
FITS = ("aspect", "squash")
NOISES = ("draw", "invert", "none")
INPAINTS = ("keep", "all")
SCHEDULERS = ("plain", "pndm-reference")
HELP = {  # one line a field: what the command line says of its flag
    "timestep": "How much noise is added before reading, 0 to 999; larger is noisier.",
    "taps": "Where to read: names or globs, comma-separated; `shiftless taps MODEL` lists them.",
    "prompt": "The text that conditions the model; {category} and the like are filled in, 'auto' captions each image.",
    "captioner": "What writes captions for 'auto' and {caption}: an alias, hub id or folder; else the model's own.",
    "control": "ControlNets and T2I-Adapters: canny, depth, tile, t2i-canny, or KIND=FOLDER; comma-separated.",
    "control_scale": "How strongly ControlNets steer: one number for all, or one each, comma-separated.",
    "lora": "LoRA files, comma-separated; the model is as before afterwards.",
    "lora_scale": "How strongly LoRAs act: one number for all, or one each, comma-separated.",
    "image_prompt": "IP-Adapters, which give the photo itself as a prompt: ip-adapter, or a file; comma-separated.",
    "image_prompt_scale": "How strongly image prompts act: one number for all, or one each, comma-separated.",
    "textual_inversion": "Files of learned words, which the prompt names, as <cat-toy>; or WORD=FILE; comma-separated.",
    "inpaint": "Of a model for inpainting: keep (it is shown the photo, nothing to repaint), else all is to repaint.",
    "start": "Add the noise of this larger timestep, and denoise from there down to the timestep that is read.",
    "steps": "In how many steps to denoise from start, or to invert; by default one a timestep.",
    "noise": "How noise is added: draw, invert (DDIM inversion: what the model itself says was there), or none.",
    "seed": "Seed of the noise.",
    "ensemble": "How many noise draws are averaged; the image is encoded once.",
    "modulate": "Of a transformer's block input: normed, scaled and shifted as the block does it, after the averaging.",
    "discard": "Channels set to zero after the averaging: numbers, comma-separated, or auto (massive activations).",
    "mirror": "Read the mirrored photo too and add both up, for things that face opposite ways; costs as much again.",
    "size": "Longer side in pixels that the model sees; by default the model's own.",
    "fit": f"How an image is fitted: {' or '.join(FITS)} (squash makes it square, as the papers do).",
    "latent": "Which latent of the image: its posterior's mean, a sample of it, or the mean unscaled, as VPD takes it.",
    "encoder": "What encodes photos: by default the autoencoder; taesd (the model's tiny encoder), or a folder of one.",
    "scheduler": f"{' or '.join(SCHEDULERS)} (t runs at t + 1, as the GDF and GATE codes do).",
    "joined": "In a bucket: joined to the merged map as it is, as attention maps are, instead of being merged.",
    "label": "A name for tables.",
}
READ_THE_SAME = ("joined", "label")  # fields that do not change what is read


@dataclass(frozen=True)
class Recipe:
    """One way to read an image: where to read, at what noise, steered by what.

    timestep  how much noise is added before reading, in steps of 1000; larger is noisier
    taps      names or globs of the places to read (``shiftless taps MODEL`` lists them)
    prompt    the text that conditions the model; any length. {category} and other fields are filled in by the
              caller, {caption} by a captioner, for each image; "auto" is "{caption}"
    captioner what writes the captions: an alias, a hub id or a folder; "" is the model's own
    control   ControlNets and T2I-Adapters that steer: "canny", "t2i-canny" ..., a folder, a hub id, or KIND=FOLDER
    lora      LoRA files, in diffusers' or kohya's format; in place only while this recipe is read
    image_prompt  IP-Adapters, which give the denoiser the photo itself as a prompt: a name, or a file
    control_scale, lora_scale, image_prompt_scale  their strengths: one for all, or one each
    textual_inversion  files of learned words, which the prompt names; WORD=FILE names one otherwise
    inpaint   what a model for inpainting is shown: "keep" the clean photo, nothing to repaint; "all", or "", nothing
    start     None, or a larger timestep: its noise is added, and steered denoising leads down to `timestep`
    steps     in how many steps, from start - timestep down to 1; None is one a timestep, as published
    noise     "draw" it from the seed, or "invert": walk up from the clean latent by the model's own predictions; with
              "none" the clean latent is read, and the network is told `timestep` all the same
    seed      of the noise; the noise of an image depends on (seed, image content, ensemble index) only
    ensemble  how many noise draws are averaged; the image is encoded once
    modulate  of taps that are the input of a transformer's block: the mean over draws is normed, then scaled and
              shifted as that block modulates its input (AdaLN), as in DiTF (Gan et al. 2025)
    discard   channels set to zero, after the mean and before the norm; "auto": those with massive activations
    mirror    read the mirrored photo too, and add its unit features to the photo's, each at its place of the thing: a
              feature then does not depend on which way a thing faces; words left and right change places in its prompt
    size      longer side in pixels that the model sees; None is the model's own
    fit       "aspect" keeps the shape (sides rounded to what the model can take), "squash" makes it square
    latent    "mean" of the encoder's posterior, or a "sample" of it, as most papers do; "unscaled" is the mean
              without the factor that the denoiser's latents have, as VPD reads it
    encoder   what encodes photos: "" the model's autoencoder, "taesd" its tiny one, or an AutoencoderTiny's folder
    scheduler "plain": timestep t is t; "pndm-reference": t runs at t + 1, as the GDF and GATE codes do
    joined    in a bucket, whether a head joins the maps to the merged map as they are; takes no part in equality
    label     a name for tables; takes no part in equality

    Raises BadInput for a value that no model could take.

    >>> base = Recipe(timestep=50, taps=("up1", "up2"))
    >>> Recipe.from_toml(base.to_toml()) == base
    True
    """

    timestep: int = 50
    taps: tuple[str, ...] = ("up1",)
    prompt: str = ""
    captioner: str = ""
    control: tuple[str, ...] = ()
    control_scale: tuple[float, ...] = (1.0,)
    lora: tuple[str, ...] = ()
    lora_scale: tuple[float, ...] = (1.0,)
    image_prompt: tuple[str, ...] = ()
    image_prompt_scale: tuple[float, ...] = (1.0,)
    textual_inversion: tuple[str, ...] = ()
    inpaint: str = ""
    start: int | None = None
    steps: int | None = None
    noise: str = "draw"
    seed: int = 0
    ensemble: int = 1
    modulate: bool = False
    discard: tuple[int, ...] | str = ()
    mirror: bool = False
    size: int | None = None
    fit: str = "aspect"
    latent: str = "mean"
    encoder: str = ""
    scheduler: str = "plain"
    joined: bool = False
    label: str = ""

    def __post_init__(self) -> None:
        for name in TUPLES:
            object.__setattr__(self, name, _tuple(getattr(self, name)))
        taps = self.taps
        if not taps or not all(isinstance(tap, str) and tap for tap in taps):
            raise BadInput(f"taps={self.taps!r}: give at least one tap name, such as taps=('up1',)")
        _whole("timestep", self.timestep, 0, 999, "larger is noisier")
        _whole("seed", self.seed, 0, 2**63 - 1, "any whole number")
        _whole("ensemble", self.ensemble, 1, 1024, "noise draws to average")
        if self.size is not None:
            _whole("size", self.size, 16, 8192, "longer side in pixels")
        for name, meaning in _TEXTS.items():
            if not isinstance(getattr(self, name), str):
                raise BadInput(f"{name}={getattr(self, name)!r}: give {meaning}")
        if any("\ud800" <= letter <= "\udfff" for letter in self.prompt):  # what Python makes of such bytes
            raise BadInput(f"prompt={self.prompt!r}: holds bytes that are not UTF-8 text; write it in UTF-8")
        _names("textual_inversion", self.textual_inversion)
        for name in STEERERS:
            _steering(name, getattr(self, name), getattr(self, f"{name}_scale"))
            object.__setattr__(self, f"{name}_scale", tuple(float(one) for one in getattr(self, f"{name}_scale")))
        if self.inpaint not in ("", *INPAINTS):
            raise BadInput(f"inpaint={self.inpaint!r}: must be one of {', '.join(INPAINTS)}, or '' for a plain reading")
        if self.start is not None:
            _whole("start", self.start, 0, 999, "the larger timestep to denoise from")
            if self.start < self.timestep:
                raise BadInput(
                    f"start={self.start} with timestep={self.timestep}: denoising leads from a larger timestep to a "
                    "smaller one; give a start above the timestep, or none"
                )
            if self.start == self.timestep:  # the same reading has one key
                object.__setattr__(self, "start", None)
        if self.steps is not None:
            span = self.timestep if self.noise == "invert" else (self.start or self.timestep) - self.timestep
            if span < 1 or self.scheduler != "plain":
                raise BadInput(f"steps={self.steps}: needs a start above the timestep, and the plain scheduler")
            _whole("steps", self.steps, 1, span, "steps between start and timestep")
        _one_of("noise", self.noise, NOISES)
        if self.noise != "draw" and (self.start is not None or self.ensemble > 1 or self.scheduler != "plain"):
            raise BadInput(
                f"noise={self.noise!r}: takes no start, no ensemble and the plain scheduler; it draws no noise"
            )
        _one_of("fit", self.fit, FITS)
        _one_of("latent", self.latent, LATENTS)
        _one_of("scheduler", self.scheduler, SCHEDULERS)
        if self.encoder and self.latent != "mean":
            raise BadInput(f"encoder={self.encoder!r} with latent={self.latent!r}: a tiny encoder gives the mean alone")
        for name in ("modulate", "mirror", "joined"):
            if not isinstance(getattr(self, name), bool):
                raise BadInput(f"{name}={getattr(self, name)!r}: must be true or false")
        object.__setattr__(self, "discard", _channels(self.discard))

    def but(self, **changes: Any) -> Recipe:
        """Return a variant with some fields changed; an unknown field raises BadInput.

        >>> Recipe().but(timestep=261).timestep
        261
        """
        _known_fields(changes)
        return replace(self, **changes)

    def at(self, timestep: int) -> Recipe:
        """Return the same reading at another timestep, its walk as long as before; its label says which.

        >>> moved = Recipe(timestep=50, start=60, label="edges").at(300)
        >>> moved.start, moved.label
        (310, 'edges t=300')
        """
        start = None if self.start is None else self.start + timestep - self.timestep
        label = f"{self.label} t={timestep}" if self.label and timestep != self.timestep else self.label
        return replace(self, timestep=timestep, start=start, label=label)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(tuple(self._values().items()))

    def _values(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in READ_THE_SAME}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from the defaults, as plain values.

        >>> Recipe(seed=3).to_dict()
        {'seed': 3}
        """
        plain = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Build a recipe from plain values; raises BadInput for unknown fields.

        >>> Recipe.from_dict({"taps": ["up1"], "timestep": 261}).timestep
        261
        """
        _known_fields(values)
        return cls(**values)

    def to_toml(self) -> str:
        """Write the recipe as TOML, defaults left out.

        >>> print(Recipe(timestep=10, prompt='a "good" dog').to_toml())
        timestep = 10
        prompt = "a \\"good\\" dog"
        """
        return "\n".join(f"{name} = {_toml_value(value)}" for name, value in self.to_dict().items())

    @classmethod
    def from_toml(cls, text: str) -> Recipe:
        """Read a recipe from TOML text; raises BadInput if it is not TOML. A line `model = "sd15"` is ignored.

        >>> Recipe.from_toml('taps = ["up1", "up2"]').taps
        ('up1', 'up2')
        """
        return cls.from_dict(_model_and_fields(text)[1])

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe file; raises BadInput naming the file."""
        recipes = read_recipes(path)
        if len(recipes) > 1:
            raise BadInput(f"{path}: a bucket of {len(recipes)} readings where one recipe is wanted; give one alone")
        return recipes[0]

    def key(self) -> str:
        """Return a short digest of what the recipe does, stable across runs and versions.

        Fields at their defaults take no part, so that a field added later changes no key.

        >>> Recipe(label="mine").key() == Recipe().key()
        True
        """
        values = {name: value for name, value in self.to_dict().items() if name not in READ_THE_SAME}
        return hashlib.blake2s(json.dumps(values, sort_keys=True).encode(), digest_size=8).hexdigest()


def read_recipes(path: str | os.PathLike[str]) -> tuple[Recipe, ...]:
    """Read a recipe file: one recipe, or a bucket of several, each under a line `[[reading]]`.

    Raises BadInput naming the file.
    """
    return read_recipe_file(path)[1]


def read_recipe_file(path: str | os.PathLike[str]) -> tuple[str, tuple[Recipe, ...]]:
    """Read a recipe file: the model that it is for ("" if it names none), and its recipes.

    Raises BadInput naming the file.
    """
    try:
        model, values = _model_and_fields(Path(path).read_text(encoding="utf-8"))
        if "reading" not in values:
            return model, (Recipe.from_dict(values),)
        readings = values.pop("reading")
        tables = isinstance(readings, list) and readings and all(isinstance(one, dict) for one in readings)
        if values or not tables:
            raise BadInput("a bucket's file holds [[reading]] tables and, above them, at most a model")
        return model, tuple(Recipe.from_dict(one) for one in readings)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: the recipe file cannot be read ({error})") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def recipes_to_toml(recipes: Sequence[Recipe], about: str = "", model: str = "") -> str:
    """Write recipes as a file that `read_recipe_file` reads.

    about  what they are, as lines of comment
    model  the model that they are for

    >>> print(recipes_to_toml([Recipe(seed=1), Recipe(seed=2)], "two noise draws", "sd15"))
    # two noise draws
    <BLANKLINE>
    model = "sd15"
    <BLANKLINE>
    [[reading]]
    seed = 1
    <BLANKLINE>
    [[reading]]
    seed = 2
    """
    bodies = [recipe.to_toml() for recipe in recipes]
    parts = bodies if len(bodies) == 1 else [f"[[reading]]\n{body}" for body in bodies]
    comment = ["\n".join(f"# {line}".rstrip() for line in about.splitlines())] if about else []
    return "\n\n".join([*comment, *([f"model = {_toml_value(model)}"] if model else []), *parts])


def _model_and_fields(text: str) -> tuple[str, dict[str, Any]]:
    values = _toml_table(text)
    model = values.pop("model", "")
    if not isinstance(model, str):
        raise BadInput(f'model={model!r}: give a model\'s name, such as model = "sd15"')
    return model, values


def _toml_table(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        values = tomllib.loads(text)
        _check_whole_numbers(values)
        return values
    except RecursionError:
        raise BadInput("the recipe is not valid TOML: nested too deeply") from None
    except ValueError as error:  # also a number of thousands of digits
        raise BadInput(f"the recipe is not valid TOML: {error}") from None


def _check_whole_numbers(value: Any) -> None:
    """Refuse whole numbers beyond the 64 bits that TOML has: Python would keep them and fail to print them."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a whole number beyond 64 bits")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_whole_numbers(inner)


def _whole(name: str, value: object, low: int, high: int, meaning: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadInput(f"{name}={value!r}: give a whole number from {low} to {high} ({meaning})")


def _tuple(value: Any) -> tuple[Any, ...]:
    many = isinstance(value, Iterable) and not isinstance(value, str)
    return tuple(value) if many else (value,)


def _names(name: str, chosen: tuple[Any, ...]) -> None:
    if not all(isinstance(one, str) and one for one in chosen):
        raise BadInput(f"{name}={chosen!r}: give names or files, such as {name}=({_EXAMPLE[name]!r},)")


def _steering(name: str, chosen: tuple[Any, ...], scale: tuple[Any, ...]) -> None:
    _names(name, chosen)
    numbers = [one for one in scale if isinstance(one, (int, float)) and not isinstance(one, bool)]
    if len(numbers) != len(scale) or not all(abs(one) <= _LARGEST_SCALE for one in numbers):  # false for NaN, too
        raise BadInput(f"{name}_scale={scale!r}: give numbers; 1.0 is full strength")
    if len(scale) not in {1, len(chosen)}:
        raise BadInput(f"{name}_scale={scale!r}: give one number for all, or {len(chosen)}, one each")


def _channels(discard: Any) -> tuple[int, ...] | str:
    """The numbers of channels in order, each once, so that the same reading has one key; or AUTO."""
    given = _tuple(discard)
    if given == (AUTO,):
        return AUTO
    if not all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= _LARGEST_CHANNEL for one in given):
        raise BadInput(f"discard={discard!r}: give numbers of channels, such as (154, 1446), or {AUTO!r}")
    return tuple(sorted(set(given)))


def _one_of(name: str, value: object, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise BadInput(f"{name}={value!r}: must be one of {', '.join(legal)}")


def _known_fields(values: dict[str, Any]) -> None:
    known = [f.name for f in fields(Recipe)]
    for name in values:
        if name not in known:
            raise BadInput(f"a recipe has no field {name!r}; its fields are {', '.join(known)}")


def _toml_value(value: object) -> str:
    # TOML basic strings, whole numbers and arrays of strings coincide with JSON, once non-ASCII is kept.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
