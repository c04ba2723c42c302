"""Flags that several commands share; those of a recipe are made from the Recipe itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.atomic import check_writable
from shiftless.errors import BadInput
from shiftless.presets import Preset, default_recipe, preset_or_file
from shiftless.recipe import AUTO, HELP, READ_THE_SAME, TUPLES, Recipe

MODEL = "mini, sd15, sd21 ..., a hub id, a diffusers folder, or twin:NAME."
Model = Annotated[str, typer.Option("--model", "-m", help=MODEL)]
RecipeModel = Annotated[
    str | None, typer.Option("--model", "-m", help=MODEL, show_default="the recipe's own, else mini")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Batch = Annotated[
    int | None,
    typer.Option(min=1, help="How many latents the model sees at once.", show_default="(by the memory of the device)"),
]
Dtype = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]
Offload = Annotated[
    str,
    typer.Option(
        help="What waits in main memory until its turn: parts (text encoders, autoencoder, denoiser) or layers.",
        show_default="nothing",
    ),
]
FLIP = (
    "Read the first photo mirrored too, and match with whichever of the two fits the second photo better, "
    "for things that face opposite ways."
)
Flip = Annotated[bool, typer.Option("--flip", help=FLIP)]
FLIP_ROW = (
    "Add a row that may match each pair's first photo mirrored, where that fits the second better; it costs one more "
    "reading of each first photo."
)
FlipRow = Annotated[bool, typer.Option("--flip", help=FLIP_ROW)]
Fill = Annotated[
    list[str] | None,
    typer.Option("--fill", help="A value for a field of the prompt, as category=horse; repeat for more."),
]
Captions = Annotated[
    Path | None,
    typer.Option(help="A folder of .txt files that fill {caption}, as `shiftless caption PHOTOS --out` writes."),
]

Quantise = Annotated[
    str,
    typer.Option(
        help="int8 or nf4: keep the weights of the denoiser and large text encoders in so many bits.",
        show_default="no",
    ),
]


def writable(path: Path | None) -> Path | None:
    """Refuse a place that cannot be written when its flag is read, before any work."""
    check_writable(path)
    return path


_WHOLE = ("timestep", "seed", "ensemble", "size", "start", "steps")
Json = Annotated[Path | None, typer.Option("--json", help="Write the table here as JSON.", callback=writable)]


def takes_recipe(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every flag of a Recipe, and hand it one recipe made from them.

    --recipe names a preset or a TOML file to begin with; without it the model's own default is taken. It brings its
    model, which --model overrules. A command whose parameter is `recipes` takes buckets too: it gets a tuple.
    """
    signature = inspect.signature(command, eval_str=True)
    several = "recipes" in signature.parameters
    usual = signature.parameters["model"].default if "model" in signature.parameters else ""

    @functools.wraps(command)
    def wrapped(**given: Any) -> Any:
        changes = {f.name: given.pop(f.name) for f in _fields()}
        start = given.pop("recipe")
        named = [] if start is None else [preset_or_file(start)]
        model = model_for(given.get("model"), named, usual)
        if "model" in given:
            given["model"] = model
        chosen = named[0].recipes if named else (_default_recipe(model),)
        if len(chosen) > 1 and not several:
            raise BadInput(f"preset {start!r} is a bucket of {len(chosen)} readings; this command takes one recipe")
        changes = {name: value for name, value in changes.items() if value is not None}
        changes |= {name: _split(name, changes[name]) for name in (*TUPLES, "discard") if name in changes}
        varied = tuple(recipe.but(**changes) for recipe in chosen)
        return command(**({"recipes": varied} if several else {"recipe": varied[0]}), **given)

    own = [p for p in signature.parameters.values() if p.name not in ("recipe", "recipes")]
    flags = [_flag(f.name, f.default) for f in _fields()]
    preset_help = "A preset (`shiftless presets`) or a TOML file to begin with."
    start = inspect.Parameter(
        "recipe",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, typer.Option(help=preset_help, rich_help_panel="Recipe")],
    )
    kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    kept = [_model_flag(p) if p.name == "model" and isinstance(p.default, str) else p for p in kept]
    wrapped.__signature__ = inspect.Signature([*kept, start, *flags])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in [*kept, start, *flags]}
    return wrapped


def _default_recipe(model: str) -> Recipe:
    """The recipe that a model is read with by default, by its name or its family's."""
    from shiftless.backbones.registry import family_named

    return default_recipe(model, family_named(model))


