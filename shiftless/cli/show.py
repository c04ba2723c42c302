"""Commands that list what there is: models, taps, presets."""

from __future__ import annotations

from typing import Annotated

import typer

from shiftless.cli import app
from shiftless.cli.command import command


@command(
    app,
    panel="Look around",
    examples=("shiftless taps", "shiftless taps sd15", "shiftless taps sd21 'up1.attn0*'"),
)
def taps(
    model: Annotated[str, typer.Argument(help="mini, sd15, sd21 ..., a diffusers folder, or twin:NAME.")] = "mini",
    pattern: Annotated[str, typer.Argument(help="A name or glob, such as 'up1*' or 'up*.cross.map.s*'.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Attention maps for each head too.")] = False,
) -> None:
    """List every place where a model can be read: name, channels, stride. No weights are needed."""
    from rich.console import Console
    from rich.table import Table

    from shiftless.backbones.registry import taps as taps_of
    from shiftless.taps.names import select

    found = taps_of(model)
    if pattern:
        found = select([pattern], found, model)
    table = Table(title=f"Taps of {model}", caption="channels: tokens = one a prompt token, cells = one a grid cell")
    for column in ("tap", "channels", "stride", "module"):
        table.add_column(column, no_wrap=True, justify="left" if column in ("tap", "module") else "right")
    for tap in found:
        if tap.kind == "heads" and not (every or pattern):
            continue
        unknown = "1" if tap.word else "tokens" if ".cross." in tap.name else "cells"
        unknown = f"heads x {unknown}" if tap.kind == "heads" else unknown
        where = tap.module or f"mean of {len(tap.members)} layers"
        table.add_row(tap.name, str(tap.channels or unknown), str(tap.stride), where)
    Console(width=None if Console().is_terminal else 140).print(table)


@command(
    app,
    panel="Look around",
    examples=("shiftless models", "shiftless models --json models.json", "shiftless models -q"),
)
def models() -> None:
    """List the known models, and which of them are on this machine."""
    from rich.console import Console
    from rich.table import Table

    from shiftless.backbones.registry import find
    from shiftless.backbones.registry import models as rows
    from shiftless.errors import BadInput

    table = Table(title="Models", caption="any diffusers folder or fetched hub id of these families works too")
    for column in ("name", "size", "here", "what it is, or how to get it"):
        table.add_column(column)
    table.add_row("mini", "128", "yes", "the embedded model: a small latent diffusion model of a drawn world")
    for name, row in rows().items():
        try:
            find(name)
            table.add_row(name, str(row["size"]), "yes", row["about"])
        except BadInput:
            table.add_row(name, str(row["size"]), "no", f"{row['about']}; hf download {row['hub'][0]}")
        table.add_row(f"twin:{name}", "128", "yes", "its blocks with small random weights, for tests and listings")
    Console(width=None if Console().is_terminal else 140).print(table)


@command(
    app,
    panel="Look around",
    examples=("shiftless presets", "shiftless presets dift-spair", "shiftless presets gate-spair --json gate.json"),
)
def presets(
    name: Annotated[str, typer.Argument(help="Print this one as TOML, to save and change.")] = "",
) -> None:
    """List the published recipes, or print one as a TOML file."""
    from rich.console import Console
    from rich.table import Table

    from shiftless.presets import preset
    from shiftless.presets import presets as rows

    if name:
        typer.echo(preset(name).to_toml())
        return
    table = Table(title="Published recipes", caption="use one with --recipe NAME")
    for column in ("preset", "model", "readings", "t", "taps", "source"):
        table.add_column(column, overflow="fold")
    for row in rows().values():
        first = row.recipes[0]
        table.add_row(row.name, row.model, str(len(row.recipes)), str(first.timestep), " ".join(first.taps), row.source)
    Console(width=None if Console().is_terminal else 160).print(table)
