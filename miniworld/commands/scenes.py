"""`shiftless bench mini-scenes` and `mini-streets`: what every pixel shows, on the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from miniworld.commands.parts import ByClass
from shiftless.cli.bench import bench, show
from shiftless.cli.command import command
from shiftless.cli.flags import Batch, Device, Dtype, Json, Model, Offload, Quantise

QUICK = (24, 8, 8)
Quick = Annotated[
    bool, typer.Option("--quick", help="24, 8 and 8 pictures, 100 steps, 2 seeds: for trying, not for results.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Heads of each row; a row is their mean.")]
Keep = Annotated[
    Path | None,
    typer.Option(help="Folder of features and heads, which are made once.", show_default="out/ and the table's name"),
]
Choose = Annotated[
    bool, typer.Option("--choose", help="Change one setting at a time; scored on the pictures for validation.")
]

_HELP = {
    "scenes": "Learn the 16 classes of drawn scenes from 400 labelled pictures, and score 100 others.",
    "streets": "Learn the 19 classes of drawn streets from 400 labelled pictures, and score 100 others.",
}


def _register(name: str) -> None:
    def run_set(
        model: Model = "mini",
        quick: Quick = False,
        seeds: Seeds = 3,
        by_class: ByClass = False,
        choose: Choose = False,
        keep: Keep = None,
        batch: Batch = None,
        json: Json = None,
        device: Device = "auto",
        dtype: Dtype = "auto",
        offload: Offload = "",
        quantise: Quantise = "",
    ) -> None:
        from dataclasses import replace

        from miniworld.tables import scenes
        from miniworld.tables.parts import class_table
        from miniworld.tables.scene_tuned import odise_note, odise_rows, tuned_rows, vpd_note
        from miniworld.tables.scene_untrained import untrained_rows
        from shiftless.backbones.registry import load
        from shiftless.cli.answer import show as show_wide

        backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
        place = keep or Path("out") / f"mini-{name}"
        options: dict[str, Any] = {"batch": batch}
        if quick:
            options |= {"sizes": QUICK, "settings": replace(scenes.SETTINGS, steps=100, every=50)}
        if choose:
            show(scenes.choose(backbone, name, place, **options), json)
            return
        how: dict[str, Any] = {"settings": options.get("settings", scenes.SETTINGS), "batch": batch}
        tuned, masks = tuned_rows(backbone, place, **how), odise_rows(backbone, place, **how)
        options["others"] = {**untrained_rows(backbone), **tuned, **masks}
        options["notes"] = [*([vpd_note()] if tuned else []), *([odise_note()] if masks else [])]
        table = scenes.run(backbone, name, place, seeds=min(seeds, 2) if quick else seeds, **options)
        show(table, json)
        if by_class:
            show_wide(class_table(table))

    run_set.__doc__ = f"{_HELP[name]}\n\nmIoU, aAcc and mAcc of every method, with intervals over pictures and seeds."
    start = f"shiftless bench mini-{name}"
    examples = (
        f"{start} --quick",
        f"{start} --by-class --json {name}.json",
        f"{start} --choose --json choices.json",
    )
    command(bench, f"mini-{name}", examples=examples)(run_set)


for _name in _HELP:
    _register(_name)