def takes_fields(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a flag for every field of a Recipe that it has no flag of its own for.

    Its parameter `changes` gets those that were given, name -> value.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values() if p.name != "changes"]
    names = [f.name for f in _fields() if f.name not in signature.parameters]
    flags = [_flag(f.name, f.default) for f in _fields() if f.name in names]

    @functools.wraps(command)
    def wrapped(**given: Any) -> Any:
        changes = {name: value for name in names if (value := given.pop(name)) is not None}
        changes |= {name: _split(name, changes[name]) for name in (*TUPLES, "discard") if name in changes}
        return command(changes=changes, **given)

    wrapped.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in [*own, *flags]}
    return wrapped


def model_for(given: str | None, presets: Sequence[Preset], usual: str = "mini") -> str:
    """Return the model to load: the one given, else the one that the recipes bring, else the usual one.

    A given model that is not the recipes' own is noted in one line on stderr. Raises BadInput where none is given and
    the recipes bring different ones.
    """
    owners = {one.model: one.name for one in presets if one.model}
    if given is None:
        if len(owners) > 1:
            each = " and ".join(f"{name} is for {model}" for model, name in owners.items())
            raise BadInput(f"{each}; say which model reads them all with --model")
        return next(iter(owners), usual)
    for model, name in owners.items():
        if not _same_model(given, model):
            typer.echo(f"note: {name} is for {model}; it is read with {given}, as --model says", err=True)
    return given


def _same_model(a: str, b: str) -> bool:
    """Whether two names stand for one model: an alias and the hub ids that it is known by."""
    if a == b:
        return True
    from shiftless.backbones.registry import models

    names = ({name, *models().get(name, {}).get("hub", ())} for name in (a, b))
    return bool(set.intersection(*names))


@dataclass(frozen=True)
class PhotoValues:
    """Gives a photo's values; unlike a function within a function it can be sent to another process.

    values    those of every photo
    captions  the `CaptionFolder` that gives a photo its caption
    """

    values: dict[str, str]
    captions: Any = None

    def __call__(self, photo: Any) -> dict[str, str]:
        """Return the values of the fields of a photo's prompt."""
        from shiftless.conditions.template import CAPTION

        return self.values if self.captions is None else {**self.values, CAPTION: self.captions.read(photo.name)}


def filler(
    recipes: Sequence[Recipe], fill: list[str] | None, captions: Path | None, photos: Sequence[Path]
) -> Callable[[Any], dict[str, str]]:
    """Return what gives a photo's values: those of --fill, and its caption from the folder of --captions.

    photos  the places that the user gave, pictures or folders: a caption lies where its photo does inside its place

    Raises BadInput for a --fill that is no NAME=VALUE and a field that no photo would have a value for; the function
    it returns does for a photo without a caption.
    """
    from shiftless.conditions.template import CAPTION
    from shiftless.conditions.template import fill as fill_in

    values: dict[str, str] = {}
    for one in fill or []:
        name, given, value = one.partition("=")
        if not given or not name:
            raise BadInput(f"--fill {one!r}: give NAME=VALUE, such as category=horse")
        values[name] = value
    for recipe in recipes:
        fill_in(recipe.prompt, {CAPTION: "", **values}, "--prompt")
    if captions is None:
        return PhotoValues(values)
    from shiftless.conditions.caption_folder import CaptionFolder

    return PhotoValues(values, CaptionFolder(captions, places=photos))


def _split(name: str, text: str) -> tuple[Any, ...]:
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if name == "discard" and parts != (AUTO,):
        if not all(part.isdecimal() for part in parts):
            raise BadInput(f"--discard {text!r}: give numbers of channels, such as 154,1446, or {AUTO}")
        return tuple(int(part) for part in parts)
    if not name.endswith("_scale"):
        return parts
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        flag = name.replace("_", "-")
        raise BadInput(f"--{flag} {text!r}: give numbers, comma-separated, such as 1.0 or 0.8,0.5") from None


def _fields() -> list[Any]:
    return [f for f in fields(Recipe) if f.name not in READ_THE_SAME]


def _model_flag(parameter: inspect.Parameter) -> inspect.Parameter:
    """Make --model None where it is not given, and say in --help what is then taken."""
    default = f"the recipe's own, else {parameter.default}"
    option = typer.Option("--model", "-m", help=MODEL, show_default=default)
    return parameter.replace(default=None, annotation=Annotated[str | None, option])


def _flag(name: str, default: object) -> inspect.Parameter:
    kind = bool if default is False else int if name in _WHOLE else str
    flag = f"--{name.replace('_', '-')}"
    names = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    option = typer.Option(names, help=HELP[name], rich_help_panel="Recipe", show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )
