"""`shiftless correspond`: fit a correspondence head on annotated pairs, and test it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless import plugins
from shiftless.atomic import check_writable, write_atomic
from shiftless.cli import app
from shiftless.cli.answer import note_what_it_is_for
from shiftless.cli.command import command
from shiftless.cli.flags import Batch, Device, Dtype, FlipRow, Json, Offload, Quantise, RecipeModel, model_for
from shiftless.errors import BadInput
from shiftless.presets import Preset, preset_or_file
from shiftless.recipe import recipes_to_toml

if TYPE_CHECKING:
    from shiftless.backbones.base import Backbone
    from shiftless.tasks.head import CorrespondenceHead

correspond = typer.Typer(
    help="Train a small head that merges several readings of a photo into one map to match with (GATE), and test it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(correspond, name="correspond", rich_help_panel="Measure")

READINGS = "recipe.toml"  # what `fit` writes beside a head: its readings and their model
DATA = "mini (the embedded world), an unpacked SPair-71k, or a folder of your own pairs (docs/pairs.md)."
Data = Annotated[str, typer.Option(help=DATA)]
Look = Annotated[str, typer.Option(help="With --data mini: photo, pencil, nightvision or embroidery.")]
RECIPE = "A reading to merge: a preset (all its readings) or a TOML file; repeat for a bucket of several."
ATTENTION = "A reading whose maps are joined as they are, such as attention maps; a bucket may hold its own. Repeat."
AMALGAMATOR = "gate (as published), gate-pixel, hyper, mean or concat."
SIDE = "Cells along a map's longer side; by default the finest tap's own. Fewer train faster."
NEGATIVES = "What a point is told apart from: every cell (grid) or the other points (points: fast)."


@command(
    correspond,
    examples=(
        "shiftless correspond fit --recipe gate-spair --data pairs/ --conv --out head",
        "shiftless correspond fit -m sd15 --data pairs/ -r plain.toml -r prompt.toml -a maps.toml --conv --out head",
        "shiftless correspond fit -m mini -r plain.toml -r prompt.toml --pairs 60 --steps 200 --out head",
    ),
)
def fit(
    recipe: Annotated[list[str], typer.Option("--recipe", "-r", help=RECIPE)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the head; seed-N in it if there are several.")],
    data: Data = "mini",
    model: RecipeModel = None,
    attention: Annotated[list[str], typer.Option("--attention", "-a", help=ATTENTION)] = [],  # noqa: B006
    conv: Annotated[bool, typer.Option("--conv/--no-conv", help="End with a trained 3x3 convolution.")] = False,
    amalgamator: Annotated[str, typer.Option(help=AMALGAMATOR)] = "gate",
    seeds: Annotated[int, typer.Option(min=1, help="Heads to train, alike but for their seed.")] = 1,
    pairs: Annotated[int | None, typer.Option(min=1, help="Training pairs; by default all.")] = None,
    val_pairs: Annotated[int | None, typer.Option(min=1, help="Validation pairs; by default all.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="At most so many; stops when validation does not gain.")] = 1000,
    batch_pairs: Annotated[int, typer.Option(min=1, help="Pairs a step; one, as published.")] = 1,
    side: Annotated[int | None, typer.Option(min=1, help=SIDE)] = None,
    normalise: Annotated[bool, typer.Option(help="Unit length for each tap before joining; off as published.")] = True,
    negatives: Annotated[str, typer.Option(help=NEGATIVES)] = "grid",
    look: Look = "photo",
    batch: Batch = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Fit a head: photos are read once, kept in memory, and the head trains from what was read.

    What is kept is said first, and refused where the machine's memory is smaller; --side and --pairs make it less.
    docs/gate.md has the whole way of GATE, from captions to a tested head.
    """
    from shiftless.amalgamate.saved import WEIGHTS
    from shiftless.backbones.registry import load
    from shiftless.bench.heads import annotated_pairs, keep
    from shiftless.bench.memory import memory_of_kept
    from shiftless.progress import notice
    from shiftless.tasks.contrast import NEGATIVES
    from shiftless.tasks.head import AMALGAMATORS
    from shiftless.training.head import fit as train

    for flag, value, legal in (("amalgamator", amalgamator, AMALGAMATORS), ("negatives", negatives, NEGATIVES)):
        if value not in legal:  # said before minutes of reading
            raise BadInput(f"--{flag} {value!r}: must be one of {', '.join(legal)}")
    presets, maps = _presets(recipe, "--recipe"), _presets(attention, "--attention")
    readings = [one for preset in presets for one in preset.recipes]
    merged = [one for one in readings if not one.joined]
    joined = [one for one in readings if one.joined]
    joined += [one.but(joined=True) for preset in maps for one in preset.recipes]
    if not merged:
        raise BadInput("--recipe: every reading is joined as it is; give at least one to merge")
    model = model_for(model, [*presets, *maps])
    places = [out if seeds == 1 else out / f"seed-{seed}" for seed in range(seeds)]
    check_writable(*(place / WEIGHTS for place in places))  # a place that cannot be written is told before the work
    annotated = {split: annotated_pairs(data, split, n, look) for split, n in (("train", pairs), ("val", val_pairs))}
    check_writable(out / READINGS)
    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    _note_photographs(backbone, data)
    for_all = [pair for split in annotated.values() for pair in split.pairs]
    memory = memory_of_kept(backbone, for_all, [*merged, *joined], side=side)
    memory.check()
    notice(str(memory))
    reading: dict[str, Any] = {"batch": batch, "progress": True}
    form: dict[str, Any] = {"normalise": normalise, "side": side}
    if annotated["train"].how:
        notice(annotated["train"].how)
    kept = keep(backbone, annotated["train"].pairs, [*merged, *joined], title="train", **form, **reading)
    checks = keep(
        backbone, annotated["val"].pairs, [*merged, *joined], title="validation", layout=kept.layout, **reading
    )
    notice(f"{len(merged)} readings to merge, {len(joined)} joined")
    notice(f"train {kept}, validation {checks}")
    for seed in range(seeds):
        fitted = train(
            kept, checks, amalgamator=amalgamator, conv=conv, recipes=[*merged, *joined], seed=seed, steps=steps,
            batch=batch_pairs, negatives=negatives, device=backbone.device, progress=True,
        )  # fmt: skip
        fitted.head.save_pretrained(places[seed])
        how = recipes_to_toml([*merged, *joined], "read by this head", model)
        write_atomic(places[seed] / READINGS, f"{how}\n".encode())
        scores = {row["step"]: row["pck"] for row in fitted.history}
        notice(
            f"seed {seed}: validation PCK@0.1 {scores[0]:.3f} untrained, {scores[fitted.best]:.3f} at step "
            f"{fitted.best}; {fitted.seconds:.0f} s; written: {places[seed]}"
        )


