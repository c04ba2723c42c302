"""`shiftless audit`: how far the model's prediction drifts from your photos, and which technique keeps the content."""

from __future__ import annotations

import random
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless.atomic import check_writable
from shiftless.cli import app, say_error
from shiftless.cli.answer import note_what_it_is_for
from shiftless.cli.command import command
from shiftless.cli.flags import (
    Captions,
    Device,
    Dtype,
    Fill,
    Offload,
    Quantise,
    RecipeModel,
    filler,
    model_for,
    takes_fields,
)
from shiftless.errors import BadInput

if TYPE_CHECKING:
    from shiftless.backbones.base import Backbone
    from shiftless.recipe import Recipe

TRY, HOW, REPORT = "What to try", "How to measure", "What to write"
MOST = 6
"""How many recipes are audited at most where nobody says what to try."""
OTHERS = (1, 2, 3)
"""Advice chooses among the model's own timestep, twice and three times it, where nobody says which."""


@command(
    app,
    panel="Read photos",
    examples=(
        "shiftless audit photos/ --model sd15",
        "shiftless audit photos/ -m sd15 --prompt 'a horse' --control canny --timestep 100 --timestep 300",
        "shiftless audit photos/ --model sd15 --control canny --start 340 --timestep 300 --max-minutes 10",
        "shiftless audit photos/ --model sd15 --suggest mine.toml --cost 4",
    ),
)
@takes_fields
def audit(
    photos: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them; 16 tell most of it.")],
    model: RecipeModel = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="A preset or a TOML file to audit; repeat for more. Else: techniques, as below.", rich_help_panel=TRY
        ),
    ] = None,
    timestep: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            max=999,
            help="At which noise; repeat for a curve. Else the recipe's, or the model's own.",
            rich_help_panel=TRY,
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="A prompt to try; 'auto' captions each photo; repeat for more.", rich_help_panel=TRY),
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(
            help="A ControlNet or T2I-Adapter to try: canny, depth, tile, t2i-canny, KIND=FOLDER; repeat for more.",
            rich_help_panel=TRY,
        ),
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option(help="A LoRA file to try; repeat for more.", rich_help_panel=TRY)
    ] = None,
    image_prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="An IP-Adapter to try, which gives the photo itself as a prompt; repeat for more.", rich_help_panel=TRY
        ),
    ] = None,
    inpaint: Annotated[
        list[str] | None,
        typer.Option(help="Of a model for inpainting, a mask to try: keep shows it the photo.", rich_help_panel=TRY),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Try all that is at hand, not six recipes at most.", rich_help_panel=TRY),
    ] = False,
    draws: Annotated[
        int, typer.Option(min=1, help="Noise draws a reading; what varies was invented.", rich_help_panel=HOW)
    ] = 2,
    finish: Annotated[
        int,
        typer.Option(
            min=0, help="Steps of the full denoising that shows where it leads; 0 leaves it out.", rich_help_panel=HOW
        ),
    ] = 8,
    cleanest: Annotated[
        int,
        typer.Option(
            min=0, max=999, help="Timestep of the nearly clean reading that features meet.", rich_help_panel=HOW
        ),
    ] = 20,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Stop after the photos that fit into so many minutes, taken in an order by chance; at least one.",
            rich_help_panel=HOW,
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="The measure that ranks, in place of the proven one.", rich_help_panel=HOW)
    ] = None,
    perceptual: Annotated[
        str | None,
        typer.Option(
            help="A DINO-like model that judges too (DINOv2, DINOv3, ViT, CLIP): a folder, or a fetched hub id.",
            rich_help_panel=HOW,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for index.html and its pictures.", rich_help_panel=REPORT)
    ] = Path("audit"),
    pictures: Annotated[
        int, typer.Option(min=0, help="How many photos are shown, the most shifted first.", rich_help_panel=REPORT)
    ] = 8,
    suggest: Annotated[
        Path | None,
        typer.Option(
            help="Also write the readings that are worth their cost to this recipe file.", rich_help_panel=REPORT
        ),
    ] = None,
    cost: Annotated[
        float,
        typer.Option(
            min=1, help="With --suggest: the most a photo may cost, in plain denoiser calls.", rich_help_panel=REPORT
        ),
    ] = 4.0,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write every number here.", rich_help_panel=REPORT)
    ] = None,
    fill: Fill = None,
    captions: Captions = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Photos held at once; the numbers do not depend on it.",
            show_default="(by the memory of the device)",
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
    *,
    changes: dict[str, Any],
) -> None:
    """Measure content shift: what the noise made the model invent, and which technique keeps your photos' content.

    Each photo is noised and read with and without each technique; the clean picture that the model then predicts is
    decoded and held against the photo, and the features against those of a nearly clean reading. If nothing is named
    to try, it tries what the model has at hand, six recipes at most unless --all is given: at each timestep the bare
    reading, all techniques together, captions, each ControlNet, each IP-Adapter, then LoRAs, as far as there is room.
    A prompt takes the learned words of --textual-inversion that it names. --start, --steps, --captioner and the scales
    act on whatever steers. A photo that cannot be read is listed, and the exit code is then 2.
    """
    from rich.console import Console

    from shiftless.atomic import write_atomic
    from shiftless.auditing import audit as measure
    from shiftless.auditing.compared import bare, compared
    from shiftless.auditing.cost import audit_calls
    from shiftless.auditing.measures import HEADLINE, expected
    from shiftless.auditing.observation import planned
    from shiftless.auditing.similarities import readings
    from shiftless.auditing.suggest import options_of
    from shiftless.auditing.suggest import suggest as advise
    from shiftless.backbones.registry import load
    from shiftless.image import list_photos
    from shiftless.presets import default_recipe, preset_or_file
    from shiftless.progress import Progress, count, notice
    from shiftless.reading.counted import calls
    from shiftless.reading.loop import check
    from shiftless.reading.words import check_predicts
    from shiftless.taps.names import select
    from shiftless.view.audit import Album
    from shiftless.view.audit_answer import advised, answer, doubts
    from shiftless.view.audit_page import write_report

    if recipe and (prompt or control or lora or image_prompt or inpaint):
        raise BadInput(
            "--recipe says what steers; give it without --prompt, --control, --lora, --image-prompt and --inpaint, or "
            "these without it"
        )
    if by is not None and by not in expected(draws, finish, perceptual is not None):
        known = ", ".join(expected(draws, finish, perceptual is not None))
        raise BadInput(f"--by {by!r}: no such measure is taken here; there are {known}")
    if suggest is not None and suggest.suffix != ".toml":
        raise BadInput(f"--suggest {suggest}: a recipe file ends in .toml")
    paths = [path for place in photos for path in list_photos(place)]
    if max_minutes is not None:
        random.Random(0).shuffle(paths)  # what is left out is left out by chance
    presets = [preset_or_file(name) for name in recipe or []]
    model = model_for(model, presets)
    at_hand = 0
    given = [one for preset in presets for one in preset.recipes]
    named = [at for one in given for at in varied(one, changes, timestep or [])]
    filler(named, fill, captions, photos)  # a field without a value is told before the model is loaded
    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    check_predicts(backbone)
    judge: Any = None
    if perceptual is not None:
        from shiftless.backbones.perceptual import load_perceptual_model

        judge = load_perceptual_model(perceptual, device=device)
    if not named:
        start = default_recipe(model, backbone.spec.family)
        steps = timestep or [start.timestep * n for n in (OTHERS if suggest is not None else OTHERS[:1])]
        tried = {"prompts": prompt or [], "controls": control or [], "loras": lora or []}
        tried |= {"image_prompts": image_prompt or [], "inpaints": inpaint or []}
        named, at_hand = _tried(backbone, start, changes, [t for t in steps if t < 1000], tried, every)
    values = filler(named, fill, captions, photos)
    for one in named:
        select(one.taps, backbone.taps, backbone.spec.name)
    check(backbone, named, batch)
    recipes = compared(named)[0]
    usual = bare(min(named, key=lambda one: one.timestep))  # whoever names a timestep takes it for usual
    each = audit_calls(*planned(recipes, draws, finish, cleanest))
    weighed = 0 if suggest is None else calls(readings(options_of(recipes, usual, cost), cleanest))
    check_writable(out / "index.html", json, suggest)  # a place that cannot be written is told before the work
    note_what_it_is_for(backbone)
    doing = f"auditing {count(len(paths), 'photo')} by {count(len(recipes), 'recipe')}"
    doing += ", then weighing readings for advice" if suggest is not None else ""
    shared: dict[str, Any] = {"fill": values, "cleanest": cleanest, "batch": batch}
    album, taken = Album(pictures, by or HEADLINE), None
    if len(named) < at_hand:
        notice(f"{len(named)} of the {at_hand} recipes at hand are tried; --all tries them all")
    with Progress(doing, (each + weighed) * len(paths), "denoiser call") as step:
        shared["report"] = step.advance
        minutes = None if max_minutes is None else max_minutes * each / (each + weighed)
        options: dict[str, Any] = {"draws": draws, "finish": finish, "perceptual": judge, "minutes": minutes}
        result = measure(backbone, paths, named, on_observation=album, **options, **shared)
        step.skip((each + weighed) * result.left_out)
        if suggest is not None:
            taken = advise(backbone, paths[: len(paths) - result.left_out], recipes, usual, limit=cost, **shared)
    if by is not None:
        result = result.ranking_by(by)
    Console(width=None if Console().is_terminal else 160).print(result)
    typer.echo("\n".join([answer(result), *doubts(result)]) + "\n")
    if json is not None:
        result.write(json)
        typer.echo(f"written: {json}")
    commands: list[tuple[str, str]] = []
    if suggest is not None and taken is not None:
        write_atomic(suggest, taken.to_toml(model).encode())
        typer.echo("\n".join([f"written: {suggest}", *(f"  {line}" for line in taken.lines()), advised(result, taken)]))
        name, file = shlex.quote(model), shlex.quote(str(suggest))
        command = f"shiftless extract PHOTOS --model {name} --recipe {file}"
        commands.append((command, f"Features by the readings suggested, at {taken.cost:g} denoiser calls a photo."))
        if len(taken.recipes) > 1:
            command = f"shiftless correspond fit -m {name} -r {file} --data PAIRS --out head"
            commands.append((command, "Merge them by weights trained on annotated pairs of yours, as GATE does."))
    typer.echo(f"look at: {write_report(out, result, album.sheets, commands=commands, advice=taken)}")
    for message in result.skipped:
        say_error(message)
    if result.skipped:
        raise typer.Exit(2)


