"""`shiftless mini`: draw the embedded world, train the embedded model from nothing, prove that it learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shiftless.cli import app
from shiftless.errors import BadInput

mini = typer.Typer(
    help="The embedded model and its world: draw it, train it from nothing, prove that it learned.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(mini, name="mini", rich_help_panel="The embedded model")


@mini.command()
def draw(
    out: Annotated[Path, typer.Option("--out", "-o", help="The contact sheet.")] = Path("world.png"),
    n: Annotated[int, typer.Option("-n", min=1, max=1024, help="How many pictures.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first; the others follow.")] = 0,
    look: Annotated[str, typer.Option(help="photo, pencil, nightvision or embroidery.")] = "photo",
    kind: Annotated[str | None, typer.Option(help="Only this kind: horse, cow, bus ...")] = None,
    columns: Annotated[int, typer.Option(min=1, help="Pictures a row.")] = 8,
) -> None:
    """Draw pictures of the world as one contact sheet; the same seed draws the same picture."""
    from shiftless.mini.datasets import contact_sheet
    from shiftless.mini.world import draw as draw_one
    from shiftless.view import save_picture

    pictures = [draw_one(seed + i, look=look, kind=kind) for i in range(n)]
    save_picture(contact_sheet(pictures, columns), out)
    for picture in pictures[: min(n, 4)]:
        typer.echo(picture.captions[2])
    typer.echo(f"written: {out}")


@mini.command()
def train(
    stage: Annotated[str, typer.Option(help="vae first, then unet.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; run again to continue it.")] = Path(
        "out/mini"
    ),
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after so many minutes of training.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Stop after so many images; repeatable to the bit.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, data and noise.")] = 0,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew even if the folder holds a run.")] = False,
    start_from: Annotated[Path | None, typer.Option("--from", help="Weights to begin with: a model folder.")] = None,
) -> None:
    """Train one stage of the embedded model; checkpoints every few minutes, resumable."""
    if stage not in ("vae", "unet"):
        raise BadInput(f"--stage {stage!r}: must be vae or unet")
    if (minutes is None) == (images is None):
        raise BadInput("give either --minutes or --images, to say when training is done")
    options = {"minutes": minutes, "images": images, "seed": seed, "resume": not restart, "start_from": start_from}
    if stage == "vae":
        from shiftless.mini.training.vae import train_vae

        train_vae(out, **options)  # type: ignore[arg-type]
    else:
        from shiftless.mini.training.unet import train_unet

        train_unet(out, **options)  # type: ignore[arg-type]
    typer.echo(f"done; weights are in {out}")


@mini.command()
def prove(
    model: Annotated[Path | None, typer.Argument(help="A model folder; by default the embedded one.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for proof.json and samples.png.")] = Path(
        "out/proof"
    ),
) -> None:
    """Prove that the embedded model learned: PSNR, samples, the captions' effect, linear probes."""
    from shiftless.backbones.registry import MINI
    from shiftless.mini.training.proof import prove as prove_model

    report = prove_model(model or MINI, out)
    typer.echo(f"autoencoder: {report['psnr_db']:.1f} dB PSNR on {report['pictures']} unseen pictures")
    for name, test in report["captions"]["tests"].items():
        typer.echo(f"noise error, {name}: {test['difference']:+.5f} [{test['low']:+.5f}, {test['high']:+.5f}]")
    for name in ("kind", "facing"):
        found = report["probes"][name]
        typer.echo(f"linear probe, {name}: " + ", ".join(f"{what} {value}" for what, value in found.items()))
    typer.echo(f"written: {out / 'proof.json'} and {out / 'samples.png'}")
