"""`shiftless convert`: a checkpoint that another code trained becomes a folder that loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.cli import app
from shiftless.cli.answer import say
from shiftless.cli.command import command


@command(
    app,
    panel="Look around",
    examples=(
        "shiftless convert lsun_horse.pt lsun-horse",
        "shiftless convert swav_800ep_pretrain.pth.tar swav-r50",
        "shiftless convert net.pt net --size 64 --head-channels 32 --new-attention-order",
    ),
)
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint, a .pt or .safetensors file.")],
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    size: Annotated[
        int | None, typer.Option(help="The sides of its images in pixels; by default 256 of a UNet, 224 of a ResNet.")
    ] = None,
    head_channels: Annotated[
        int | None, typer.Option(help="A UNet's channels of an attention head (their --num_head_channels); else 64.")
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="Attention heads: of a UNet 1, of a masked autoencoder any.")
    ] = None,
    new_attention_order: Annotated[
        bool, typer.Option("--new-attention-order", help="If it was trained with --use_new_attention_order True.")
    ] = False,
    schedule: Annotated[
        str | None, typer.Option(help="A UNet's noise: linear, the default, or cosine (their --noise_schedule).")
    ] = None,
) -> None:
    """Convert a checkpoint that another code trained to a folder that loads.

    What is converted: UNets of guided-diffusion (ddpm-segmentation's, ADM), masked autoencoders in their authors'
    format (ddpm-segmentation's ViT-L/8), and ResNets with torchvision's names (SwAV, DINO, MoCo). The kind is told
    from the names of the weights. Of a .pt file the tensors are read, and no code is run. The options cannot be told
    from the weights.
    """
    from shiftless.backbones import converters

    given = {"size": size, "head_channels": head_channels, "heads": heads, "schedule": schedule}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if new_attention_order:
        options["new_attention_order"] = True
    converters.convert(checkpoint, folder, options)
    say(f"{folder}: list its taps with: shiftless taps {folder}")
