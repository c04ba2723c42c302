"""ControlNets of UNets: diffusers' ControlNetModel, for Stable Diffusion 1, 2 and XL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shiftless.conditions.config import Claim
from shiftless.conditions.control_class import ControlClass, check_same
from shiftless.conditions.unet_config import CONTROLNET, controlnet_claims, read_controlnet
from shiftless.errors import BadInput

_EQUAL = (
    "cross_attention_dim", "block_out_channels", "layers_per_block", "down_block_types",
    "addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim",
)  # fmt: skip
"""The settings that a ControlNet shares with its denoiser."""


class ControlNet(ControlClass):
    """A copy of the UNet's encoder, whose outputs are added to the UNet's skip connections and middle.

    Source: Zhang et al., "Adding conditional control to text-to-image diffusion models", 2023.

    >>> ControlNet().NAME
    'ControlNetModel'
    """

    NAME = "ControlNetModel"
    CONVERTS = True
    FIELDS = CONTROLNET

    def read_config(self, folder: Path) -> dict[str, Any]:
        """Return the checked config of a folder; raises BadInput naming the field that is wrong."""
        return read_controlnet(folder, self.FIELDS)

    def claims(self, config: Mapping[str, Any]) -> Iterator[Claim]:
        """What a config implies for the weights."""
        return controlnet_claims(config)

    def check_fit(self, net: Any, denoiser: Any, stride: int, name: str) -> None:
        """Raise BadInput unless the residuals fit the denoiser's blocks, and the map the latent."""
        latent = denoiser.config.out_channels  # a UNet for inpainting takes more, its ControlNets do not
        check_same("in_channels", net.config.in_channels, latent, name)
        for key in _EQUAL:
            check_same(key, net.config[key], denoiser.config[key], name)
        shrinks = 2 ** (len(net.config.conditioning_embedding_out_channels) - 1)
        if shrinks != stride:
            raise BadInput(
                f"{name}: this ControlNet shrinks its map {shrinks} times, the model's images {stride} times"
            )
