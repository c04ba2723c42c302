"""The first command: demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shiftless.cli import app
from shiftless.cli.command import command
from shiftless.cli.flags import Model


@command(
    app,
    panel="Start here",
    examples=(
        "shiftless demo",
        "shiftless demo --out story",
        "shiftless demo a.jpg b.jpg --model sd15 --prompt 'a photo of a horse'",
    ),
)
def demo(
    photos: Annotated[list[Path], typer.Argument(help="Two photos of yours, in place of drawn ones.")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures and index.html.")] = Path("demo"),
    prompt: Annotated[str, typer.Option(help="What is in your photos, to see how it reduces content shift.")] = "",
    model: Model = "mini",
) -> None:
    """Show features, matches and content shift on the embedded model, as a page with pictures; minutes on a CPU."""
    from miniworld.demo import run

    run(out, [str(photo) for photo in photos], model=model, prompt=prompt)
