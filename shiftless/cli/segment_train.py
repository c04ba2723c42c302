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
    from shiftless.training.scenesource import SceneSource
    from shiftless.tuning.published import Published
    from shiftless.tuning.settings import TuneSettings

_WIDTH_OF_MASKS = 256  # as published
_HEAD, _TRAIN, _TUNE = "Head", "Training", "Tuning of the diffusion model"
SETTINGS = (
    "Published settings that the other flags begin from: gate, gate-cityscapes, vpd (with --recipe vpd), or odise "
    "(with --recipe odise and --clip)."
)
TUNE = (
    "What learns of the model together with the head: none, prompts (learned prompt embeddings), lora, or unet (all "
    "weights of the denoiser)."
)
CLIP = (
    "The folder of a CLIP in transformers' layout. Its embeddings of the classes' names classify the masks of "
    "mask2former, and `segment words` takes other names; without it a vector is learned for each class."
)
PROMPTS = (
    "Learned prompt embeddings: tokens behind the prompt's own; classes, one token for each, in its place (VPD); or "
    "implicit, what the CLIP of --clip sees of a photo, added to them (ODISE)."
)


@command(
    segment,
    examples=(
        "shiftless segment train ADEChallengeData2016/ --recipe gate-ade20k --keep no --out net",
        "shiftless segment train cityscapes/ -r gate-cityscapes --keep no --size 1024 --out streets",
        "shiftless segment train labelled/ --model sd15 --head linear --steps 2000 --keep disk --out net",
        "shiftless segment train labelled/ --model sd15 --head mask2former --clip clip-vit-large-patch14 --out net",
        "shiftless segment train labelled/ --model sd15 --tune lora --rank 16 --steps 4000 --out net",
        "shiftless segment train ADEChallengeData2016/ --recipe vpd --settings vpd --out vpd",
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
    settings: Annotated[str, typer.Option(help=SETTINGS)] = "gate",
    keep: Annotated[
        str | None,
        typer.Option(
            help="Where features of whole photos are kept: memory, disk (OUT.run/features), or no (views of photos are "
            "read anew in every step, as published).",
            show_default="memory; no where the model is tuned",
        ),
    ] = None,
    memory: Annotated[float, typer.Option(min=0.01, help="GiB that features in memory take at most.")] = 8.0,
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            help="upernet, fpn (a feature pyramid), linear, or mask2former (masks, each of which is classified).",
            rich_help_panel=_HEAD,
            show_default="upernet",
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Channels inside, but for linear.",
            rich_help_panel=_HEAD,
            show_default="512, and 256 of mask2former",
        ),
    ] = None,
    clip: Annotated[Path | None, typer.Option(help=CLIP, rich_help_panel=_HEAD)] = None,
    queries: Annotated[
        int, typer.Option(min=1, help="Of mask2former: masks that are proposed.", rich_help_panel=_HEAD)
    ] = 100,
    layers: Annotated[
        int, typer.Option(min=1, help="Of mask2former: layers of its decoder.", rich_help_panel=_HEAD)
    ] = 9,
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
    views: Annotated[
        int | None, typer.Option(min=1, help="Views of photos in a step.", rich_help_panel=_TRAIN, show_default="2")
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(min=0, help="The first learning rate.", rich_help_panel=_TRAIN, show_default="1.6e-4"),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(min=0, help="Steps in which the rate grows.", rich_help_panel=_TRAIN, show_default="0"),
    ] = None,
    lovasz: Annotated[
        float | None,
        typer.Option(min=0, help="How much the Lovász-softmax loss counts.", rich_help_panel=_TRAIN, show_default="1"),
    ] = None,
    flip: Annotated[
        bool, typer.Option(help="Mirror half of the views; not for classes such as left leg.", rich_help_panel=_TRAIN)
    ] = True,
    every: Annotated[
        int, typer.Option(min=1, help="Steps between looks at the validation photos.", rich_help_panel=_TRAIN)
    ] = 2000,
    tune: Annotated[str | None, typer.Option(help=TUNE, rich_help_panel=_TUNE, show_default="none")] = None,
    prompts: Annotated[
        str | None, typer.Option(help=PROMPTS, rich_help_panel=_TUNE, show_default="tokens with --tune prompts")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens are learned.", rich_help_panel=_TUNE)] = 16,
    rank: Annotated[int, typer.Option(min=1, help="Rank and alpha of the LoRA.", rich_help_panel=_TUNE)] = 16,
    denoiser_lr: Annotated[
        float,
        typer.Option(help="Learning rate of --tune unet, as a factor of --lr.", rich_help_panel=_TUNE),
    ] = 0.1,
    checkpointing: Annotated[
        bool,
        typer.Option(
            help="Compute the denoiser's activations again for gradients: less memory, more time.",
            rich_help_panel=_TUNE,
        ),
    ] = True,
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
    """Train a head on the levels of a model's features, from a whole set of labelled photos.

    The model stays as it is, or learns too: --tune says what of it, and OUT then holds that beside the head. The
    settings are GATE's for ADE20K, unless --settings names others. A run that was stopped, however it was, continues
    by the same command. Several GPUs share each step's views: accelerate launch -m shiftless segment train ...
    `segment test` and `segment predict` take OUT.
    """
    from contextlib import ExitStack
    from dataclasses import replace

    from shiftless.backbones.clip_folder import open_clip
    from shiftless.bench.parts import check_classes
    from shiftless.data.scenes import read_photos, splits_of
    from shiftless.progress import QUIET, notice, set_verbosity
    from shiftless.tasks.scenehead import DECODERS, MASKS, ORDERS
    from shiftless.training.network import run_folder
    from shiftless.training.processes import Processes
    from shiftless.training.scenes import check_scene_place, fit_scenes
    from shiftless.tuning.published import published
    from shiftless.tuning.sources import KEEP, scene_source, usual_side
    from shiftless.tuning.tuning import check_tunable, tuning, tuning_dtype

    processes = Processes.launched(device)
    if not processes.main:
        set_verbosity(QUIET)
    began = published(settings)
    tuned = _tuned(began, tune, prompts, tokens, rank, denoiser_lr, checkpointing, seed)
    if tuned is not None and keep in ("memory", "disk"):
        raise BadInput(f"--keep {keep}: features of a model that learns change, so none are kept; leave --keep out")
    keep, head = keep or ("memory" if tuned is None else "no"), head or began.head
    for flag, value, legal in (("keep", keep, KEEP), ("head", head, DECODERS), ("order", order, ORDERS)):
        if value not in legal:
            raise BadInput(f"--{flag} {value}: must be one of {', '.join(legal)}")
    implicit = tuned is not None and tuned.prompts == "implicit"
    if clip is not None and head != MASKS and not implicit:
        raise BadInput(f"--clip {clip}: is for --head {MASKS} and for --prompts implicit; leave it out, or take one")
    if clip is None and implicit:
        raise BadInput("--prompts implicit: a CLIP looks at the photos; give its folder by --clip")
    if processes.number > 1 and keep != "no":
        raise BadInput(f"--keep {keep}: several devices share the reading of views; give --keep no, or take one device")
    changes: dict[str, Any] = {"batch": views, "lr": lr, "warmup": warmup, "lovasz": lovasz, "side": size or None}
    changes = {name: value for name, value in changes.items() if value is not None}
    if lr is not None:
        changes["least_lr"] = lr * (began.scenes.least_lr / began.scenes.lr)
    how = replace(began.scenes, steps=steps, flip=flip, every=every, seed=seed, **changes)
    check_scene_place(out)
    learned = drawn(read_photos(data, usual=("train",)), photos, seed)
    held = None
    if val is not None or "val" in splits_of(data):
        held = read_photos(data, "val") if val is None else read_photos(val, usual=("val",))
        check_classes(learned.classes, held, "training set")
        held = drawn(held, photos, seed)
    dtype = dtype if tuned is None else tuning_dtype(dtype, device)
    opened = None if clip is None else open_clip(clip, device)
    (reader,) = readers_for(recipe, model, [], device=device, dtype=dtype, offload=offload, quantise=quantise)
    if tuned is not None:
        check_tunable(reader.model, reader.recipes, tuned)
    for one in reader.recipes:
        if one.joined:
            raise BadInput(f"{one.label or 'a reading'}: is joined and not merged; leave it out of a head of levels")
    values = filler(reader.recipes, fill, captions, [data, *([] if val is None else [val])])
    reading: dict[str, Any] = {"keep": keep, "side": how.side, "stride": how.side, "fill": values, "batch": batch}
    reading |= {"folder": run_folder(out) / "features", "most_bytes": int(memory * 2**30)}
    with ExitStack() as stack:
        learning = None
        if tuned is not None:
            learning = stack.enter_context(tuning(reader.model, reader.recipes, tuned, learned.classes, opened))
        sources: list[SceneSource | None] = [
            None
            if one is None
            else scene_source(reader, one, len(one.classes), one.unscored, learning=learning, **reading)
            for one in (learned, held)
        ]
        first = sources[0]
        assert first is not None
        if not size and not first.window:
            how = replace(how, side=usual_side(first))
        usual = began.width if began.head == head or head != MASKS else _WIDTH_OF_MASKS
        options: dict[str, Any] = {"width": width or usual, "gated": gated, "hidden": hidden, "order": order}
        words = None
        if head == MASKS:
            options["proposals"] = {"queries": queries, "layers": layers}
            if opened is not None:
                words = opened.words(learned.classes).cpu()
                options["proposals"] |= {"words": words.shape[1], "clip": opened.fingerprint}
        fitted = fit_scenes(
            first, learned.classes, out, how, validation=sources[1], decoder=head,
            options=options, palette=learned.palette[: len(learned.classes)].tolist(), words=words, learned=learning,
            restart=restart, device=reader.model.device, processes=processes, progress=True,
        )  # fmt: skip
        also = 0 if learning is None else sum(one.numel() for group, _ in learning.groups() for one in group)
    processes.end()
    if not processes.main:
        return
    last = fitted.history[-1]
    scores = "" if held is None else f", validation mIoU {max(row['miou'] for row in fitted.history):.3f}"
    weights = sum(one.numel() for one in fitted.head.parameters())
    notice(
        f"{len(learned)} photos, {len(learned.classes)} classes, {weights / 1e6:.1f} million weights"
        f"{f' and {also / 1e6:.3g} million of the model' if also else ''}; "
        f"step {fitted.best} of {last['step']}, loss {last['loss']:.3f}{scores}"
    )
    say(f"written: {out}")


def _tuned(
    began: Published, tune: str | None, prompts: str | None, tokens: int, rank: int, denoiser_lr: float,
    checkpointing: bool, seed: int,
) -> TuneSettings | None:  # fmt: skip
    """What is tuned, as the flags and the published settings say; None is nothing."""
    from shiftless.tuning.settings import MODES, TuneSettings

    mode = tune or ("none" if began.tune is None else began.tune.mode)
    if mode not in MODES:
        raise BadInput(f"--tune {mode}: must be one of {', '.join(MODES)}")
    if mode == "none":
        if prompts is not None:
            raise BadInput(f"--prompts {prompts}: prompt embeddings learn with --tune prompts, lora or unet; give one")
        return None
    usual = began.tune.prompts if began.tune is not None and prompts is None else ""
    return TuneSettings(
        mode, prompts or usual, tokens=tokens, rank=rank, alpha=rank, denoiser_lr=denoiser_lr,
        checkpointing=checkpointing, seed=seed,
    )  # fmt: skip