@command(
    correspond,
    "test",
    examples=(
        "shiftless correspond test head --model sd15 --data pairs/",
        "shiftless correspond test head --pairs 60 --flip",
        "shiftless correspond test head --model sd15 --data SPair-71k --split val --json heads.json",
    ),
)
def score_heads(
    head: Annotated[list[Path], typer.Argument(help="Folders that `fit` wrote; several are taken as seeds of one.")],
    data: Data = "mini",
    model: RecipeModel = None,
    split: Annotated[str, typer.Option(help="test, or val.")] = "test",
    pairs: Annotated[int | None, typer.Option(min=1, help="Only so many pairs, shared out over the kinds.")] = None,
    refine: Annotated[str, typer.Option(help="upsample (as published), cell, or soft.")] = "upsample",
    look: Look = "photo",
    flip: FlipRow = False,
    batch: Batch = None,
    json: Json = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Test heads: PCK with intervals, beside the plain mean of the same readings and beside no model at all."""
    from shiftless.backbones.registry import load
    from shiftless.bench.heads import annotated_pairs, run
    from shiftless.cli.bench import show

    heads = _heads(head)
    model = model_for(model, [preset_or_file(str(file)) for file in _readings(head)])
    annotated = annotated_pairs(data, split, pairs, look)
    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    _note_photographs(backbone, data)
    name = f"correspond {Path(data).name} {split}" + ("" if look == "photo" else f" {look}")
    options: dict[str, Any] = {"refine": refine, "flip": flip, "batch": batch, "notes": annotated.notes}
    show(run(backbone, annotated.pairs, heads, name=name, **options), json)


def _note_photographs(model: Backbone, data: str) -> None:
    """Note on stderr that pairs of photographs are not what a model was trained on; drawn pairs need no note."""
    if plugins.find(plugins.PAIRS, data) is None:
        note_what_it_is_for(model)


def _presets(names: list[str], flag: str) -> list[Preset]:
    """The presets and recipe files that a flag names, in the order given."""
    if not all(names):
        raise BadInput(f"{flag} is empty: give a preset (`shiftless presets`) or a TOML file")
    return [preset_or_file(name) for name in names]


def _readings(places: list[Path]) -> list[Path]:
    """The recipe files that `fit` wrote beside heads."""
    return [file for place in _folders(places) if (file := place / READINGS).is_file()]


def _heads(places: list[Path]) -> list[CorrespondenceHead]:
    """Open the heads."""
    from shiftless.tasks.head import CorrespondenceHead

    return [CorrespondenceHead.from_pretrained(place) for place in _folders(places)]


def _folders(places: list[Path]) -> list[Path]:
    """Return the folders of heads; one of several seeds stands for all of them."""
    folders: list[Path] = []
    for place in places:
        seeds = sorted(place.glob("seed-*"), key=lambda p: (len(p.name), p.name))
        folders += seeds if seeds and not (place / "model.safetensors").is_file() else [place]
    return folders
