"""`shiftless mini`: draw the embedded world, train the embedded model from nothing, prove that it learned."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.cli import app
from shiftless.cli.answer import say
from shiftless.cli.command import command
from shiftless.errors import BadInput

mini = typer.Typer(
    help="The embedded model and its world: draw it, train it from nothing, prove that it learned.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(mini, name="mini", rich_help_panel="The embedded model")

STAGES = {  # stage: file and function that train it, and what that function calls --from
    "vae": ("vae", "train_vae", "start_from"),
    "tiny-encoder": ("tiny_encoder", "train_tiny_encoder", "model"),
    "unet": ("unet", "train_unet", "start_from"),
    "grounding": ("grounding", "train_grounding", "start_from"),
    "controlnet": ("control", "train_controlnet", "model"),
    "image-encoder": ("image_encoder", "train_image_encoder", "captioner"),
    "image-prompt": ("image_prompt", "train_image_prompt", "model"),
    "captioner": ("captioner", "train_captioner", "start_from"),
    "oracle": ("oracle", "train_oracle", "start_from"),
    "ddpm": ("ddpm", "train_ddpm", "start_from"),
    "mae": ("mae", "train_mae", "start_from"),
    "clip": ("clip", "train_clip", "start_from"),
    "gan": ("gan", "train_gan", "start_from"),
    "gan-encoder": ("gan_encoder", "train_gan_encoder", "model"),
    "alae": ("alae", "train_alae", "start_from"),
}

LABELLED = (
    "Also write each picture here with the class of every pixel, as `segment fit` reads it: parts with --kind horse, "
    "cow ..., else what is where in the scene."
)


@command(
    mini,
    examples=(
        "shiftless mini draw",
        "shiftless mini draw --world bedrooms --columns 6",
        "shiftless mini draw --world streets -n 12 --look embroidery",
        "shiftless mini draw -n 8 --kind horse --look pencil",
        "shiftless mini draw --lively --kind cat",
        "shiftless mini draw --marked --kind horse",
        "shiftless mini draw -n 30 --seed 100 --folder pictures/",
        "shiftless mini draw -n 20 --kind horse --labelled horses/",
    ),
)
def draw(
    out: Annotated[Path, typer.Option("--out", "-o", help="The contact sheet.")] = Path("world.png"),
    n: Annotated[int, typer.Option("-n", min=1, max=1024, help="How many pictures.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first; the others follow.")] = 0,
    look: Annotated[str, typer.Option(help="photo, pencil, nightvision or embroidery.")] = "photo",
    world: Annotated[str, typer.Option(help="What to draw: creatures, bedrooms or streets.")] = "creatures",
    kind: Annotated[str | None, typer.Option(help="Only this kind of creature or vehicle: horse, cow, bus ...")] = None,
    lively: Annotated[
        bool, typer.Option("--lively", help="A third of the creatures lie, sit, rear, or turn their heads.")
    ] = False,
    marked: Annotated[
        bool, typer.Option("--marked", help="Some creatures have a head, tail or legs of another colour.")
    ] = False,
    columns: Annotated[int, typer.Option(min=1, help="Pictures a row.")] = 8,
    folder: Annotated[Path | None, typer.Option(help="Also write each picture by itself here, as SEED.png.")] = None,
    labelled: Annotated[Path | None, typer.Option(help=LABELLED)] = None,
) -> None:
    """Draw pictures of a world as one contact sheet; the same seed draws the same picture."""
    from PIL import Image

    from miniworld.datasets import contact_sheet, drawer
    from shiftless.view import save_picture

    draw_one = drawer(world)
    if kind is not None and world != "creatures":
        raise BadInput(f"--kind {kind!r}: only --world creatures can be drawn by kind")
    for flag, given in (("--lively", lively), ("--marked", marked)):
        if given and world != "creatures":
            raise BadInput(f"{flag}: only --world creatures can be drawn so")
    only: dict[str, Any] = {} if kind is None else {"kind": kind}
    only |= {name: True for name, given in (("lively", lively), ("marked", marked)) if given}
    pictures = [draw_one(seed + i, look=look, **only) for i in range(n)]
    save_picture(contact_sheet(pictures, columns), out)
    for i, picture in enumerate(pictures if folder is not None else []):
        save_picture(Image.fromarray(picture.image), Path(str(folder)) / f"{seed + i}.png")
    if labelled is not None:
        from miniworld.tables.labelled_pictures import write_labelled
        from miniworld.world.kinds import KINDS

        classes = {"bedrooms": "rooms", "streets": "streets"}.get(world, "parts" if kind in KINDS else "scenes")
        write_labelled(labelled, [str(seed + i) for i in range(n)], pictures, classes)
        say(f"written: {labelled}")
    for picture in pictures[: min(n, 4)]:
        typer.echo(picture.captions[2])
    say(f"written: {out}")


@command(
    mini,
    examples=(
        "shiftless mini train --stage vae --minutes 60",
        "shiftless mini train --stage unet --images 4000000 --device cuda",
        "shiftless mini train --stage oracle --images 20000 --seed 1",
    ),
)
def train(
    stage: Annotated[
        str,
        typer.Option(
            help="vae first, then tiny-encoder, unet and grounding, then controlnet and image-prompt; image-encoder "
            "after captioner and before image-prompt; gan-encoder after gan; the others at any time."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; run again to continue it.")] = Path(
        "out/mini"
    ),
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after so many minutes of training.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Stop after so many images; repeatable to the bit.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, data and noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; data are the same on each.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that draw pictures; by default one for each core.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew even if the folder holds a run.")] = False,
    start_from: Annotated[
        Path | None, typer.Option("--from", help="A model folder to begin with or to add to.")
    ] = None,
) -> None:
    """Train one stage of the embedded model on the CPU or a GPU; checkpoints every few minutes, resumable."""
    from miniworld.training.stage import Stage

    if stage not in STAGES:
        raise BadInput(f"--stage {stage!r}: must be one of {', '.join(STAGES)}")
    if (minutes is None) == (images is None):
        raise BadInput("give either --minutes or --images, to say when training is done")
    file, function, begin = STAGES[stage]
    run = getattr(import_module(f"miniworld.training.{file}"), function)
    this = Stage(out, minutes=minutes, images=images, seed=seed, resume=not restart, device=device, workers=workers)
    run(this, **{begin: start_from})
    say(f"done; weights are in {out}")


@command(
    mini,
    examples=(
        "shiftless mini prove",
        "shiftless mini prove out/mini/mini",
        "shiftless mini prove out/mini/grounded --out proof",
    ),
)
def prove(
    model: Annotated[Path | None, typer.Argument(help="A model folder; by default the embedded one.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for proof.json and samples.png.")] = Path(
        "out/proof"
    ),
) -> None:
    """Prove that the embedded model learned: PSNR, samples, what captions and edges change, probes, its captions."""
    from miniworld.training.proof import prove as prove_model
    from shiftless.mini import weights

    report = prove_model(model or weights(), out, progress=True)
    typer.echo(f"autoencoder: {report['psnr_db']:.1f} dB PSNR on {report['pictures']} unseen pictures")
    for world, part in report["worlds"].items():
        typer.echo(f"autoencoder, {world}: {part['psnr_db']:.1f} dB PSNR on {part['pictures']} unseen pictures")
    for word, value in report["attention"].items():
        typer.echo(f"attention of {word.removeprefix('map_')!r}: {value:.2f} times its area")
    for what, part in (("captions", "noise error"), ("control", "noise error by edges")):
        for name, test in report.get(what, {"tests": {}})["tests"].items():
            typer.echo(f"{part}, {name}: {test['difference']:+.5f} [{test['low']:+.5f}, {test['high']:+.5f}]")
    for world, proof in report["worlds"].items():
        for name, test in proof["captions"]["tests"].items():
            gap = f"{test['difference']:+.5f} [{test['low']:+.5f}, {test['high']:+.5f}]"
            typer.echo(f"noise error, {world}, {name}: {gap}")
    for name in ("kind", "facing"):
        probe = report["probes"][name]
        typer.echo(f"linear probe, {name}: " + ", ".join(f"{what} {value}" for what, value in probe.items()))
    shares = {name: share for name, share in report.get("captioner", {}).items() if isinstance(share, float)}
    if shares:
        typer.echo("captioner, share right: " + ", ".join(f"{name} {share:.3f}" for name, share in shares.items()))
    say(f"written: {out / 'proof.json'} and {out / 'samples.png'}")
