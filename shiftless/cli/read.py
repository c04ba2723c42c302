"""Commands that read photos: extract, match."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless.atomic import check_writable
from shiftless.cli import app, say_error
from shiftless.cli.answer import note_what_it_is_for, say, show, write_json
from shiftless.cli.command import command
from shiftless.cli.dry_run import rehearse
from shiftless.cli.flags import (
    Batch,
    Captions,
    Device,
    Dtype,
    Fill,
    Flip,
    Model,
    Offload,
    Quantise,
    filler,
    takes_recipe,
    writable,
)
from shiftless.cli.workers import check_engine, read_by_workers
from shiftless.errors import BadInput
from shiftless.recipe import Recipe

if TYPE_CHECKING:
    from shiftless.features import FeatureMaps

POINT = ("a point", "X,Y", "120,80")
BOX = ("a box", "X0,Y0,X1,Y1", "40,20,300,240")


@command(
    app,
    panel="Read photos",
    examples=(
        "shiftless extract photos/ --model sd15 --out features",
        "shiftless extract photos/ --recipe gate-spair-prompt --fill category=horse",
        "shiftless extract a.jpg --taps up1,up2 --prompt 'a photo of a {category}' --fill category=horse",
        "shiftless extract photos/ --model sd15 --out features.zarr --compress pca:64 --dry-run",
        "shiftless extract photos/ --model sd15 --out features.zarr --engine local --workers 4",
        "shiftless extract clip.mp4 --model sd15 --out frames.zarr --every 5",
    ),
)
@takes_recipe
def extract(
    photos: Annotated[list[Path], typer.Argument(help="Pictures, folders of them, or videos.")],
    recipes: tuple[Recipe, ...],
    out: Annotated[
        str, typer.Option("--out", "-o", help="Folder for one .safetensors a photo, or a store: a name.zarr.")
    ] = "features",
    model: Model = "mini",
    fill: Fill = None,
    captions: Captions = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
    batch: Batch = None,
    save_dtype: Annotated[
        str, typer.Option(help="In which dtype maps are saved: fp16, fp32, or bf16 (which NumPy does not read).")
    ] = "fp16",
    compress: Annotated[
        str,
        typer.Option(
            help="For a store: none, int8 (half of fp16), pca:K (K numbers a cell) or pq:M (M bytes a cell); learned "
            "from the first 64 photos."
        ),
    ] = "none",
    every: Annotated[int, typer.Option(min=1, help="Of a video, take every so many frames.")] = 1,
    pool: Annotated[int, typer.Option(min=1, help="Average so many cells along each side into one before saving.")] = 1,
    shard: Annotated[
        int | None,
        typer.Option(min=1, help="Photos in one file of a store.", show_default="256 MB of the largest map"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Threads that open and resize photos ahead of the model; 0: none.",
            show_default="one a core, at most 8",
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Read by several processes: local (this machine) or ray (a cluster).", show_default="no")
    ] = "",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="How many of them, each with the model.", show_default="one a GPU, or a node"),
    ] = None,
    worker_cpus: Annotated[
        float | None, typer.Option(help="CPUs that Ray sets aside for each worker.", show_default="1 without a GPU")
    ] = None,
    worker_gpus: Annotated[
        float | None, typer.Option(help="GPUs that Ray sets aside for each worker.", show_default="1 if there are any")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, read 3 photos, and stop.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write here which files hold which photo.")] = None,
) -> None:
    """Read features of photos into a folder or a store; run again, and it continues where it stopped.

    A preset that is a bucket (--recipe gate-spair) gives one file for each of its readings, all from one pass.
    Files are named by all that made them: the photo, the contents of model and adapters, recipe and prompt. What they
    will take is said first, and refused where it does not fit. docs/features.md describes the files.
    With --out NAME.zarr they go into one Zarr store, with an array for each tap: for many photos.
    With --engine local --workers 4, or --engine ray on a cluster, several processes read them into one place.
    A photo that cannot be read is listed at the end, and the exit code is then 2.
    """
    from shiftless.backbones.registry import load
    from shiftless.data.video import decoded, is_video, sources_in
    from shiftless.engines.portions import with_ends
    from shiftless.progress import Progress, count, notice
    from shiftless.reading.ahead import default_threads
    from shiftless.reading.counted import Counted, calls
    from shiftless.reading.loop import check
    from shiftless.store.extraction import extract_into
    from shiftless.store.size import size_of
    from shiftless.store.target import check_target, target_of
    from shiftless.store.writer import StoreWriter

    values = filler(recipes, fill, captions, photos)
    paths = sources_in(photos, every)
    check_target(out, save_dtype, shard, compress)
    check_engine(engine, workers, worker_cpus, worker_gpus, json)
    if engine and (videos := [str(place) for place in photos if is_video(place)]):
        raise BadInput(f"{videos[0]}: one process reads a video; leave --engine out, or give a folder of its frames")
    check_writable(None if "://" in out else Path(out, "zarr.json"), json)
    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    rows = check(backbone, recipes, batch)
    note_what_it_is_for(backbone)
    each = calls(recipes, backbone.spec)
    saved: dict[str, Any] = {"dtype": save_dtype, "pool": pool, "shard": shard, "compress": compress}
    target = target_of(out, backbone, recipes, fill=values, **saved)
    size = size_of(target, paths)
    if dry_run:
        rehearse(backbone, paths, recipes, size, fill=values, batch=batch)
        size.check(out)
        return
    for line in target.recover():
        notice(line)
    size.check(out)
    notice(str(size))

    described: list[str] = []

    def describe(bucket: Sequence[FeatureMaps]) -> None:
        if not described:
            described.extend(maps.describe() for maps in bucket)
            notice("\n".join(described))

    by = f" by {len(recipes)} recipes" if len(recipes) > 1 else ""
    progress = Progress(f"reading {count(len(paths), 'photo')}{by}", each * len(paths), "denoiser call")
    if engine:
        given = {
            "out": out, "recipes": recipes, "batch": rows, "model": model, "device": device, "dtype": dtype,
            "offload": offload, "quantise": quantise, "fill": values, "save_dtype": save_dtype, "pool": pool,
            "shard": shard, "threads": threads, "compress": compress,
        }  # fmt: skip
        if isinstance(target, StoreWriter):
            target.close(interrupted=True)  # photos from which a transform is still to be learned go to a worker
        del target, backbone  # the workers need the memory
        with progress as step:
            result = read_by_workers(engine, given, paths, workers, each, step, worker_cpus, worker_gpus)
    else:
        with target, progress as step:
            result = extract_into(
                target, Counted(backbone, step.advance), with_ends(decoded(paths), rows, len(paths)), recipes,
                batch=rows, fill=values, threads=default_threads() if threads is None else threads,
                skip=lambda: step.skip(each), read=describe,
            )  # fmt: skip
        write_json(json, {name: [str(file) for file in files] for name, files in target.files.items()})
    notice(f"{result.done} read into {out}" + (f", {result.there} were there already" if result.there else ""))
    if result.widened:
        notice(f"{count(result.widened, 'map')} saved in fp32: values beyond the range of {save_dtype}")
    for message in result.failed:
        say_error(message)
    if result.failed:
        raise typer.Exit(2)


@command(
    app,
    panel="Read photos",
    examples=(
        "shiftless match a.jpg b.jpg --model sd15",
        "shiftless match a.jpg b.jpg --model sd15 --at 120,80 --at 60,40 --mutual --flip",
        "shiftless match a.jpg b.jpg --model sd15 --control canny --start 240 --timestep 200 --out steered.png",
    ),
)
@takes_recipe
def match(
    a: Annotated[Path, typer.Argument(help="The photo where you point.")],
    b: Annotated[Path, typer.Argument(help="The photo to search.")],
    recipe: Recipe,
    at: Annotated[list[str], typer.Option(help="A point of A as X,Y in its own pixels; repeat for more.")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture of the matches.", callback=writable)] = Path(
        "match.png"
    ),
    model: Model = "mini",
    mutual: Annotated[bool, typer.Option(help="Also say which points find their way back.")] = False,
    refine: Annotated[
        str, typer.Option(help="upsample (as published), cell, or soft (sub-pixel soft-argmax).")
    ] = "upsample",
    flip: Flip = False,
    box: Annotated[
        str | None,
        typer.Option(help="With --flip: where the thing is in A, as X0,Y0,X1,Y1; by default the whole photo."),
    ] = None,
    fill: Fill = None,
    captions: Captions = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
    batch: Batch = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the matches here as JSON.", callback=writable)
    ] = None,
) -> None:
    """Find where points of photo A are in photo B; original pixels in, original pixels out.

    What steers the model is a flag: --prompt auto, --control canny --start 240, --lora FILE.

    Without --at, a grid of points is tried and the mutual matches are kept.

    --flip reads A a second time, mirrored. Points are given and found in the photos as they are, and --prompt and
    --captions are for the mirrored photo too; a captioner writes it a caption of its own. More in docs/pairs.md.
    """
    from rich.table import Table

    from shiftless.backbones.registry import load
    from shiftless.image import mirror, open_photo
    from shiftless.reading import extract as read
    from shiftless.tasks.correspondence import heat
    from shiftless.tasks.correspondence import match as find
    from shiftless.tasks.mutual import mutual_matches
    from shiftless.view import match_sheet, save_picture

    points = [numbers_of("--at", text, POINT) for text in at]
    where = None if box is None else numbers_of("--box", box, BOX)
    if where is not None and not flip:
        raise BadInput("--box says where --flip compares; give --flip too, or leave it out")
    first, second = open_photo(a), open_photo(b)
    values = filler([recipe], fill, captions, [a, b])
    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    note_what_it_is_for(backbone)
    photos = [first, second, *([mirror(first)] if flip else [])]
    maps_a, maps_b, *turned = read(backbone, photos, recipe, fill=values, batch=batch)
    flipping: dict[str, Any] = {"flip": "auto", "mirrored": turned[0], "box": where} if flip else {}
    if points:
        matches = find(maps_a, maps_b, points, refine=refine, mutual=mutual, **flipping)
    else:
        matches = mutual_matches(maps_a, maps_b, refine=refine, **flipping)
    table = Table(title=f"{a.name} -> {b.name}", caption=f"{model} · {maps_a.describe()}")
    for column in ("x", "y", "-> x", "y", "cosine", *(["finds its way back"] if matches.mutual is not None else [])):
        table.add_column(column, justify="right")
    for i, (here, there) in enumerate(zip(matches.source, matches.points)):
        back = [] if matches.mutual is None else ["yes" if matches.mutual[i] else "no"]
        numbers = [f"{value:.1f}" for value in (*here, *there)]
        table.add_row(*numbers, f"{matches.scores[i]:.3f}", *back)
    show(table, 100)
    point = matches.source[0]
    if matches.fits is not None:
        as_is, mirrored = matches.fits
        how = "matched mirrored" if matches.flipped else "matched as it is"
        say(f"{a.name}: {how} (mean cosine {as_is:.3f} as it is, {mirrored:.3f} mirrored)")
    hot = heat(turned[0], maps_b, maps_a.frame.mirrored([point])[0]) if matches.flipped else heat(maps_a, maps_b, point)
    sheet = match_sheet(first, second, matches, hot)
    save_picture(sheet, out)
    say(f"picture: {out}   (heat: where in {b.name} looks like the first point)")
    about: dict[str, Any] = {"a": str(a), "b": str(b), "model": model, "recipe": recipe.to_dict()}
    if matches.fits is not None:
        about |= {"flipped": matches.flipped, "fits": list(matches.fits)}
    write_json(json, {**about, "matches": _rows(matches)})


def _rows(matches: Any) -> list[dict[str, Any]]:
    """Matches as plain values, in original pixels."""
    rows = [
        {"source": list(map(float, here)), "target": list(map(float, there)), "cosine": float(score)}
        for here, there, score in zip(matches.source, matches.points, matches.scores)
    ]
    for row, back in zip(rows, matches.mutual if matches.mutual is not None else ()):
        row["mutual"] = bool(back)
    return rows


def numbers_of(flag: str, text: str, form: tuple[str, str, str]) -> tuple[float, ...]:
    """Return the numbers of a flag that is written as `form` says: its name, its letters, an example."""
    what, letters, example = form
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != len(letters.split(",")):
        raise BadInput(f"{flag} {text!r}: give {what} as {letters} in pixels of the first photo, such as {example}")
    return numbers
