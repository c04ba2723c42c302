"""The command that says what is in photos: caption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.cli import app, say_error
from shiftless.cli.command import command
from shiftless.cli.flags import Device, writable
from shiftless.errors import BadInput


@command(
    app,
    panel="Read photos",
    examples=(
        "shiftless caption photos/ --captioner blip --out captions/",
        "shiftless caption a.jpg b.jpg --captioner florence-2",
        "shiftless caption photos/ --captioner blip-large --json captions.json --quiet",
    ),
)
def caption(
    photos: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    captioner: Annotated[
        str,
        typer.Option(
            "--captioner",
            "-c",
            help="mini (knows the drawn world only), blip, blip-large, florence-2, git, kosmos-2 ..., a hub id, or a "
            "folder of any transformers image-to-text model.",
        ),
    ] = "mini",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for one .txt a photo, as LoRA trainers read them.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option("--json", help="Write all captions here as JSON: file -> caption.", callback=writable)
    ] = None,
    device: Device = "auto",
    batch: Annotated[int, typer.Option(min=1, help="How many photos are captioned at once.")] = 8,
) -> None:
    """Say in one line what is in each photo: what prompt="auto" reads them with.

    Captions are kept (in $SHIFTLESS_CACHE, or the user's cache folder), so that a photo is captioned once by the same
    captioner. A photo that cannot be read or captioned is listed at the end, and the exit code is then 2.
    """
    from shiftless.atomic import check_writable, write_atomic
    from shiftless.backbones.device import choose_device
    from shiftless.conditions.caption import load_captioner
    from shiftless.progress import Progress, count, notice

    targets = _targets(photos, out)
    check_writable(*(targets.values() if out is not None else ()))
    model = load_captioner(captioner, device=choose_device(device))
    failed: list[str] = []
    captioned: dict[str, str] = {}
    paths = list(targets)
    parts = [paths[i : i + batch] for i in range(0, len(paths), batch)]
    with Progress(f"captioning {count(len(paths), 'photo')}", len(paths)) as step:
        for part in parts:
            for path, line in _captions(model, part, failed):
                captioned[str(path)] = line
                if out is not None:
                    write_atomic(targets[path], f"{line}\n".encode())
                else:
                    typer.echo(f"{path}: {line}")
            step.advance(len(part))
    if answers is not None:
        write_atomic(answers, (json.dumps(captioned, indent=2, ensure_ascii=False) + "\n").encode())
    if out is not None:
        notice(f"{len(captioned)} captions written into {out}")
    for message in failed:
        say_error(message)
    if failed:
        raise typer.Exit(2)


def _targets(places: Sequence[Path], out: Path | None) -> dict[Path, Path]:
    """Say for each photo where its caption goes; raises BadInput where two would go to one file."""
    from shiftless.conditions.caption_folder import caption_files
    from shiftless.image import list_photos

    if out is None:
        return {path: Path() for place in places for path in list_photos(place)}
    return {Path(photo): file for photo, file in caption_files(places, out).items()}


def _captions(model: Any, paths: Sequence[Path], failed: list[str]) -> list[tuple[Path, str]]:
    """Caption what can be, together where nothing fails; add a line to `failed` for each photo that cannot."""
    from shiftless.conditions.caption import remembered
    from shiftless.image import open_photo

    whole = []
    for path in paths:
        try:
            whole.append((path, open_photo(path)))
        except BadInput as error:
            failed.append(str(error))
    try:
        return list(zip([path for path, _ in whole], remembered(model, [photo for _, photo in whole])))
    except BadInput:  # one of them; the others are asked one by one
        pass
    pairs = []
    for path, photo in whole:
        try:
            pairs.append((path, remembered(model, [photo])[0]))
        except BadInput as error:
            failed.append(str(error))
    return pairs
