"""`shiftless bench`: measure on your own pairs or on published datasets; other packages add tables of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.cli import app
from shiftless.cli.answer import note_what_it_is_for, say
from shiftless.cli.command import command
from shiftless.cli.flags import Batch, Device, Dtype, FlipRow, Json, Model, Offload, Quantise, takes_recipe
from shiftless.recipe import Recipe

bench = typer.Typer(
    help="Measure: tables with 95% intervals; a recipe's scores on pairs stand beside two controls (no model; the same "
    "network untrained).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(bench, name="bench", rich_help_panel="Measure")

Data = Annotated[Path, typer.Option(help="The dataset's folder.")]
Count = Annotated[int | None, typer.Option("--pairs", min=1, help="Only so many pairs, shared out over the kinds.")]
Refine = Annotated[str, typer.Option(help="upsample (as published), cell, or soft.")]


@command(
    bench,
    "pairs",
    examples=(
        "shiftless bench pairs --data pairs/ --model sd15",
        "shiftless bench pairs --data pairs/ --recipe dift-spair --json dift.json",
        "shiftless bench pairs --data pairs/ --model sd15 --timestep 100 --taps up1,up2 --flip",
    ),
)
@takes_recipe
def pairs_of_yours(
    data: Data,
    recipe: Recipe,
    model: Model = "mini",
    pairs: Count = None,
    refine: Refine = "upsample",
    flip: FlipRow = False,
    batch: Batch = None,
    json: Json = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Match your own annotated pairs; docs/pairs.md describes the folder's layout."""
    from shiftless.backbones.registry import load
    from shiftless.bench.folder import run

    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    note_what_it_is_for(backbone)
    show(run(backbone, data, recipe, n=pairs, refine=refine, flip=flip, batch=batch), json)


@command(
    bench,
    "spair",
    examples=(
        "shiftless bench spair --data SPair-71k --recipe dift-spair",
        "shiftless bench spair --data SPair-71k --split val --per-category 20 --flip",
        "shiftless bench spair --data SPair-71k --category cat --pairs 50 --json cats.json",
    ),
)
@takes_recipe
def spair(
    data: Data,
    recipe: Recipe,
    model: Model = "sd15",
    split: Annotated[str, typer.Option(help="trn, val or test.")] = "test",
    category: Annotated[str | None, typer.Option(help="Only this category.")] = None,
    per_category: Annotated[
        int | None, typer.Option(min=1, help="So many pairs of each; 20 of val are the papers' 360.")
    ] = None,
    pairs: Count = None,
    refine: Refine = "upsample",
    flip: FlipRow = False,
    batch: Batch = None,
    json: Json = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """SPair-71k in its published layout: PCK at image and box thresholds."""
    from shiftless.backbones.registry import load
    from shiftless.bench.spair import run

    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    chosen: dict[str, Any] = {"split": split, "category": category, "per_category": per_category, "n": pairs}
    show(run(backbone, data, recipe, refine=refine, flip=flip, batch=batch, **chosen), json)


def show(table: Any, json: Path | None) -> None:
    """Print a table, and write it as JSON if asked to."""
    from rich.console import Console

    Console(width=None if Console().is_terminal else 140).print(table)
    if json is not None:
        table.write(json)
        say(f"written: {json}")
