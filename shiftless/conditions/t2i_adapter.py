"""T2I-Adapters: small networks whose features are added inside the encoder of a UNet: diffusers' T2IAdapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import lcm
from typing import Any

import torch

from shiftless.conditions.config import Claim, Field
from shiftless.conditions.control_class import ControlClass, Draw, Encode
from shiftless.errors import BadInput

_KINDS = ("full_adapter", "full_adapter_xl", "light_adapter")


class T2IAdapter(ControlClass):
    """Features of the map at each size of the UNet's encoder, which do not depend on timestep or prompt.

    Source: Mou et al., "T2I-Adapter: learning adapters to dig out more controllable ability for text-to-image
    diffusion models", 2023.

    >>> T2IAdapter().NAME
    'T2IAdapter'
    """

    NAME = "T2IAdapter"
    A = "a T2I-Adapter"
    FIELDS = {  # noqa: RUF012
        "in_channels": Field(int, 1, 3, default=3),
        "channels": Field(int, 1, 16384, many=8, only=True, default=[320, 640, 1280, 1280]),
        "num_res_blocks": Field(int, 1, 32, default=2),
        "downscale_factor": Field(int, 1, 64, default=8),
        "adapter_type": Field(str, choices=_KINDS, default=_KINDS[0]),
    }

    def claims(self, config: Mapping[str, Any]) -> Iterator[Claim]:
        """What a config implies for the weights."""
        widths, light = config["channels"], config["adapter_type"] == "light_adapter"
        fed = config["in_channels"] * config["downscale_factor"] ** 2
        yield Claim("channels", "adapter.body", len(widths) + light)
        yield Claim("in_channels", "adapter.body.0.in_conv.weight" if light else "adapter.conv_in.weight", fed, 1)
        yield Claim("num_res_blocks", "adapter.body.0.resnets", config["num_res_blocks"])
        last = "out_conv" if light else "resnets.0.block1"
        for i, width in enumerate(widths):
            yield Claim("channels", f"adapter.body.{i}.{last}.weight", width, 0)

    def check_fit(self, net: Any, denoiser: Any, stride: int, name: str) -> None:
        """Raise BadInput unless the features have the channels and sizes of the places where they are added."""
        places = _places(denoiser.config, stride)
        side = lcm(net.downscale_factor, *(cells for _, cells in places))
        with torch.no_grad():
            features = net(torch.zeros(1, net.config.in_channels, side, side, device=net.device, dtype=net.dtype))
        ours = [(feature.shape[1], feature.shape[2]) for feature in features]
        expected = [(channels, side // cells) for channels, cells in places]
        if len(ours) not in (len(places) - 1, len(places)):
            raise BadInput(
                f"{name}: this T2I-Adapter is for another model (it gives {len(ours)} features, the model takes "
                f"{len(places)}); take one that was trained with this model's family"
            )
        for (channels, cells), (wide, many) in zip(ours, expected):
            if (channels, cells) != (wide, many):
                raise BadInput(
                    f"{name}: this T2I-Adapter is for another model (one of its features has {channels} channels and "
                    f"a cell every {side / cells:g} pixels, the model's has {wide} and one every {side / many:g}); "
                    "take one that was trained with this model's family"
                )

    def drawn(self, net: Any, kind: str, draw: Draw, name: str, encode: Encode) -> Draw:
        """Return what draws the map in as many channels as the adapter takes: three, or one for gray maps."""
        if net.config.in_channels == 3:
            return draw
        if kind == "tile" or net.config.in_channels != 1:
            raise BadInput(f"{name}: this T2I-Adapter takes maps of {net.config.in_channels} channels, {kind}'s has 3")
        return lambda pixels: draw(pixels)[:, :1]


def _places(config: Mapping[str, Any], stride: int) -> list[tuple[int, int]]:
    """Where a UNet adds features: (channels, pixels a cell) in each block of its encoder, and in its middle.

    A block with attention adds them before it halves its output, a block without afterwards.
    """
    places, widths = [], config["block_out_channels"]
    for level, (width, kind) in enumerate(zip(widths, config["down_block_types"])):
        halved = not kind.startswith("CrossAttn") and level < len(widths) - 1
        places.append((width, stride * 2 ** (level + halved)))
    return [*places, (widths[-1], stride * 2 ** (len(widths) - 1))]
