"""`shiftless segment`: fit a head on a few labelled photos, test it, and segment others with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless.atomic import check_writable
from shiftless.cli import app
from shiftless.cli.answer import note_what_it_is_for, say, show, write_json
from shiftless.cli.command import command
from shiftless.cli.flags import Batch, Captions, Device, Dtype, Fill, Json, Offload, Quantise, filler, model_for
from shiftless.cli.segmenters import open_segmenter
from shiftless.errors import BadInput
from shiftless.presets import default_recipe, preset_or_file

if TYPE_CHECKING:
    import numpy as np

    from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
    from shiftless.reading.together import Reader
    from shiftless.recipe import Recipe
    from shiftless.tasks.parts import Parts

segment = typer.Typer(
    help="Say what every pixel shows: small classifiers, or a network, on features of labelled photos.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(segment, name="segment", rich_help_panel="Measure")

HEAD = "The file that `segment fit` wrote."
ANY_HEAD = f"{HEAD[:-1]}, or the folder of `segment train` or `segment distill`."
LABELLED = (
    "A folder of labelled photos: images/ and masks/ (indexed PNG or .npy), LabelMe files beside photos, or COCO "
    "(docs/segmentation.md)."
)
LABELLED_OR_SET = f"{LABELLED[:-1]}; or ADE20K, Cityscapes, CamVid, PASCAL VOC 2012 or Context as unpacked."
RECIPE = "A reading to merge: a preset (all its readings) or a TOML file; repeat for a bucket of several."
ALSO = (
    "Another model's readings, beside the first's: a preset or TOML file that names its model, or MODEL=PRESET. Repeat."
)
SPLIT = "Of a folder with splits: train, val or test."
SOME = "Only so many of the photos, drawn by --seed."
SIDE = "Cells along the longer side of the grid that pixels are classified on."
MODELS = "The models that read photos for the head, in its order; by default those that it was fitted with."
Models = Annotated[list[str], typer.Option("--model", "-m", help=MODELS)]
STRIDE = "Of a head that was trained on views: pixels between the windows that photos are read by; 0 reads them whole."
Stride = Annotated[int | None, typer.Option(min=0, help=STRIDE, show_default="the window's own size")]
Side = Annotated[int, typer.Option(min=1, help=SIDE)]


@command(
    segment,
    examples=(
        "shiftless segment fit labelled/ --out head.safetensors",
        "shiftless segment fit horses/ -r gate-horse21 --also lsun-horse=ddpm-segmentation --out head.safetensors",
        "shiftless segment fit rooms/ -m sd15 -r plain.toml -r canny.toml --out rooms.safetensors",
    ),
)
def fit(
    labelled: Annotated[Path, typer.Argument(help=LABELLED)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The head's file, such as head.safetensors.")],
    recipe: Annotated[list[str], typer.Option("--recipe", "-r", help=RECIPE)] = [],  # noqa: B006
    model: Annotated[str | None, typer.Option("--model", "-m", help="mini, sd15 ..., a folder, or twin:NAME.")] = None,
    also: Annotated[list[str], typer.Option("--also", help=ALSO)] = [],  # noqa: B006
    split: Annotated[str | None, typer.Option(help=SPLIT, show_default="train, where there are splits")] = None,
    photos: Annotated[int | None, typer.Option(min=1, help=SOME)] = None,
    members: Annotated[int, typer.Option(min=1, help="Classifiers that vote.")] = 10,
    pixels: Annotated[int, typer.Option(min=64, help="Pixels drawn of each photo, at most.")] = 4096,
    memory: Annotated[float, typer.Option(min=0.01, help="GiB that the drawn pixels take at most.")] = 2.0,
    balance: Annotated[
        float, typer.Option(min=0, max=1, help="0 draws pixels as they are, 1 the same number of each class.")
    ] = 0.5,
    gated: Annotated[bool, typer.Option("--gated/--mean", help="Weigh several readings (GATE), or average.")] = True,
    hidden: Annotated[int, typer.Option(min=1, help="Width of the networks that weigh readings.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, drawn pixels and batches.")] = 0,
    fill: Fill = None,
    captions: Captions = None,
    batch: Batch = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Fit a head on labelled photos: each is read once, some of its pixels are kept, and small classifiers learn them.

    Thirty photos are enough for parts such as ears, legs and wheels. The file holds the head, its classes and colours,
    and the recipes and models that it reads photos with.
    """
    from shiftless.bench.parts import fit_parts, read_labelled_photos
    from shiftless.data.labelled import read_labelled
    from shiftless.data.labelledphoto import never_labelled
    from shiftless.progress import notice

    if out.suffix != ".safetensors":
        raise BadInput(f"--out {out}: give a file that ends in .safetensors")
    check_writable(out)
    learned = drawn(read_labelled(labelled, split, usual="train"), photos, seed)
    readers = readers_for(recipe, model, also, device=device, dtype=dtype, offload=offload, quantise=quantise)
    recipes = [one for reader in readers for one in reader.recipes]
    values = filler(recipes, fill, captions, [labelled])
    if never := never_labelled(learned):
        notice(f"never labelled in these photos, so never predicted: {', '.join(never)}")
    rows = read_labelled_photos(readers, learned, fill=values, batch=batch, progress=True)
    sample = {"per_photo": pixels, "most_bytes": int(memory * 2**30), "balance": balance, "seed": seed}
    fitted, kept = fit_parts(
        rows, learned, sample=sample, members=members, gated=gated, hidden=hidden, seed=seed, recipes=recipes,
        device=readers[0].model.device, progress=True,
    )  # fmt: skip
    for line in kept.skipped[:5]:
        notice(f"too small to learn from: {line}")
    if len(kept.skipped) > 5:
        notice(f"... and {len(kept.skipped) - 5} more")
    fitted.head.save(out)
    loss = fitted.history[-1]["loss"]
    notice(
        f"{len(learned)} photos, {len(kept):,} pixels ({kept.bytes() / 2**20:.0f} MiB), "
        f"{len(learned.classes)} classes; "
        f"{members} classifiers stopped at steps {min(fitted.steps)} to {max(fitted.steps)}, loss {loss:.3f}; "
        f"{fitted.seconds:.0f} s"
    )
    say(f"written: {out}")