def varied(recipe: Recipe, changes: dict[str, Any], timesteps: Sequence[int]) -> list[Recipe]:
    """Return a recipe with some fields changed, at each of some timesteps, or at its own.

    A start that is changed belongs to the least of them: the walk is as long at the others.

    >>> from shiftless.recipe import Recipe
    >>> [(one.timestep, one.start) for one in varied(Recipe(timestep=50), {"start": 340}, [500, 300])]
    [(500, 540), (300, 340)]
    """
    steps = list(timesteps) or [recipe.timestep]
    if "start" not in changes:
        changed = recipe.but(**changes)
        return [changed.at(t) for t in steps]
    walk = {"start": changes["start"], "steps": changes.get("steps", recipe.steps)}
    recipe.but(timestep=min(steps), **walk)  # says itself what is wrong
    changed = recipe.but(**{**changes, "start": None, "steps": None})
    return [changed.at(t).but(**{**walk, "start": walk["start"] + t - min(steps)}) for t in steps]


def _tried(
    backbone: Backbone,
    recipe: Recipe,
    changes: dict[str, Any],
    timesteps: Sequence[int],
    tried: dict[str, list[str]],
    every: bool,
) -> tuple[list[Recipe], int]:
    """What to audit where no recipe is given: the techniques named, or a choice of those at hand; and of how many."""
    from shiftless.auditing.candidates import candidates, fewer

    named = {
        "control": tuple(tried["controls"]), "lora": tuple(tried["loras"]),
        "image_prompt": tuple(tried["image_prompts"]),
    }  # fmt: skip
    start = varied(recipe, {**changes, **named}, [min(timesteps)])[0]
    result = candidates(backbone, start, timesteps=timesteps, **tried)
    return result if every or any(tried.values()) else fewer(result, MOST), len(result)
