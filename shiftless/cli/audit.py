"""`shiftless audit`: how far the model's belief drifts from your photos, and which technique keeps the content."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.atomic import check_writable
from shiftless.cli import app, say_error
from shiftless.cli.flags import Captions, Device, Dtype, Fill, RecipeModel, filler, model_for
from shiftless.errors import BadInput

TRY, HOW, REPORT = "What to try", "How to measure", "What to write"


@app.command(rich_help_panel="Read photos")
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
            help="A ControlNet to try: canny, depth, tile, KIND=FOLDER; repeat for more.", rich_help_panel=TRY
        ),
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option(help="A LoRA file to try; repeat for more.", rich_help_panel=TRY)
    ] = None,
    taps: Annotated[
        str | None, typer.Option(help="Where features are read: names or globs, comma-separated.", rich_help_panel=TRY)
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=16, help="Longer side in pixels that the model sees.", rich_help_panel=TRY)
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the first noise draw.", rich_help_panel=TRY)] = None,
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
    by: Annotated[
        str | None, typer.Option(help="The measure that ranks, in place of the proven one.", rich_help_panel=HOW)
    ] = None,
    eye: Annotated[
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
    batch: Annotated[int, typer.Option(min=1, help="Photos held at once; the numbers do not depend on it.")] = 8,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Measure content shift: what the noise made the model invent, and which technique keeps your photos' content.

    Each photo is noised and read with and without each technique; what the model then believes is decoded and held
    against the photo, and the features against those of a nearly clean reading. Without --recipe, --prompt, --control
    or --lora it tries what the model has at hand. A photo that cannot be read is listed, and the exit code is then 2.

    Example: shiftless audit photos/ --timestep 100 --timestep 300 --suggest mine.toml --cost 4
    """
    from rich.console import Console
    from rich.progress import track

    from shiftless.atomic import write_whole
    from shiftless.auditing import audit as measure
    from shiftless.auditing.candidates import candidates
    from shiftless.auditing.compared import bare
    from shiftless.auditing.measures import HEADLINE, expected
    from shiftless.auditing.suggest import suggest as advise
    from shiftless.backbones.registry import load
    from shiftless.image import list_photos
    from shiftless.presets import default_recipe, preset_or_file
    from shiftless.reading.loop import check
    from shiftless.taps.names import select
    from shiftless.view.audit import Album
    from shiftless.view.audit_answer import answer, doubts
    from shiftless.view.audit_page import write_report

    tried = [*(prompt or []), *(control or []), *(lora or [])]
    if recipe and (tried or taps or size or seed is not None):
        raise BadInput("--recipe says how to read; give it alone or with --timestep, or the other flags without it")
    if by is not None and by not in expected(draws, finish, eye is not None):
        known = ", ".join(expected(draws, finish, eye is not None))
        raise BadInput(f"--by {by!r}: no such measure is taken here; there are {known}")
    if suggest is not None and suggest.suffix != ".toml":
        raise BadInput(f"--suggest {suggest}: a recipe file ends in .toml")
    paths = [path for place in photos for path in list_photos(place)]
    presets = [preset_or_file(name) for name in recipe or []]
    model = model_for(model, presets)
    given = [one for preset in presets for one in preset.recipes]
    named = [one.at(t) for one in given for t in timestep] if timestep else given
    values = filler(named, fill, captions)
    backbone = load(model, device=device, dtype=dtype)
    judge: Any = None
    if eye is not None:
        from shiftless.backbones.perceptual import load_eye

        judge = load_eye(eye, device=device)
    if not named:
        changes = {"taps": taps and tuple(part.strip() for part in taps.split(",")), "size": size, "seed": seed}
        start = default_recipe(model).but(**{name: value for name, value in changes.items() if value is not None})
        techniques: dict[str, Any] = {"prompts": prompt or (), "controls": control or (), "loras": lora or ()}
        steps = timestep or ([start.timestep * n for n in (1, 2, 3)] if suggest is not None else [start.timestep])
        named = candidates(backbone, start, timesteps=[t for t in steps if t < 1000], **techniques)
        values = filler(named, fill, captions)
    for one in named:
        select(one.taps, backbone.taps, backbone.spec.name)
    check(backbone, named, batch)
    check_writable(out / "index.html", json, suggest)  # a place that cannot be written is told before the work
    console, album = Console(stderr=True), Album(pictures, by or HEADLINE)
    shown = track(paths, f"auditing {len(paths)} photos", console=console, transient=True)
    shared: dict[str, Any] = {"fill": values, "cleanest": cleanest, "batch": batch}
    found = measure(backbone, shown, named, draws=draws, finish=finish, eye=judge, on_seen=album, **shared)
    if by is not None:
        found = found.ranking_by(by)
    Console(width=None if Console().is_terminal else 160).print(found)
    typer.echo("\n".join([answer(found), *doubts(found)]) + "\n")
    if json is not None:
        found.write(json)
        typer.echo(f"written: {json}")
    advice: list[str] = []
    commands: list[tuple[str, str]] = []
    if suggest is not None:
        usual = bare(min(named, key=lambda one: one.timestep))  # whoever names a timestep takes it for usual
        with console.status("weighing buckets of readings"):
            taken = advise(backbone, paths, found.recipes, usual, limit=cost, **shared)
        write_whole(suggest, taken.to_toml().encode())
        advice = taken.lines()
        typer.echo("\n".join([f"written: {suggest}", *(f"  {line}" for line in advice)]))
        name, file = shlex.quote(model), shlex.quote(str(suggest))
        command = f"shiftless extract PHOTOS --model {name} --recipe {file}"
        commands.append((command, f"Features by the readings suggested, at {taken.cost:g} denoiser calls a photo."))
        if len(taken.recipes) > 1:
            command = f"shiftless correspond fit -m {name} -r {file} --data PAIRS --out head"
            commands.append((command, "Merge them by weights trained on annotated pairs of yours, as GATE does."))
    typer.echo(f"look at: {write_report(out, found, album.sheets, commands=commands, advice=advice)}")
    for message in found.skipped:
        say_error(message)
    if found.skipped:
        raise typer.Exit(2)
