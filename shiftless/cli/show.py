"""Commands that list what there is: models, taps, presets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shiftless.cli import app
from shiftless.cli.answer import show, write_json
from shiftless.cli.command import command

Json = Annotated[Path | None, typer.Option("--json", help="Write the list here as JSON.")]


@command(
    app,
    panel="Look around",
    examples=("shiftless taps", "shiftless taps sd15", "shiftless taps sd21 'up1.attn0*'"),
)
def taps(
    model: Annotated[str, typer.Argument(help="mini, sd15, sd21 ..., a diffusers folder, or twin:NAME.")] = "mini",
    pattern: Annotated[str, typer.Argument(help="A name or glob, such as 'up1*' or 'up*.cross.map.s*'.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Attention maps for each head too.")] = False,
    json: Json = None,
) -> None:
    """List every place where a model can be read: name, channels, stride. No weights are needed."""
    from rich.table import Table

    from shiftless.backbones.registry import taps as taps_of
    from shiftless.taps.names import select

    listed = taps_of(model)
    if pattern:
        listed = select([pattern], listed, model)
    table = Table(title=f"Taps of {model}", caption="channels: tokens = one a prompt token, cells = one a grid cell")
    for column in ("tap", "channels", "stride", "module"):
        table.add_column(column, no_wrap=True, justify="left" if column in ("tap", "module") else "right")
    shown = [tap for tap in listed if tap.kind != "heads" or every or pattern]
    for tap in shown:
        unknown = "1" if tap.word else "tokens" if tap.over_words else "cells"
        unknown = f"heads x {unknown}" if tap.kind == "heads" else unknown
        where = tap.module or f"mean of {len(tap.members)} layers"
        table.add_row(tap.name, str(tap.channels or unknown), str(tap.stride), where)
    show(table)
    write_json(json, [{"tap": t.name, "channels": t.channels, "stride": t.stride, "module": t.module} for t in shown])


@command(
    app,
    panel="Look around",
    examples=("shiftless models", "shiftless models --json models.json", "shiftless models -q"),
)
def models(json: Json = None) -> None:
    """List the known models, and which of them are on this machine."""
    from rich.table import Table

    from shiftless.backbones.families import SUPPORTED
    from shiftless.backbones.registry import MINI_MADE_FOR, find, how_to_fetch
    from shiftless.backbones.registry import models as rows
    from shiftless.errors import BadInput

    about = "the embedded model: a small latent diffusion model of a drawn world"
    models_listed: list[tuple[str, int, str, bool, str]] = [("mini", 128, MINI_MADE_FOR, True, about)]
    for name, row in rows().items():
        try:
            find(name)
            models_listed.append((name, row["size"], row["made_for"], True, row["about"]))
        except BadInput:
            models_listed.append((name, row["size"], row["made_for"], False, f"{row['about']}; {how_to_fetch(name)}"))
        models_listed.append(
            (f"twin:{name}", 128, "tests", True, "its blocks with small random weights, for listings too")
        )
    table = Table(title="Models", caption=SUPPORTED)
    for column in ("name", "size", "made for", "here", "what it is, or how to get it"):
        table.add_column(column, overflow="fold")
    for name, size, made_for, here, text in models_listed:
        table.add_row(name, str(size), made_for, "yes" if here else "no", text)
    show(table)
    keys = ("name", "size", "made_for", "here", "about")
    write_json(json, [dict(zip(keys, one)) for one in models_listed])


@command(
    app,
    panel="Look around",
    examples=("shiftless presets", "shiftless presets dift-spair", "shiftless presets gate-spair --json gate.json"),
)
def presets(
    name: Annotated[str, typer.Argument(help="Print this one as TOML, to save and change.")] = "",
    json: Json = None,
) -> None:
    """List the published recipes, or print one as a TOML file."""
    from rich.table import Table

    from shiftless.presets import preset
    from shiftless.presets import presets as rows

    chosen = [preset(name)] if name else list(rows().values())
    plain = [
        {"name": one.name, "model": one.model, "source": one.source, "readings": [r.to_dict() for r in one.recipes]}
        for one in chosen
    ]
    if name:
        typer.echo(preset(name).to_toml())
        write_json(json, plain[0])
        return
    table = Table(title="Published recipes", caption="use one with --recipe NAME")
    for column in ("preset", "model", "readings", "t", "taps", "source"):
        table.add_column(column, overflow="fold")
    for row in chosen:
        first = row.recipes[0]
        table.add_row(row.name, row.model, str(len(row.recipes)), str(first.timestep), " ".join(first.taps), row.source)
    show(table, 160)
    write_json(json, plain)
