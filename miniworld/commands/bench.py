"""`shiftless bench mini-*`: tables on the embedded world, whose truth is exact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.cli.answer import say
from shiftless.cli.bench import Count, Refine, bench, show
from shiftless.cli.command import command
from shiftless.cli.flags import FLIP_ROW, Batch, Device, Dtype, Json, Model, Offload, Quantise, takes_recipe, writable
from shiftless.recipe import Recipe

LOOK = "photo, or a look that the embedded denoiser was not trained on: pencil, nightvision, embroidery."


@command(
    bench,
    "mini-pairs",
    examples=(
        "shiftless bench mini-pairs --quick",
        "shiftless bench mini-pairs --timestep 200 --taps up0,up1 --json pairs.json",
        "shiftless bench mini-pairs --sweep --out sweep.png",
    ),
)
@takes_recipe
def mini_pairs(
    recipe: Recipe,
    model: Model = "mini",
    quick: Annotated[bool, typer.Option("--quick", help="60 pairs in place of 360.")] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Timesteps x taps on validation pairs, drawn as curves.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="With --sweep: the picture.")] = Path("sweep.png"),
    split: Annotated[str, typer.Option(help="test, or val to choose settings by.")] = "test",
    look: Annotated[str, typer.Option(help=LOOK)] = "photo",
    pairs: Count = None,
    refine: Refine = "upsample",
    flip: Annotated[bool, typer.Option(help=FLIP_ROW)] = True,
    batch: Batch = None,
    json: Json = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Match 360 fixed pairs of the embedded world: one kind a pair, all else different, exact ground truth."""
    from shiftless.backbones.registry import load
    from shiftless.view.curves import check_drawing

    if sweep:
        check_drawing(out)
    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    if sweep:
        from rich.console import Console

        from miniworld.tables.sweep import run as run_sweep

        chosen: dict[str, Any] = {"n": pairs or 120, "look": look, "batch": batch}
        result = run_sweep(backbone, recipe, **chosen)
        show(result, json)
        result.draw(out)
        best = result.best
        Console().print(
            f"picture: {out}   best on validation: t={best.timestep}, taps {'+'.join(best.taps)}", soft_wrap=True
        )
        return
    from miniworld.tables.pairs import run

    options: dict[str, Any] = {"quick": quick, "n": pairs, "look": look, "refine": refine, "batch": batch}
    options["flip"] = flip
    show(run(backbone, recipe, split=split, **options), json)


@command(
    bench,
    "mini-correspondence",
    examples=(
        "shiftless bench mini-correspondence --quick",
        "shiftless bench mini-correspondence --look embroidery --json table.json",
        "shiftless bench mini-correspondence --train --seeds 3 --heads heads",
    ),
)
def mini_correspondence(
    model: Model = "mini",
    quick: Annotated[bool, typer.Option("--quick", help="60 test pairs of each look in place of 360.")] = False,
    look: Annotated[
        list[str] | None, typer.Option(help="photo, embroidery ...; repeat for more. Both of these by default.")
    ] = None,
    pairs: Count = None,
    train: Annotated[
        bool, typer.Option("--train", help="Train the heads anew (about half an hour) in place of those shipped.")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="With --train: how many seeds of each head.")] = 3,
    heads: Annotated[
        Path | None, typer.Option(help="With --train: a folder for the first seed's heads, as files.")
    ] = None,
    sparsity: Annotated[
        float,
        typer.Option(min=0, help="With --train: also try gates with this sparsity term, and say how they do."),
    ] = 0.0,
    batch: Batch = None,
    json: Json = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """GATE's correspondence table in miniature: baseline, each technique, all amalgamated, on two looks.

    Trained rows use the heads that lie in the model's folder; a row whose parts are missing is left out and named.
    The baselines and GATE have a second row with flip, for which each source is read mirrored too.
    """
    from miniworld.tables.correspondence import LOOKS, run
    from shiftless.backbones.registry import load

    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    looks = tuple(look or LOOKS)
    trained: Any = None
    if train:
        from miniworld.tables.train_heads import train as train_heads

        options: dict[str, Any] = {"looks": looks, "seeds": range(seeds), "peak": sparsity, "batch": batch}
        trained = train_heads(backbone, heads, report=lambda line: typer.echo(line, err=True), **options)
    show(run(backbone, quick=quick, n=pairs, looks=looks, heads=trained, batch=batch), json)


