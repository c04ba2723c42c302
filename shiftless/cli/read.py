"""Commands that read photos: extract, match."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.cli import app, say_error
from shiftless.cli.command import command
from shiftless.cli.flags import Captions, Device, Dtype, Fill, Model, filler, takes_recipe
from shiftless.errors import BadInput
from shiftless.recipe import Recipe


@command(
    app,
    panel="Read photos",
    examples=(
        "shiftless extract photos/ --model sd15 --out features",
        "shiftless extract photos/ --recipe gate-spair-prompt --model sd15",
        "shiftless extract a.jpg --taps up1,up2 --prompt 'a photo of a {category}' --fill category=horse",
    ),
)
@takes_recipe
def extract(
    photos: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    recipes: tuple[Recipe, ...],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for one .safetensors a photo.")] = Path("features"),
    model: Model = "mini",
    fill: Fill = None,
    captions: Captions = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch: Annotated[int, typer.Option(min=1, help="How many latents the model sees at once.")] = 8,
) -> None:
    """Read features of photos into a folder; run again, and it continues where it stopped.

    A preset that is a bucket (--recipe gate-spair) gives one file for each of its readings, all from one pass.
    A photo that cannot be read is listed at the end, and the exit code is then 2.
    """
    from rich.console import Console
    from rich.progress import track

    from shiftless.backbones.registry import load
    from shiftless.conditions.template import CAPTION
    from shiftless.conditions.template import fill as fill_in
    from shiftless.image import list_photos, open_photo
    from shiftless.reading import stream

    values = filler(recipes, fill, captions, photos)
    paths = [path for place in photos for path in list_photos(place)]
    backbone = load(model, device=device, dtype=dtype)
    console, failed, done = Console(stderr=True), [], 0
    targets: dict[str, list[Path]] = {}

    def key(recipe: Recipe, photo: Any) -> str:
        """What the file is named by: the recipe with the words that are known before reading."""
        words = {CAPTION: f"{{{CAPTION}}}", **values(photo)}
        return recipe.but(prompt=fill_in(recipe.prompt, words, photo.name)).key()[:8]

    def waiting():  # type: ignore[no-untyped-def]  # a generator of photos not read yet
        for path in paths:
            try:
                photo = open_photo(path)
                names = [f"{path.stem}-{photo.digest[:8]}-{key(recipe, photo)}.safetensors" for recipe in recipes]
            except BadInput as error:
                failed.append(str(error))
                continue
            targets[photo.name] = [out / name for name in names]
            if not all(target.exists() for target in targets[photo.name]):
                yield photo

    reading = stream(backbone, waiting(), list(recipes), fill=values, batch=batch, dtype=None, skipped=failed)
    for bucket in track(reading, f"reading {len(paths)} photos", len(paths), console=console, transient=True):
        for maps, target in zip(bucket, targets[bucket[0].name], strict=True):
            maps.save(target)
        done += 1
        if done == 1:
            console.print("\n".join(maps.describe() for maps in bucket), highlight=False, soft_wrap=True)
    already = len(paths) - done - len(failed)
    console.print(f"{done} read into {out}" + (f", {already} were there already" if already else ""), soft_wrap=True)
    for message in failed:
        say_error(message)
    if failed:
        raise typer.Exit(2)


@command(
    app,
    panel="Read photos",
    examples=(
        "shiftless match a.jpg b.jpg --model sd15",
        "shiftless match a.jpg b.jpg --model sd15 --at 120,80 --at 60,40 --mutual",
        "shiftless match a.jpg b.jpg --model sd15 --control canny --start 240 --timestep 200 --out steered.png",
    ),
)
@takes_recipe
def match(
    a: Annotated[Path, typer.Argument(help="The photo where you point.")],
    b: Annotated[Path, typer.Argument(help="The photo to search.")],
    recipe: Recipe,
    at: Annotated[list[str], typer.Option(help="A point of A as X,Y in its own pixels; repeat for more.")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture of the matches.")] = Path("match.png"),
    model: Model = "mini",
    mutual: Annotated[bool, typer.Option(help="Also say which points find their way back.")] = False,
    refine: Annotated[
        str, typer.Option(help="upsample (as published), cell, or soft (sub-pixel soft-argmax).")
    ] = "upsample",
    fill: Fill = None,
    captions: Captions = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Find where points of photo A are in photo B; original pixels in, original pixels out.

    What steers the model is a flag: --prompt auto, --control canny --start 240, --lora FILE.

    Without --at, a grid of points is tried and the mutual matches are kept.
    """
    from rich.console import Console
    from rich.table import Table

    from shiftless.backbones.registry import load
    from shiftless.image import open_photo
    from shiftless.reading import extract as read
    from shiftless.tasks.correspondence import heat
    from shiftless.tasks.correspondence import match as find
    from shiftless.tasks.mutual import mutual_matches
    from shiftless.view import match_sheet, save_picture

    points = [_point(text) for text in at]
    first, second = open_photo(a), open_photo(b)
    values = filler([recipe], fill, captions, [a, b])
    maps_a, maps_b = read(load(model, device=device, dtype=dtype), [first, second], recipe, fill=values)
    if points:
        found = find(maps_a, maps_b, points, refine=refine, mutual=mutual)
    else:
        found = mutual_matches(maps_a, maps_b, refine=refine)
    console = Console(width=None if Console().is_terminal else 100)
    table = Table(title=f"{a.name} -> {b.name}", caption=f"{model} · {maps_a.describe()}")
    for column in ("x", "y", "-> x", "y", "cosine", *(["finds its way back"] if found.mutual is not None else [])):
        table.add_column(column, justify="right")
    for i, (here, there) in enumerate(zip(found.source, found.points)):
        back = [] if found.mutual is None else ["yes" if found.mutual[i] else "no"]
        numbers = [f"{value:.1f}" for value in (*here, *there)]
        table.add_row(*numbers, f"{found.scores[i]:.3f}", *back)
    console.print(table)
    sheet = match_sheet(first, second, found, heat(maps_a, maps_b, found.source[0]))
    save_picture(sheet, out)
    console.print(f"picture: {out}   (heat: where in {b.name} looks like the first point)", soft_wrap=True)


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise BadInput(f"--at {text!r}: give a point as X,Y in pixels of the first photo, such as 120,80") from None
    return x, y
