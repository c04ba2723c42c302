"""Unions of ControlNets for SDXL: one network that is told which kinds of maps it is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shiftless.conditions.config import AGAIN, Claim, Field
from shiftless.conditions.controlnet import ControlNet
from shiftless.conditions.unet_config import CONTROLNET, controlnet_claims
from shiftless.errors import BadInput

_MODES = {"depth": 1, "canny": 3, "tile": 6}
"""Kind of map -> its number in the published unions, the last in "ProMax" ones only, which have eight numbers."""


class ControlNetUnion(ControlNet):
    """A ControlNet whose maps pass through a small transformer first, each with an embedding of its kind.

    Maps for one union are given to it in one call. Source: xinsir's controlnet-union-sdxl-1.0, whose kinds are pose 0,
    depth 1, soft edges 2, lines (Canny) 3, normals 4, segments 5, tile 6, repainting 7.

    >>> ControlNetUnion().NAME
    'ControlNetUnionModel'
    """

    NAME = "ControlNetUnionModel"
    A = "a union of ControlNets"
    FIELDS = {  # noqa: RUF012
        **CONTROLNET,
        "addition_embed_type": Field(str, choices=("text_time",)),
        "addition_time_embed_dim": Field(int, 2, 65536),
        "conditioning_embedding_out_channels": Field(int, 1, 16384, many=8, only=True, default=[48, 96, 192, 384]),
        "controlnet_conditioning_channel_order": Field(str, choices=("rgb",)),
        "num_control_type": Field(int, 1, 64, default=6),
        "num_trans_channel": Field(int, 1, 16384, default=320),
        "num_trans_head": Field(int, 1, 1024, default=8),
        "num_trans_layer": Field(int, 1, 64, default=1),
        "num_proj_channel": Field(int, 1, 16384, default=320),
    }

    def read_config(self, folder: Path) -> dict[str, Any]:
        """Return the checked config of a folder; raises BadInput naming the field that is wrong."""
        config, first = super().read_config(folder), "block_out_channels"
        for name in ("num_trans_channel", "num_proj_channel"):
            if config[name] != config[first][0]:
                raise BadInput(
                    f"{folder / 'config.json'}: '{name}' is {config[name]}, and '{first}' begins with "
                    f"{config[first][0]}; they must be equal; {AGAIN}"
                )
        return config

    def claims(self, config: Mapping[str, Any]) -> Iterator[Claim]:
        """What a config implies for the weights."""
        yield from controlnet_claims(config)
        yield Claim("num_control_type", "task_embedding", config["num_control_type"], 0)
        yield Claim("num_trans_channel", "task_embedding", config["num_trans_channel"], 1)
        yield Claim("num_trans_layer", "transformer_layes", config["num_trans_layer"])
        told = config["num_control_type"] * (config.get("addition_time_embed_dim") or 0)
        yield Claim("addition_time_embed_dim", "control_add_embedding.linear_1.weight", told, 1)

    def mode(self, net: Any, kind: str, name: str) -> int:
        """The number that a union knows a kind of map by; raises BadInput for one that it was not trained for."""
        if kind not in _MODES or _MODES[kind] >= net.config.num_control_type:
            known = ", ".join(one for one, number in _MODES.items() if number < net.config.num_control_type) or "none"
            raise BadInput(f"{name}: this union of ControlNets takes no {kind} (of the maps made here: {known})")
        return _MODES[kind]
