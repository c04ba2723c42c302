"""`shiftless bench mini-parts` and `mini-rooms`: parts from a few labels, on the embedded world."""

from __future__ import annotations

from typing import Annotated

import typer

from shiftless.cli.bench import bench, show
from shiftless.cli.command import command
from shiftless.cli.flags import Batch, Device, Dtype, Json, Model, Offload, Quantise

QUICK = (12, 8)
Quick = Annotated[bool, typer.Option("--quick", help="Two splits of 12 and 8 pictures: for trying, not for results.")]
Splits = Annotated[int, typer.Option(min=1, help="Random splits of one pool of pictures; a row is their mean.")]
Choose = Annotated[
    bool, typer.Option("--choose", help="Try timesteps, taps and ways to fit on pictures that no row is scored on.")
]
ByClass = Annotated[bool, typer.Option("--by-class", help="Print each method's IoU of each class too.")]


_HELP = {
    "parts": "Learn 21 parts of horses with riders from 30 labelled pictures, and score 30 others: mIoU of every "
    "method.",
    "rooms": "Learn the 28 classes of bedrooms from 40 labelled pictures, and score 20 others: mIoU of every method.",
}


def _register(name: str) -> None:
    def run_set(
        model: Model = "mini",
        quick: Quick = False,
        splits: Splits = 5,
        by_class: ByClass = False,
        choose: Choose = False,
        batch: Batch = None,
        json: Json = None,
        device: Device = "auto",
        dtype: Dtype = "auto",
        offload: Offload = "",
        quantise: Quantise = "",
    ) -> None:
        _run(name, model, quick, splits, by_class, choose, batch, json, device, dtype, offload, quantise)

    run_set.__doc__ = _HELP[name]
    start = f"shiftless bench mini-{name}"
    examples = (
        f"{start} --quick",
        f"{start} --by-class --json {name}.json",
        f"{start} --choose --json choices.json",
    )
    command(bench, f"mini-{name}", examples=examples)(run_set)


for _name in _HELP:
    _register(_name)


def _run(
    name: str,
    model: str,
    quick: bool,
    splits: int,
    by_class: bool,
    choose: bool,
    batch: int | None,
    json: Json,
    *how: str,
) -> None:
    from miniworld.tables.part_choices import choose as tried
    from miniworld.tables.parts import class_table, run
    from shiftless.backbones.registry import load
    from shiftless.cli.answer import show as show_wide

    device, dtype, offload, quantise = how
    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    if choose:
        show(tried(backbone, name, batch=batch), json)
        return
    table = run(backbone, name, splits=min(splits, 2) if quick else splits, n=QUICK if quick else None, batch=batch)
    show(table, json)
    if by_class:
        show_wide(class_table(table))