@command(
    segment,
    "test",
    examples=(
        "shiftless segment test head.safetensors labelled/",
        "shiftless segment test head.safetensors labelled/ --split val --json scores.json",
        "shiftless segment test head.safetensors labelled/ --beside labelled/ --out report",
    ),
)
def score(
    head: Annotated[Path, typer.Argument(help=ANY_HEAD)],
    labelled: Annotated[Path, typer.Argument(help=LABELLED_OR_SET)],
    model: Models = [],  # noqa: B006
    split: Annotated[str | None, typer.Option(help=SPLIT, show_default="test or val, where there are splits")] = None,
    beside: Annotated[
        Path | None,
        typer.Option(help="The labelled photos of the fit: adds rows of what needs no model, fitted on these."),
    ] = None,
    photos: Annotated[int | None, typer.Option(min=1, help="Only so many of the photos, drawn at random.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for a page with pictures.")] = None,
    side: Side = 256,
    stride: Stride = None,
    fill: Fill = None,
    captions: Captions = None,
    batch: Batch = None,
    json: Json = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Test a head or a network on labelled photos: mIoU, accuracies, each class's IoU, with intervals over photos."""
    from shiftless.bench.parts import gain_of, rows_of, without_model
    from shiftless.data.scenes import read_photos
    from shiftless.image import open_photo
    from shiftless.view.segmentation_page import LeastCertain, SegmentedPhoto, segmentation_page

    if out is not None:
        check_writable(out / "index.html")
    tested = drawn(read_photos(labelled, split, usual=("test", "val")), photos)
    how: dict[str, Any] = {"device": device, "dtype": dtype, "offload": offload, "quantise": quantise}
    how |= {"fill": fill, "captions": captions, "batch": batch}
    segmenter = open_segmenter(head, model, [labelled], side=side, stride=stride, **how)
    least = LeastCertain()

    def keep(one: LabelledPhoto, mask: np.ndarray, parts: Parts) -> None:
        least.add(SegmentedPhoto(one.name, open_photo(one.photo).array, parts.mask, parts.uncertainty, mask))

    table, counted = segmenter.score(tested, f"segment {labelled.name}", None if out is None else keep)
    if beside is not None:
        train = read_photos(beside, usual=("train",))
        same = [one for one in train if one.name in segmenter.fitted_on]
        for name, others in without_model(train.but(same) if same else train, tested):
            table.rows.extend([*rows_of(name, others), gain_of(f"{segmenter.what} - {name}", counted, others)])
    show(table)
    show(_by_class(tested.classes, counted))
    write_json(json, table.to_dict())
    if out is not None:
        whole = sum(counted[1:], counted[0])
        scores = [(row.metric, row.value) for row in table.rows[:3]]
        page = segmentation_page(
            out, least.photos, tested.classes, tested.palette, total=len(tested), scores=scores, ious=whole.ious(),
            counts=whole.counts,
        )  # fmt: skip
        say(f"written: {page}")


def drawn(labelled: LabelledPhotos, photos: int | None, seed: int = 0) -> LabelledPhotos:
    """Draw so many labelled photos at random, in their own order; all of them if there are no more."""
    import numpy as np

    if photos is None or photos >= len(labelled):
        return labelled
    chosen = np.random.default_rng([seed, 5]).permutation(len(labelled))[:photos]
    return labelled.but([labelled[int(i)] for i in sorted(chosen)])


def _by_class(classes: Sequence[str], counted: Sequence[Any]) -> Any:
    """A table of each class's IoU, and how much of the labelled pixels it has."""
    from rich import box
    from rich.table import Table

    whole = sum(counted[1:], counted[0])
    there = whole.totals()[1]
    shown = Table(box=box.SIMPLE_HEAD)
    for name, justify in (("class", "left"), ("IoU", "right"), ("of labelled pixels", "right")):
        shown.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, iou, pixels in zip(classes, whole.ious(), there):
        share = f"{pixels / max(1, there.sum()):.1%}" if pixels else "not labelled"
        shown.add_row(name, "" if iou != iou else f"{iou:.3f}", share)
    return shown


def readers_for(recipe: list[str], model: str | None, also: list[str], **how: Any) -> list[Reader]:
    """The models to read with, loaded: that of --recipe, then one for each --also."""
    from shiftless.backbones.registry import load
    from shiftless.reading.together import Reader

    named = [preset_or_file(one) for one in recipe]
    name = model_for(model, named)
    others = [_beside(one) for one in also]
    first = load(name, **how)
    note_what_it_is_for(first)
    own = [r for one in named for r in one.recipes] or [default_recipe(first.spec.name, first.spec.family)]
    ordered = [*(r for r in own if not r.joined), *(r for r in own if r.joined)]
    return [Reader(first, tuple(ordered)), *(Reader(load(other, **how), recipes) for other, recipes in others)]


def _beside(given: str) -> tuple[str, tuple[Recipe, ...]]:
    """The model and recipes that an --also names."""
    model, named, place = given.rpartition("=")
    preset = preset_or_file(place)
    if not named and not preset.model:
        raise BadInput(f"--also {given}: names no model; give MODEL={given}")
    return model or preset.model, preset.recipes
