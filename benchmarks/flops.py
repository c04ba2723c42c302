"""Count what reading a photo takes, in floating-point operations, and say what a million photos take.

    python benchmarks/flops.py                                    Stable Diffusion 1.5 at 512 x 512
    python benchmarks/flops.py --model sd21 --size 768 --photos 1e6 --peak 989e12 --share 0.4

Operations are counted by torch's FlopCounterMode (a multiplication and an addition are two) while the model's own
networks run on the meta device, where nothing is computed: the autoencoder's encoder once a photo, and the denoiser up
to each of its up blocks, where reading ends if the last tap lies there. A recipe's `ensemble`, and each step of a walk
to its timestep, is another pass of the denoiser. `--share` is an assumption: how much of the device's peak is reached.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import typer
from torch.utils.flop_counter import FlopCounterMode


class Reached(Exception):
    """The block is reached after which nothing more is counted."""


def counted(run: Callable[[], object]) -> int:
    """Return the operations of a call; one that ends by Reached is counted up to there."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), suppress(Reached):
        run()
    return int(counter.get_total_flops())


def operations(model: str, size: int, full: bool = True) -> dict[str, int]:
    """Return the operations of a Stable Diffusion model's parts for one photo of size x size pixels.

    full  in its real size; else the tiny copy that tests use
    """
    from shiftless.backbones.registry import models
    from shiftless.backbones.twins import twin_parts

    row = models()[model]
    with torch.device("meta"):
        parts = twin_parts(row, full=full)
        unet, vae = parts["unet"], parts["vae"]
        side = size // 2 ** (len(vae.config.block_out_channels) - 1)
        pixels, latent = torch.zeros(1, 3, size, size), torch.zeros(1, vae.config.latent_channels, side, side)
        text = torch.zeros(1, 77, unet.config.cross_attention_dim)
        found = {"encoder": counted(lambda: vae.encode(pixels))}

        def denoise() -> object:
            return unet(latent, torch.tensor(50), encoder_hidden_states=text)

        for i, block in enumerate(unet.up_blocks):
            handle = block.register_forward_hook(_stop)
            found[f"denoiser to up{i}"] = counted(denoise)
            handle.remove()
        found["denoiser"] = counted(denoise)
    return found


def _stop(*_: Any) -> None:
    raise Reached


def hours(each: float, photos: float, peak: float, share: float) -> float:
    """Return the device hours that photos of `each` operations take at a share of the peak (operations a second).

    >>> hours(2e12, 1e6, 1e15, 0.5)
    1.1111111111111112
    """
    return each * photos / (peak * share) / 3600


def main(
    model: str = typer.Option("sd15", help="sd15 or sd21."),
    size: int = typer.Option(512, min=64, help="Side of the photo as the model is fed it, a multiple of 64."),
    photos: float = typer.Option(1e6, help="How many photos."),
    peak: float = typer.Option(989e12, help="The device's peak in operations a second; by default an H100's in bf16."),
    share: float = typer.Option(0.4, help="The share of it that is reached: an assumption."),
    json_file: Path = typer.Option(None, "--json", help="Write the numbers here too."),
) -> None:
    """Count a photo's operations and say how many device hours photos take."""
    found = operations(model, size)
    print(f"{model} at {size} x {size}; {photos:,.0f} photos at {share:.0%} of {peak / 1e12:.0f} TFLOP/s")
    for name, each in found.items():
        whole = each if name == "encoder" else each + found["encoder"]
        time = hours(whole, photos, peak, share)
        print(f"{name:<16}{each / 1e12:8.3f} TFLOP{'' if name == 'encoder' else f', with the encoder {time:.2f} h'}")
    if json_file:
        json_file.write_text(json.dumps({"model": model, "size": size, "operations": found}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
