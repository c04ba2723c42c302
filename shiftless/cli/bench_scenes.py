"""`shiftless bench ade20k`, `cityscapes` and `scenes`: standard segmentation on published sets, or your own photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.cli.bench import bench, show
from shiftless.cli.command import command
from shiftless.cli.flags import Batch, Captions, Device, Dtype, Fill, Json, Offload, Quantise, filler
from shiftless.cli.segment import RECIPE, drawn, readers_for
from shiftless.cli.segment_train import SETTINGS

_DATA = (
    "The unpacked set: ADEChallengeData2016, the folder of leftImg8bit and gtFine, or for scenes any labelled photos."
)
_HELP = {
    "ade20k": "ADE20K (SceneParse150) in its published layout: mIoU, aAcc and mAcc, by published settings.",
    "cityscapes": "Cityscapes in its published layout: mIoU, aAcc and mAcc, by published settings.",
    "scenes": "Any labelled photos, your own or a published set: mIoU, aAcc and mAcc, by published settings.",
}
_EXAMPLES = {
    "ade20k": (
        "--data ADEChallengeData2016 --recipe gate-ade20k",
        "--data ADEChallengeData2016 --recipe vpd --json vpd.json",
        "--data ADEChallengeData2016 --recipe gate-ade20k-plain --photos 500 --steps 4000 --keep disk",
    ),
    "cityscapes": (
        "--data cityscapes --recipe gate-cityscapes",
        "--data cityscapes --recipe vpd --size 1024 --stride 683",
        "--data cityscapes --recipe gate-cityscapes-plain --seeds 3 --json plain.json",
    ),
    "scenes": (
        "--data CamVid --model sd15 --steps 8000 --keep disk",
        "--data VOCdevkit --recipe gate-ade20k-plain --json voc.json",
        "--data labelled --model sd15 --head linear --steps 2000 --keep memory --clip clip-vit-base-patch16",
    ),
}


def _register(name: str) -> None:
    def run_set(
        data: Annotated[Path, typer.Option(help=_DATA)],
        recipe: Annotated[list[str], typer.Option("--recipe", "-r", help=RECIPE)] = [],  # noqa: B006
        model: Annotated[str | None, typer.Option("--model", "-m", help="sd15 ..., a folder, or twin:NAME.")] = None,
        settings: Annotated[
            str | None, typer.Option(help=SETTINGS, show_default="those of the preset, else of the set")
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(
                "--out", "-o", help="Folder of features and heads, made once.", show_default="out/ and the set's name"
            ),
        ] = None,
        keep: Annotated[
            str, typer.Option(help="no reads views of photos anew, as published; disk or memory read each photo once.")
        ] = "no",
        memory: Annotated[float, typer.Option(min=0.01, help="GiB that features in memory take at most.")] = 8.0,
        photos: Annotated[int | None, typer.Option(min=1, help="Only so many of each split, drawn at random.")] = None,
        seeds: Annotated[int, typer.Option(min=1, help="Heads; a row is their mean.")] = 1,
        steps: Annotated[int | None, typer.Option(min=1, help="Steps of training.", show_default="80000")] = None,
        views: Annotated[
            int | None, typer.Option(min=1, help="Views of photos in a step.", show_default="as published")
        ] = None,
        size: Annotated[
            int | None, typer.Option(min=8, help="Pixels of a square view.", show_default="as published")
        ] = None,
        stride: Annotated[
            int | None, typer.Option(min=1, help="Pixels between windows of the test.", show_default="as published")
        ] = None,
        head: Annotated[
            str | None, typer.Option("--head", help="upernet, fpn, linear or mask2former.", show_default="as published")
        ] = None,
        width: Annotated[
            int | None, typer.Option(min=1, help="Channels inside of the head.", show_default="as published")
        ] = None,
        order: Annotated[
            str | None, typer.Option(help="Whose grid answers: the fine or coarse level.", show_default="as published")
        ] = None,
        colours: Annotated[bool, typer.Option(help="A row of the same head on colours and places.")] = True,
        clip: Annotated[Path | None, typer.Option(help="A CLIP's folder, for a row of MaskCLIP and for ODISE.")] = None,
        fill: Fill = None,
        captions: Captions = None,
        batch: Batch = None,
        json: Json = None,
        device: Device = "auto",
        dtype: Dtype = "auto",
        offload: Offload = "",
        quantise: Quantise = "",
    ) -> None:
        from dataclasses import replace

        from shiftless.bench.scenesets import run, scene_parts
        from shiftless.tuning.published import published, settings_of
        from shiftless.tuning.tuning import check_tunable, tuning_dtype

        usual = "gate-cityscapes" if name == "cityscapes" else "gate"
        how = published(settings or settings_of(recipe, usual))
        changes: dict[str, Any] = {"steps": steps, "batch": views, "side": size}
        scenes = replace(how.scenes, **{key: value for key, value in changes.items() if value is not None})
        how = replace(how, scenes=scenes, head=head or how.head, width=width or how.width, order=order or how.order)
        parts = scene_parts(data, None if name == "scenes" else name)
        held = None if parts.validation is None else drawn(parts.validation, photos)
        parts = replace(parts, train=drawn(parts.train, photos), validation=held, test=drawn(parts.test, photos))
        dtype = dtype if how.tune is None else tuning_dtype(dtype, device)
        (reader,) = readers_for(recipe, model, [], device=device, dtype=dtype, offload=offload, quantise=quantise)
        if how.tune is not None:
            check_tunable(reader.model, reader.recipes, how.tune)
        values = filler(reader.recipes, fill, captions, [data])
        options: dict[str, Any] = {"keep": keep, "side": size, "stride": stride, "seeds": seeds, "presets": recipe}
        options |= {"colours": colours, "clip": clip, "most_bytes": int(memory * 2**30), "batch": batch, "fill": values}
        show(run(reader, parts, how, out or Path("out") / name, **options), json)

    run_set.__doc__ = _HELP[name]
    examples = tuple(f"shiftless bench {name} {rest}" for rest in _EXAMPLES[name])
    command(bench, name, examples=examples)(run_set)


for _name in _HELP:
    _register(_name)