@command(
    bench,
    "mini-attention",
    examples=(
        "shiftless bench mini-attention --quick",
        "shiftless bench mini-attention --pictures 24 --look embroidery",
        "shiftless bench mini-attention --quick --out method.png",
    ),
)
@takes_recipe
def mini_attention(
    recipe: Recipe,
    model: Model = "mini",
    quick: Annotated[bool, typer.Option("--quick", help="12 pictures in place of 48.")] = False,
    look: Annotated[str, typer.Option(help=LOOK)] = "photo",
    pictures: Annotated[int | None, typer.Option(min=1, help="So many pictures, in place of either.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Draw the first picture with every technique.", callback=writable)
    ] = None,
    batch: Batch = None,
    json: Json = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Where attention to the word "horse" lies and where the word changes features, by technique.

    Measured on drawn horses with riders.

    --control, --lora, --captioner, --start and --steps say what the techniques' columns take, in place of the model's
    own; the prompts are the bench's.
    """
    from miniworld.tables.attention import run
    from miniworld.tables.attention_picture import attention_picture
    from shiftless.backbones.registry import load

    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    show(run(backbone, recipe, look=look, quick=quick, n=pictures, batch=batch), json)
    if out is not None:
        from shiftless.view import save_picture

        save_picture(attention_picture(backbone, recipe, look).draw(), out)
        say(f"picture: {out}")


@command(
    bench,
    "mini-walks",
    examples=(
        "shiftless bench mini-walks",
        "shiftless bench mini-walks --pairs 20 --look embroidery",
        "shiftless bench mini-walks --timestep 200 --json walks.json",
    ),
)
@takes_recipe
def mini_walks(
    recipe: Recipe,
    model: Model = "mini",
    look: Annotated[str, typer.Option(help="photo, embroidery ...")] = "photo",
    pairs: Count = None,
    batch: Batch = None,
    json: Json = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """What denoising down to the timestep with a ControlNet gains, and how step size trades scores for time."""
    from miniworld.tables.walks import run
    from shiftless.backbones.registry import load

    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    show(run(backbone, recipe, n=pairs or 60, look=look, batch=batch), json)


@command(
    bench,
    "mini-lora-scale",
    examples=(
        "shiftless bench mini-lora-scale",
        "shiftless bench mini-lora-scale --look embroidery --pairs 60",
        "shiftless bench mini-lora-scale --json scale.json",
    ),
)
def mini_lora_scale(
    model: Model = "mini",
    look: Annotated[list[str] | None, typer.Option(help="photo, embroidery ...; repeat for more.")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Validation pairs of each look.")] = 180,
    batch: Batch = None,
    json: Json = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Score the LoRAs by strength, each look's own on validation pairs, and pick one strength for all."""
    from miniworld.tables.correspondence import LOOKS
    from miniworld.tables.lora_scale import run
    from shiftless.backbones.registry import load

    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    show(run(backbone, looks=tuple(look or LOOKS), n=pairs, batch=batch), json)


@command(
    bench,
    "mini-shift",
    examples=(
        "shiftless bench mini-shift",
        "shiftless bench mini-shift --pictures 24 --timestep 300",
        "shiftless bench mini-shift --look embroidery --json shift.json",
    ),
)
def mini_shift(
    model: Model = "mini",
    look: Annotated[list[str] | None, typer.Option(help="photo, embroidery ...; repeat for more.")] = None,
    pictures: Annotated[int, typer.Option(min=2, help="How many unseen pictures of each look.")] = 96,
    timestep: Annotated[list[int] | None, typer.Option(min=1, max=900, help="Repeat for more.")] = None,
    batch: Batch = None,
    json: Json = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Content shift of each technique: the error of the predicted clean latent, before anything is matched."""
    from miniworld.tables.correspondence import LOOKS
    from miniworld.tables.technique_shift import TIMESTEPS, run
    from shiftless.backbones.registry import load

    backbone = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    chosen: dict[str, Any] = {"looks": tuple(look or LOOKS), "timesteps": tuple(timestep or TIMESTEPS)}
    show(run(backbone, n=pictures, batch=batch, **chosen), json)


@command(
    bench,
    "mini-audit",
    examples=(
        "shiftless bench mini-audit --quick",
        "shiftless bench mini-audit --look photo --timestep 300",
        "shiftless bench mini-audit --out curves.png --json audit.json",
    ),
)
def mini_audit(
    model: Model = "mini",
    quick: Annotated[
        bool, typer.Option("--quick", help="Two timesteps, 4 pictures and 8 pairs: for trying, not for results.")
    ] = False,
    look: Annotated[list[str] | None, typer.Option(help="photo, embroidery ...; repeat for more.")] = None,
    timestep: Annotated[list[int] | None, typer.Option(min=1, max=900, help="Repeat for more.")] = None,
    pictures: Annotated[int, typer.Option(min=2, help="How many unseen pictures of each look are audited.")] = 24,
    pairs: Annotated[int, typer.Option(min=4, help="How many pairs of each look are matched.")] = 120,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Draw the curves: shift and matching by timestep.", callback=writable),
    ] = None,
    batch: Batch = None,
    json: Json = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Does content shift, measured without ground truth, predict how good features are? Noise x technique x look.

    Prints the rank correlation of each measure with matching and with parts, over all configurations, over the half
    that chose the audit's headline, and over the half held out: other configurations, measured on the other half of the
    pictures and pairs. --json has every configuration's numbers too.
    """
    from miniworld.tables.audit import run
    from miniworld.tables.configurations import TIMESTEPS
    from miniworld.tables.correspondence import LOOKS
    from shiftless.backbones.registry import load
    from shiftless.view.curves import figure_class

    chosen: dict[str, Any] = {"looks": tuple(look or LOOKS), "timesteps": tuple(timestep or TIMESTEPS)}
    counts: dict[str, Any] = {"pictures": pictures, "pairs": pairs}
    if quick:
        chosen["timesteps"] = tuple(timestep or (200, 500))
        counts = {"pictures": 4, "pairs": 8}
    if out is not None:
        figure_class()  # a missing matplotlib is reported before the work
    result = run(
        load(model, device=device, dtype=dtype, offload=offload, quantise=quantise), batch=batch, **chosen, **counts
    )
    show(result.summary(), None)
    if out is not None:
        result.draw(out)
        say(f"picture: {out}")
    if json is not None:
        result.write(json)
        say(f"written: {json}")
