"""`shiftless segment train`: a network on a diffusion model's features, learned from a whole set of labelled photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless.cli.answer import say
from shiftless.cli.command import command
from shiftless.cli.flags import Batch, Captions, Device, Dtype, Fill, Offload, Quantise, filler
from shiftless.cli.segment import LABELLED_OR_SET, RECIPE, drawn, readers_for, segment
from shiftless.errors import BadInput

if TYPE_CHECKING:
    from shiftless.data.labelledphoto import LabelledPhotos
    from shiftless.reading.together import Reader
    from shiftless.training.scenesource import SceneSource

KEEP = ("memory", "disk", "no")
_HEAD, _TRAIN = "Head", "Training"
_RATIO = 1e-4 / 1.6e-4  # of the least rate to the first, as published


@command(
    segment,
    examples=(
        "shiftless segment train ADEChallengeData2016/ --recipe gate-ade20k --keep no --out net",
        "shiftless segment train cityscapes/ -r gate-cityscapes --keep no --size 1024 --out streets",
        "shiftless segment train labelled/ --model sd15 --head linear --steps 2000 --keep disk --out net",
    ),
)
def train(
    data: Annotated[Path, typer.Argument(help=LABELLED_OR_SET)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the head; checkpoints lie in OUT.run beside it.")],
    recipe: Annotated[list[str], typer.Option("--recipe", "-r", help=RECIPE)] = [],  # noqa: B006
    model: Annotated[str | None, typer.Option("--model", "-m", help="mini, sd15 ..., a folder, or twin:NAME.")] = None,
    val: Annotated[
        Path | None,
        typer.Option(
            help="Labelled photos that choose the step to keep.", show_default="the split val of DATA, if it has one"
        ),
    ] = None,
    photos: Annotated[int | None, typer.Option(min=1, help="Only so many photos, drawn at random.")] = None,
    keep: Annotated[
        str,
        typer.Option(
            help="Where features of whole photos are kept: memory, disk (OUT.run/features), or no (views of photos are "
            "read anew in every step, as published)."
        ),
    ] = "memory",
    memory: Annotated[float, typer.Option(min=0.01, help="GiB that features in memory take at most.")] = 8.0,
    head: Annotated[
        str, typer.Option("--head", help="upernet, fpn (a feature pyramid) or linear.", rich_help_panel=_HEAD)
    ] = "upernet",
    width: Annotated[int, typer.Option(min=1, help="Channels inside of upernet and fpn.", rich_help_panel=_HEAD)] = 512,
    gated: Annotated[
        bool,
        typer.Option("--gated/--mean", help="Weigh several readings (GATE), or average.", rich_help_panel=_HEAD),
    ] = True,
    hidden: Annotated[
        int, typer.Option(min=1, help="Width of the networks that weigh readings.", rich_help_panel=_HEAD)
    ] = 128,
    order: Annotated[
        str,
        typer.Option(
            help="On which level's grid the answer lies: fine, or coarse as in the published code of GATE.",
            rich_help_panel=_HEAD,
        ),
    ] = "fine",
    size: Annotated[
        int,
        typer.Option(
            min=0,
            help="Pixels of a square view, to which a photo's shorter side is scaled.",
            rich_help_panel=_TRAIN,
            show_default="512, or the shorter side of the features that are kept",
        ),
    ] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.", rich_help_panel=_TRAIN)] = 80_000,
    views: Annotated[int, typer.Option(min=1, help="Views of photos in a step.", rich_help_panel=_TRAIN)] = 2,
    lr: Annotated[float, typer.Option(min=0, help="The first learning rate.", rich_help_panel=_TRAIN)] = 1.6e-4,
    lovasz: Annotated[
        float, typer.Option(min=0, help="How much the Lovász-softmax loss counts.", rich_help_panel=_TRAIN)
    ] = 1.0,
    flip: Annotated[
        bool, typer.Option(help="Mirror half of the views; not for classes such as left leg.", rich_help_panel=_TRAIN)
    ] = True,
    every: Annotated[
        int, typer.Option(min=1, help="Steps between looks at the validation photos.", rich_help_panel=_TRAIN)
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, views and dropout.")] = 0,
    restart: Annotated[bool, typer.Option("--restart", help="Train anew, and drop what a run has left.")] = False,
    fill: Fill = None,
    captions: Captions = None,
    batch: Batch = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Train a head on the levels of a model's features, from a whole set of labelled photos; the model stays as it is.

    The settings are GATE's for ADE20K. A run that was stopped, however it was, continues by the same command. `segment
    test` and `segment predict` take OUT.
    """
    from shiftless.bench.parts import check_classes
    from shiftless.data.scenes import read_photos, splits_of
    from shiftless.progress import notice
    from shiftless.tasks.scenehead import DECODERS, ORDERS
    from shiftless.training.network import run_folder
    from shiftless.training.scenes import check_scene_place, fit_scenes
    from shiftless.training.scenesettings import SceneSettings

    for flag, value, legal in (("keep", keep, KEEP), ("head", head, DECODERS), ("order", order, ORDERS)):
        if value not in legal:
            raise BadInput(f"--{flag} {value}: must be one of {', '.join(legal)}")
    fixed: dict[str, Any] = {"steps": steps, "batch": views, "lr": lr, "least_lr": _RATIO * lr, "lovasz": lovasz}
    fixed |= {"flip": flip, "every": every, "seed": seed}
    settings = SceneSettings(side=size or SceneSettings.side, **fixed)
    check_scene_place(out)
    learned = drawn(read_photos(data, usual=("train",)), photos, seed)
    held = None
    if val is not None or "val" in splits_of(data):
        held = read_photos(data, "val") if val is None else read_photos(val, usual=("val",))
        check_classes(learned.classes, held, "training set")
        held = drawn(held, photos, seed)
    (reader,) = readers_for(recipe, model, [], device=device, dtype=dtype, offload=offload, quantise=quantise)
    for one in reader.recipes:
        if one.joined:
            raise BadInput(f"{one.label or 'a reading'}: is joined and not merged; leave it out of a head of levels")
    values = filler(reader.recipes, fill, captions, [data, *([] if val is None else [val])])
    place = {"folder": run_folder(out) / "features", "most": int(memory * 2**30)}
    reading: dict[str, Any] = {"fill": values, "batch": batch}
    sources: list[SceneSource | None] = [
        None if one is None else _source(reader, one, keep, settings.side, place, reading) for one in (learned, held)
    ]
    first = sources[0]
    assert first is not None
    if not size and not first.window:
        settings = SceneSettings(side=_side(first), **fixed)
    fitted = fit_scenes(
        first, learned.classes, out, settings, validation=sources[1], decoder=head,
        options={"width": width, "gated": gated, "hidden": hidden, "order": order},
        palette=learned.palette[: len(learned.classes)].tolist(), restart=restart, device=reader.model.device,
        progress=True,
    )  # fmt: skip
    last = fitted.history[-1]
    scores = "" if held is None else f", validation mIoU {max(row['miou'] for row in fitted.history):.3f}"
    weights = sum(one.numel() for one in fitted.head.parameters())
    notice(
        f"{len(learned)} photos, {len(learned.classes)} classes, {weights / 1e6:.1f} million weights; "
        f"step {fitted.best} of {last['step']}, loss {last['loss']:.3f}{scores}"
    )
    say(f"written: {out}")


def _source(
    reader: Reader, labelled: LabelledPhotos, keep: str, side: int, place: dict[str, Any], reading: dict[str, Any]
) -> SceneSource:
    """Labelled photos with their features, kept as the user says."""
    from shiftless.reading.together import stream_together
    from shiftless.store.buckets import store_buckets
    from shiftless.training.scenesource import KeptScenes, ReadScenes, in_memory, picture_of

    classes, unscored = len(labelled.classes), labelled.unscored
    if keep == "no":
        return ReadScenes(reader, labelled, classes, side, unscored, stride=side, **reading)
    pictures = [picture_of(one) for one in labelled]
    if keep == "disk":
        stored = store_buckets(place["folder"], reader, pictures, progress=True, **reading)
        return KeptScenes(labelled, stored, classes, unscored)
    read = stream_together([reader], pictures, dtype=None, progress=True, **reading)
    return KeptScenes(labelled, in_memory((one for (one,) in read), len(labelled), place["most"]), classes, unscored)


def _side(source: Any) -> int:
    """The shorter side of photos as they were read, in whole cells of the coarsest level."""
    stride = source.levels.strides[-1]
    return max(stride, min(source.fed) // stride * stride)
