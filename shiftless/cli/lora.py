"""`shiftless lora`: train a LoRA of the look of your photos."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.atomic import check_writable
from shiftless.cli import app
from shiftless.cli.command import command
from shiftless.cli.flags import Device, Dtype, Model
from shiftless.progress import Progress, count, duration, notice

lora = typer.Typer(
    help="LoRAs: teach a model the look of a few photos, so that it reads photos like them without shifting them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(lora, name="lora", rich_help_panel="Steer")

_DEFAULT = "by default what suits the model's size"


@lora.callback()
def _group() -> None:
    """LoRAs: teach a model the look of a few photos, so that it reads photos like them without shifting them."""


def _option(text: str, *names: str, **limits: Any) -> Any:
    return typer.Option(*names, help=text, show_default=False, **limits)


@command(
    lora,
    examples=(
        "shiftless lora train photos/ --model sd15 --captioner blip --out horses.safetensors",
        "shiftless lora train photos/ --model sd15 --captioner none --minutes 30 --out horses.safetensors",
        "shiftless lora train photos/ --rank 8 --steps 200 --out look.safetensors",
    ),
)
def train(
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of them; 30 or more are best.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
    model: Model = "mini",
    captions: Annotated[Path | None, _option("A folder of PHOTO.txt, in place of the captioner.")] = None,
    captioner: Annotated[str, _option("Who writes captions; by default the model's own, none for no captions.")] = "",
    rank: Annotated[int | None, _option(f"Rank; {_DEFAULT} (64 as published).", min=1)] = None,
    alpha: Annotated[float | None, _option(f"The update is alpha / rank times B A; {_DEFAULT} (32).", min=0)] = None,
    lr: Annotated[float | None, _option(f"Learning rate of the denoiser; {_DEFAULT} (1e-4).", min=0)] = None,
    text_lr: Annotated[float | None, _option(f"Of the text encoder, 0 to leave it; {_DEFAULT} (5e-5).", min=0)] = None,
    targets: Annotated[str | None, _option(f"attention, or all layers; {_DEFAULT}.")] = None,
    n: Annotated[int | None, _option("How many photos to learn from, drawn at random (30).", "--photos", min=1)] = None,
    hold_out: Annotated[float | None, _option("Share of the photos that candidates are judged by (0.2).")] = None,
    repeats: Annotated[int | None, _option("How often an epoch shows a photo with each caption.", min=1)] = None,
    batch: Annotated[int | None, _option(f"Photos a step; {_DEFAULT} (1).", min=1)] = None,
    accumulate: Annotated[int | None, _option("Steps that are summed before the weights move.", min=1)] = None,
    epochs: Annotated[int | None, _option("Length of the run, in epochs ...", min=1)] = None,
    steps: Annotated[int | None, _option("... or in steps ...", min=1)] = None,
    minutes: Annotated[float | None, _option("... or in minutes.", min=0)] = None,
    noise: Annotated[str | None, _option(f"uniform, or low (where features are read); {_DEFAULT}.")] = None,
    checks: Annotated[int | None, _option("How often a candidate is saved and measured.", min=1)] = None,
    seed: Annotated[int | None, _option("Seed of weights, choice of photos, order and noise.", min=0)] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew even if OUT.run holds a run.")] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Train a LoRA on photos; resumable. Half of the held-out photos choose the step, the other half judge it."""
    from shiftless.backbones.registry import load
    from shiftless.conditions.caption_folder import CaptionFolder
    from shiftless.image import list_photos
    from shiftless.training.lora import settings_for
    from shiftless.training.lora import train as train_lora

    files = [file for path in photos for file in list_photos(path)]
    check_writable(out)
    backbone = load(model, device=device, dtype=dtype)
    given = {
        "rank": rank, "alpha": alpha, "lr": lr, "text_lr": text_lr, "targets": targets, "photos": n,
        "hold_out": hold_out, "repeats": repeats, "batch": batch, "accumulate": accumulate, "epochs": epochs,
        "steps": steps, "minutes": minutes, "noise": noise, "checks": checks, "seed": seed,
    }  # fmt: skip
    settings = settings_for(backbone).but(**{name: value for name, value in given.items() if value is not None})
    written = None if captions is None else CaptionFolder(captions, places=photos)
    length = count(settings.steps, "step") if settings.steps else count(settings.epochs or 0, "epoch")
    length = length if settings.minutes is None else duration(60 * settings.minutes)
    with _Shown(out, f"training a LoRA on {count(len(files), 'photo')} for {length}") as shown:
        result = train_lora(
            backbone, files, out, settings, captions=written, restart=restart, report=shown,
            captioner=None if captioner == "none" else captioner,
        )  # fmt: skip
    change = f"{result.best.reported:.3f} of the base model's, at step {result.best.step} of {result.curve[-1].step}"
    typer.echo(f"content shift on held-out photos that did not choose the step: {change}")
    if not result.improved:
        typer.echo(
            "warning: the best candidate does not shift these photos less than the base model; it is written, but "
            "reading without it is better",
            err=True,
        )
    typer.echo(f"written: {result.path}")


class _Shown:
    """What a run reports: lines and how far it is go to a Progress, pictures into a file beside the LoRA.

    The Progress begins with the first report, when the photos and captions have been found to be usable.
    """

    def __init__(self, out: Path, doing: str) -> None:
        self.sheet = out.with_suffix(".png")
        self._progress = Progress(doing, 1.0, "")
        self._open = ExitStack()
        self._entered = self._begun = False

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *raised: Any) -> None:
        self._open.__exit__(*raised)

    def say(self, text: str) -> None:
        if not self._entered:
            self._entered = True
            self._open.enter_context(self._progress)
        notice(text)

    def step(self, progress: float, text: str) -> None:
        if not self._begun:  # the run may continue an earlier one
            self._begun = True
            self._progress.resume(progress)
        self._progress.to(progress, text)

    def pictures(self, step: int, rows: list[list[Any]]) -> None:
        from shiftless.view import contact_sheet, save_picture

        titles = ["held-out photo", "seen by the base model", f"with the LoRA, step {step}"]
        save_picture(contact_sheet(rows, titles, title="One look through the noise"), self.sheet)
