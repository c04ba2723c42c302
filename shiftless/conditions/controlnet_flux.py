"""ControlNets of Flux.1: diffusers' FluxControlNetModel, alone and as unions, with maps as latents or as images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any

import torch
from torch.nn.functional import pixel_unshuffle

from shiftless.conditions.condition import Steer
from shiftless.conditions.config import Claim, Field
from shiftless.conditions.control_class import ControlClass, Draw, Encode, check_same
from shiftless.errors import BadInput

_EQUAL = (
    "in_channels", "num_attention_heads", "attention_head_dim", "joint_attention_dim", "pooled_projection_dim",
    "axes_dims_rope",
)  # fmt: skip
"""The settings that a ControlNet shares with its denoiser."""
_MODES = {"canny": 0, "tile": 1, "depth": 2}
"""Kind of map -> its number in the published unions: InstantX's FLUX.1-dev-Controlnet-Union, and the "Pro" one."""
_HINT = 8  # times that the convolutions of XLabs' networks shrink their map
_PATCH = 2  # cells of the latent a side, which are one token


class FluxControlNet(ControlClass):
    """Double and single blocks beside the denoiser's, whose outputs are added to those of the denoiser's.

    Source: diffusers' FluxControlNetPipeline; where that samples the map's latent, its mean is taken here.

    >>> FluxControlNet().NAME
    'FluxControlNetModel'
    """

    NAME = "FluxControlNetModel"
    DENOISER = "FluxTransformer2DModel"
    FIELDS = {  # noqa: RUF012
        "patch_size": Field(int, 1, 64, default=1),
        "in_channels": Field(int, 1, 4096, default=64),
        "num_layers": Field(int, 0, 256, default=19),
        "num_single_layers": Field(int, 0, 256, default=38),
        "attention_head_dim": Field(int, 1, 1024, default=128),
        "num_attention_heads": Field(int, 1, 1024, default=24),
        "joint_attention_dim": Field(int, 1, 65536, default=4096),
        "pooled_projection_dim": Field(int, 1, 65536, default=768),
        "guidance_embeds": Field(bool, null=True),
        "axes_dims_rope": Field(int, 2, 1024, many=8, only=True, default=[16, 56, 56]),
        "num_mode": Field(int, 1, 1024, null=True),
        "conditioning_embedding_channels": Field(int, 1, 1024, null=True),
    }

    def claims(self, config: Mapping[str, Any]) -> Iterator[Claim]:
        """What a config implies for the weights."""
        yield Claim("num_layers", "transformer_blocks", config["num_layers"])
        yield Claim("num_single_layers", "single_transformer_blocks", config["num_single_layers"])
        width = config["num_attention_heads"] * config["attention_head_dim"]
        yield Claim("num_attention_heads", "x_embedder.weight", width, 0)
        yield Claim("in_channels", "x_embedder.weight", config["in_channels"], 1)
        yield Claim("joint_attention_dim", "context_embedder.weight", config["joint_attention_dim"], 1)
        pooled = "time_text_embed.text_embedder.linear_1.weight"
        yield Claim("pooled_projection_dim", pooled, config["pooled_projection_dim"], 1)
        if config.get("num_mode"):
            yield Claim("num_mode", "controlnet_mode_embedder.weight", config["num_mode"], 0)

    def check_fit(self, net: Any, denoiser: Any, stride: int, name: str) -> None:
        """Raise BadInput unless what its blocks give fits the denoiser's, and its map the denoiser's tokens."""
        for key in _EQUAL:
            check_same(key, net.config[key], denoiser.config[key], name)
        wide, patch = net.config.conditioning_embedding_channels, net.config.patch_size
        if wide and (_HINT * patch != _PATCH * stride or wide * patch**2 != net.config.in_channels):
            raise BadInput(
                f"{name}: this ControlNet makes tokens of {wide * patch**2} values from {_HINT * patch} pixels a side, "
                f"the model's have {net.config.in_channels} from {_PATCH * stride}; take one of this model's family"
            )

    def mode(self, net: Any, kind: str, name: str) -> int | None:
        """The number that a union knows a kind of map by, or None for a network of one kind."""
        if net.config.num_mode is None:
            return None
        if _MODES[kind] >= net.config.num_mode:
            raise BadInput(f"{name}: this union of ControlNets takes no {kind}; take one that does")
        return _MODES[kind]

    def drawn(self, net: Any, kind: str, draw: Draw, name: str, encode: Encode) -> Draw:
        """Return what takes pixels to the latent of their map, or for XLabs' networks to the map in [-1, 1]."""
        if net.config.conditioning_embedding_channels:
            return lambda pixels: draw(pixels) * 2 - 1
        return lambda pixels: encode(draw(pixels) * 2 - 1, True)


def flux_residuals(denoiser: Any, steers: Sequence[Steer], guidance: float, **told: torch.Tensor) -> dict[str, Any]:
    """Return the sums of what ControlNets give, one for each block of the denoiser, as it takes them; {} without any.

    guidance  what networks that are told a strength of guidance are told
    told      what denoiser and ControlNets take alike, as the denoiser's arguments are called
    """
    double: list[torch.Tensor] = []
    single: list[torch.Tensor] = []
    tokens = told["hidden_states"]
    for steer in steers:
        config, image = steer.net.config, steer.image.to(tokens)
        fed = image if config.conditioning_embedding_channels else packed(image)
        options: dict[str, Any] = dict(told)
        if steer.mode is not None:
            options["controlnet_mode"] = torch.full((len(tokens), 1), steer.mode, device=tokens.device)
        if config.guidance_embeds:
            options["guidance"] = torch.full((len(tokens),), guidance, device=tokens.device)
        first, second = steer.net(controlnet_cond=fed, conditioning_scale=steer.scale, return_dict=False, **options)
        repeat = bool(config.conditioning_embedding_channels)
        double = _added(double, first, len(denoiser.transformer_blocks), repeat=repeat)
        single = _added(single, second, len(denoiser.single_transformer_blocks))
    given = {"controlnet_block_samples": double, "controlnet_single_block_samples": single}
    return {name: samples for name, samples in given.items() if samples}


def packed(latent: torch.Tensor) -> torch.Tensor:
    """Pack a latent's cells, two by two, into tokens: B c h w -> B (h/2 w/2) 4c.

    >>> packed(torch.zeros(1, 16, 8, 6)).shape
    torch.Size([1, 12, 64])
    """
    return pixel_unshuffle(latent, _PATCH).flatten(2).transpose(1, 2)


def _added(
    total: list[torch.Tensor], samples: Sequence[torch.Tensor] | None, blocks: int, *, repeat: bool = False
) -> list[torch.Tensor]:
    """Add a network's samples to the sums for each block of the denoiser: one for several in a row, or by turns."""
    if not samples:
        return total
    interval = ceil(blocks / len(samples))
    each = [samples[i % len(samples) if repeat else i // interval] for i in range(blocks)]
    return [a + b for a, b in zip(total, each)] if total else each
