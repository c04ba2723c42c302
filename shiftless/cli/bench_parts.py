"""`shiftless bench horse21`, `bedroom28`, `ffhq34` and `cat15`: parts from a few labels on the published sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.cli.bench import bench, show
from shiftless.cli.command import command
from shiftless.cli.flags import Batch, Captions, Device, Dtype, Fill, Json, Offload, Quantise, filler
from shiftless.cli.segment import ALSO, RECIPE, readers_for

SETS = {"horse21": "Horse-21", "bedroom28": "Bedroom-28", "ffhq34": "FFHQ-34", "cat15": "Cat-15"}
_GATE = {"horse21": "horse21", "bedroom28": "bedroom28", "ffhq34": "spair", "cat15": "spair"}  # whose bucket is shown
_DDPM = {"horse21": "lsun-horse", "bedroom28": "lsun-bedroom", "ffhq34": "ffhq", "cat15": "lsun-cat"}
"""The folder of the DDPM of each set's pictures, as examples name it; its checkpoint is converted first."""
_DATA = "The unpacked datasets of ddpm-segmentation."


def _register(name: str, title: str) -> None:
    def run_set(
        data: Annotated[Path, typer.Option(help=_DATA)],
        recipe: Annotated[list[str], typer.Option("--recipe", "-r", help=RECIPE)] = [],  # noqa: B006
        model: Annotated[str | None, typer.Option("--model", "-m", help="sd15 ..., a folder, or twin:NAME.")] = None,
        also: Annotated[list[str], typer.Option("--also", help=ALSO)] = [],  # noqa: B006
        splits: Annotated[int, typer.Option(min=1, help="Random splits; a row is their mean.")] = 5,
        members: Annotated[int, typer.Option(min=1, help="Classifiers that vote.")] = 10,
        pixels: Annotated[int, typer.Option(min=64, help="Pixels drawn of each photo, at most.")] = 16384,
        memory: Annotated[float, typer.Option(min=0.01, help="GiB that the drawn pixels take at most.")] = 4.0,
        balance: Annotated[float, typer.Option(min=0, max=1, help="0 draws pixels as they are, as published.")] = 0.0,
        gated: Annotated[bool, typer.Option("--gated/--mean", help="Weigh several readings, or average.")] = True,
        fill: Fill = None,
        captions: Captions = None,
        batch: Batch = None,
        json: Json = None,
        device: Device = "auto",
        dtype: Dtype = "auto",
        offload: Offload = "",
        quantise: Quantise = "",
    ) -> None:
        from shiftless.bench.scarce import run

        readers = readers_for(recipe, model, also, device=device, dtype=dtype, offload=offload, quantise=quantise)
        recipes = [one for reader in readers for one in reader.recipes]
        options: dict[str, Any] = {"splits": splits, "presets": recipe, "batch": batch}
        options["fill"] = filler(recipes, fill, captions, [data])
        options["sample"] = {"per_photo": pixels, "most_bytes": int(memory * 2**30), "balance": balance}
        options["fitting"] = {"members": members, "gated": gated, "standardise": False}
        show(run(readers, data, name, **options), json)

    run_set.__doc__ = f"{title} in its published layout: mIoU over random splits, with the published settings."
    start = f"shiftless bench {name} --data datasets"
    examples = (
        f"{start} --recipe ddpm-segmentation --model {_DDPM[name]}",
        f"{start} --recipe mae-segmentation --mean",
        f"{start} --recipe gate-{_GATE[name]} --also {_DDPM[name]}=ddpm-segmentation --json {name}.json",
    )
    command(bench, name, examples=examples)(run_set)


for _name, _title in SETS.items():
    _register(_name, _title)
