"""`shiftless convert`: a checkpoint of guided-diffusion becomes a folder that loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shiftless.cli import app
from shiftless.cli.answer import say
from shiftless.cli.command import command


@command(
    app,
    panel="Look around",
    examples=(
        "shiftless convert lsun_horse.pt lsun-horse",
        "shiftless convert net.safetensors net --size 64 --heads 1 --schedule cosine",
        "shiftless convert net.pt net --head-channels 32 --new-attention-order",
    ),
)
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint, a .pt or .safetensors file.")],
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    size: Annotated[int, typer.Option(help="The sides of its images in pixels (their --image_size).")] = 256,
    head_channels: Annotated[int, typer.Option(help="Channels of a head (their --num_head_channels).")] = 64,
    heads: Annotated[int | None, typer.Option(help="1 for one attention head, in place of --head-channels.")] = None,
    new_attention_order: Annotated[
        bool, typer.Option("--new-attention-order", help="If it was trained with --use_new_attention_order True.")
    ] = False,
    schedule: Annotated[str, typer.Option(help="linear or cosine (their --noise_schedule).")] = "linear",
) -> None:
    """Convert a checkpoint of guided-diffusion, such as ddpm-segmentation's, to a folder that loads as a DDPM.

    Of a .pt file the tensors are read, and no code is run. The options cannot be told from the weights; their
    defaults are those of the LSUN and FFHQ networks at 256 pixels.
    """
    from shiftless.backbones.guided_diffusion import convert_checkpoint
    from shiftless.errors import BadInput

    if heads not in (None, 1):
        raise BadInput(f"--heads {heads}: only one head, or heads of equally many channels, can be represented")
    convert_checkpoint(
        checkpoint,
        folder,
        size=size,
        head_channels=None if heads else head_channels,
        new_attention_order=new_attention_order,
        schedule=schedule,
    )
    say(f"{folder}: list its taps with: shiftless taps {folder}")
