"""`shiftless segment distill`: one network that learns from a head's labels of generated pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless.atomic import check_writable
from shiftless.cli.answer import say
from shiftless.cli.command import command
from shiftless.cli.flags import Batch, Captions, Device, Dtype, Fill, Offload, Quantise, filler
from shiftless.cli.segment import Models, Side, segment
from shiftless.cli.segmenters import head_in, own_readers
from shiftless.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiftless.reading.together import Reader

HEAD = "The file that `segment fit` wrote."
OUT = "Folder of the network; pictures, masks and checkpoints lie in OUT.run beside it."
_NUMBER = 1000
_MAKE, _TRAIN = "Pictures", "Network"


@command(
    segment,
    examples=(
        'shiftless segment distill head.safetensors --out net --prompt "a photo of a horse" --number 2000',
        "shiftless segment distill head.safetensors --out net --images photos/ --steps 4000",
        "shiftless segment distill rooms.safetensors --out net --generator ddpm-bedroom --network b1 --no-flip",
    ),
)
def distill(
    head: Annotated[Path, typer.Argument(help=HEAD)],
    out: Annotated[Path, typer.Option("--out", "-o", help=OUT)],
    number: Annotated[
        int | None,
        typer.Option("--number", "-n", min=1, help="How many pictures.", show_default=f"{_NUMBER}, or all of --images"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Photos to label in place of generated pictures.", rich_help_panel=_MAKE)
    ] = None,
    prompt: Annotated[
        str, typer.Option(help="What the pictures are to show: what your photos show.", rich_help_panel=_MAKE)
    ] = "",
    generator: Annotated[
        str | None,
        typer.Option(
            help="Stable Diffusion 1 or 2, or a DDPM, that makes the pictures.",
            rich_help_panel=_MAKE,
            show_default="the first model of the head that can",
        ),
    ] = None,
    sampling_steps: Annotated[
        int, typer.Option(min=1, help="Denoiser calls for a picture.", rich_help_panel=_MAKE)
    ] = 50,
    guidance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Strength of the prompt; 1 is no guidance.",
            rich_help_panel=_MAKE,
            show_default="7.5 with a prompt",
        ),
    ] = None,
    eta: Annotated[float, typer.Option(min=0, max=1, help="0 is DDIM, 1 is DDPM.", rich_help_panel=_MAKE)] = 0.0,
    picture_size: Annotated[
        int | None,
        typer.Option(min=8, help="Side of a picture in pixels.", rich_help_panel=_MAKE, show_default="the model's own"),
    ] = None,
    lora: Annotated[
        list[str], typer.Option(help="A LoRA that acts while pictures are made; repeat.", rich_help_panel=_MAKE)
    ] = [],  # noqa: B006
    drop: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of the pictures, the most uncertain ones, that is left out.")
    ] = 0.1,
    network: Annotated[
        str, typer.Option(help="tiny, b0, b1, or the folder of a trained SegFormer.", rich_help_panel=_TRAIN)
    ] = "b0",
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.", rich_help_panel=_TRAIN)] = 8000,
    views: Annotated[int, typer.Option(min=1, help="Views of pictures in a step.", rich_help_panel=_TRAIN)] = 16,
    size: Annotated[
        int,
        typer.Option(
            min=0,
            help="Side in pixels that the network is fed, a multiple of 32.",
            rich_help_panel=_TRAIN,
            show_default="the pictures' own, at most 512",
        ),
    ] = 0,
    lr: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Peak of the learning rate.",
            rich_help_panel=_TRAIN,
            show_default="5e-4, or 6e-5 from trained weights",
        ),
    ] = None,
    flip: Annotated[
        bool, typer.Option(help="Mirror half of the views; not for classes such as left leg.", rich_help_panel=_TRAIN)
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of pictures, weights, views and dropout.")] = 0,
    restart: Annotated[
        bool, typer.Option("--restart", help="Train anew, and drop pictures that were made with other settings.")
    ] = False,
    model: Models = [],  # noqa: B006
    side: Side = 256,
    fill: Fill = None,
    captions: Captions = None,
    batch: Batch = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Distil a head into one network (DatasetDDPM): generate pictures, label them by the head, and train on the labels.

    The network is a plain SegFormer, which needs no diffusion model. `segment test` and `segment predict` take its
    folder in the place of a head. A run that was stopped continues by the same command.
    """
    from shiftless.backbones.registry import load
    from shiftless.image import list_photos
    from shiftless.progress import notice
    from shiftless.training.distil import Generated, distil
    from shiftless.training.network import NetworkSettings, check_place
    from shiftless.training.segformer import is_pretrained, pretrained_folder

    check_place(out)
    check_writable(out / "config.json")
    if is_pretrained(network):
        pretrained_folder(network)
    settings = NetworkSettings(steps=steps, batch=views, side=size, lr=lr, flip=flip, seed=seed)
    if images is not None and (prompt or generator or lora or guidance is not None or picture_size is not None):
        raise BadInput("--images: these photos are labelled as they are; leave out what is for generated pictures")
    photos = None if images is None else list_photos(images)[:number]
    ensemble = head_in(head)
    values = filler(ensemble.recipes, fill, captions, [] if images is None else [images])
    how: dict[str, Any] = {"device": device, "dtype": dtype, "offload": offload, "quantise": quantise}
    readers = own_readers(ensemble, model, **how)
    pictures: Any = photos
    if photos is None:
        pictures = Generated(
            load(generator, **how) if generator else _generator_of(readers), number or _NUMBER, prompt, sampling_steps,
            guidance, eta, seed, picture_size, tuple((one, 1.0) for one in lora), batch,
        )  # fmt: skip
    made = distil(
        ensemble, readers, pictures, out, settings, architecture=network, drop=drop, side=side, fill=values,
        batch=batch, restart=restart, progress=True,
    )  # fmt: skip
    for message in made.skipped:
        notice(f"left out: {message}")
    labels, history = made.labels, made.fitted.history
    sure = sum(one.uncertainty for one in labels.kept) / len(labels.kept)
    dropped = f", {len(labels.dropped)} too uncertain" if labels.dropped else ""
    notice(
        f"{len(labels.kept)} pictures to learn from (mean uncertainty {sure:.3f} nats){dropped}: {labels.folder}; "
        f"loss {history[-1]['loss']:.3f} after {history[-1]['step']:,} steps"
    )
    say(f"written: {made.fitted.folder}")


def _generator_of(readers: Sequence[Reader]) -> Any:
    """The first model of a head that can make pictures."""
    from shiftless.backbones.generation import can_generate

    for reader in readers:
        if can_generate(reader.model):
            return reader.model
    names = " and ".join(reader.model.spec.name for reader in readers)
    raise BadInput(f"{names}: no pictures are generated here with it; give --generator sd15, or --images with photos")
