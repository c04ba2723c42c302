"""Commands that list what there is: models, taps, presets."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless.cli import app
from shiftless.cli.answer import show, write_json
from shiftless.cli.command import command

if TYPE_CHECKING:
    from shiftless.backbones.catalogue import ModelInfo

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
    examples=("shiftless models", "shiftless models flux-dev", "shiftless models flux-dev --memory"),
)
def models(
    name: Annotated[str, typer.Argument(help="Say all that is known of this one.")] = "",
    memory: Annotated[
        bool, typer.Option("--memory", help="What the weights take on the device, offloaded and quantised.")
    ] = False,
    json: Json = None,
) -> None:
    """List the known models with their size in memory and licence, and which of them are on this machine."""
    from rich.markup import escape

    from shiftless.backbones.catalogue import list_models, model_info
    from shiftless.errors import BadInput
    from shiftless.mini import embedded

    listed = [model_info(one) for one in ([name] if name else list_models())]
    if memory:
        if name in embedded():
            size = f"{listed[0].gigabytes():.2f} GB"
            raise BadInput(f"{name}: its weights take {size}, so there is nothing to offload; name another model")
        _show_memory([one.name for one in listed if one.name not in embedded()], json)
        return
    if name:
        typer.echo(_all_of(listed[0]))
        write_json(json, _plain(listed[0]))
        return
    table = _table("Models", _BELOW, "name family pixels parameters GB_in_bf16 licence here", left=("licence", "here"))
    for one in listed:
        numbers = (str(one.size), _many(one.millions), f"{one.gigabytes():.2f}")
        licence = f"{one.licence}{', gated' if one.gated else ''}"
        table.add_row(one.name, one.family, *numbers, escape(licence), "yes" if one.available else "no")
    show(table, 100)
    write_json(json, [_plain(one) for one in listed])


def _show_memory(names: list[str], json: Path | None) -> None:
    """Print what the weights of some models take on the device, in GB."""
    from shiftless.backbones.registry import models as rows
    from shiftless.backbones.weight_memory import PLACES, PRECISIONS, weight_memory
    from shiftless.progress import Progress

    keys = [(kept, place) for kept in PRECISIONS for place in PLACES]
    table = _table(
        "GB of weights on the device", _HOW, " ".join(["name", *("_".join(key).rstrip("_") for key in keys)])
    )
    found = {}
    with Progress("sizing models", len(names), "model") as step:
        for name in names:
            needed = weight_memory(rows()[name])
            found[name] = {" ".join(key).rstrip(): round(needed[key], 2) for key in keys}
            table.add_row(name, *(f"{size:.1f}" for size in found[name].values()))
            step.advance(1)
    show(table, 100)
    write_json(json, found)


def _table(title: str, caption: str, columns: str, left: tuple[str, ...] = ()) -> Any:
    """A plain table; names of columns are divided by spaces, their own spaces written as _."""
    from rich.table import Table

    style: dict[str, Any] = {"box": None, "header_style": "bold", "collapse_padding": True, "pad_edge": False}
    table = Table(title=title, caption=caption, caption_justify="left", **style)
    for column in columns.split():
        text = column in (*left, "name", "family")
        title = column.replace("_", " ")
        table.add_column(title, justify="left" if text else "right", overflow="fold", no_wrap=column == "name")
    return table


_HOW = (
    "parts: text encoders, autoencoder and denoiser by turns (--offload parts); layers: one block of them at a time.\n"
    "int8, nf4: denoiser and large text encoders with --quantise. What is computed with them comes on top."
)
_BELOW = (
    "GB: of the weights alone. The model's own page decides on the licence; gated: accept it there first.\n"
    "`shiftless models NAME` says more of one, and how to get it.\n"
    "twin:NAME exists for each but mini: the same blocks with small random weights, for tests."
)


def _all_of(info: ModelInfo) -> str:
    """All that is known of a model, a line each."""
    parts = ", ".join(f"{part} {_many(millions)}" for part, millions in info.parameters.items())
    sizes = ", ".join(f"{info.gigabytes(n):.2f} GB in {kind}" for kind, n in (("bf16 or fp16", 2), ("fp32", 4)))
    lines = {
        "what it is": f"{info.about}; made for {info.made_for}",
        "family": info.family,
        "pixels": str(info.size),
        "parameters": f"{_many(info.millions)} ({parts})",
        "weights": sizes,
        "licence": f"{info.licence}; the model's own page decides",
        "gated": "yes: accept its licence on the hub before you fetch it" if info.gated else "no",
        "here": "yes" if info.available else f"no; fetch it once with: {info.fetch}",
        "twin": f"twin:{info.name}, its blocks with small random weights" if info.fetch else "none",
    }
    return "\n".join(f"{key:<11} {value}" for key, value in {"name": info.name, **lines}.items())


def _many(millions: float) -> str:
    """A count of parameters for a reader: 22 M, 860 M, 2.57 B."""
    return f"{millions / 1000:.2f} B" if millions >= 1000 else f"{millions:.0f} M"


def _plain(info: ModelInfo) -> dict[str, Any]:
    """A model as plain values, for JSON."""
    row = {"here" if f.name == "available" else f.name: getattr(info, f.name) for f in fields(info)}
    return {**row, "parameters": dict(info.parameters), "gb_in_bf16": round(info.gigabytes(), 2)}


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
