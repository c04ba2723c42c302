"""ControlNets of Stable Diffusion 3 and 3.5: diffusers' SD3ControlNetModel, which follows its map as a latent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from shiftless.conditions.condition import Condition
from shiftless.conditions.config import Claim, Field
from shiftless.conditions.control_class import ControlClass, Draw, Encode, check_same
from shiftless.errors import BadInput

_EQUAL = ("in_channels", "patch_size", "num_attention_heads", "attention_head_dim", "pooled_projection_dim")
_MAPS = "canny, depth or tile"
_OF_TEXT = ("joint_attention_dim", "caption_projection_dim")
"""The settings that a ControlNet shares with its denoiser, and those of the text, for one that reads it."""


class SD3ControlNet(ControlClass):
    """Transformer blocks beside the denoiser's, whose outputs are added to those of the denoiser's, several in a row.

    Source: diffusers' StableDiffusion3ControlNetPipeline; where that samples the map's latent, its mean is taken here.

    >>> SD3ControlNet().NAME
    'SD3ControlNetModel'
    """

    NAME = "SD3ControlNetModel"
    DENOISER = "SD3Transformer2DModel"
    CONVERTS = True
    FIELDS = {  # noqa: RUF012
        "sample_size": Field(int, 1, 8192, default=128),
        "patch_size": Field(int, 1, 64, default=2),
        "in_channels": Field(int, 1, 1024, default=16),
        "num_layers": Field(int, 1, 256, default=18),
        "attention_head_dim": Field(int, 1, 1024, default=64),
        "num_attention_heads": Field(int, 1, 1024, default=18),
        "joint_attention_dim": Field(int, 1, 65536, null=True),
        "caption_projection_dim": Field(int, 1, 65536, null=True),
        "pooled_projection_dim": Field(int, 1, 65536, default=2048),
        "pos_embed_max_size": Field(int, 1, 8192, null=True),
        "extra_conditioning_channels": Field(int, 0, 1024, null=True),
        "qk_norm": Field(str, null=True),
        "pos_embed_type": Field(str, null=True),
        "use_pos_embed": Field(bool, null=True),
        "force_zeros_for_pooled_projection": Field(bool, null=True),
    }

    def claims(self, config: Mapping[str, Any]) -> Iterator[Claim]:
        """What a config implies for the weights."""
        width = config["num_attention_heads"] * config["attention_head_dim"]
        yield Claim("num_layers", "transformer_blocks", config["num_layers"])
        yield Claim("num_layers", "controlnet_blocks", config["num_layers"])
        yield Claim("num_attention_heads", "pos_embed_input.proj.weight", width, 0)
        fed = config["in_channels"] + (config.get("extra_conditioning_channels") or 0)
        yield Claim("extra_conditioning_channels", "pos_embed_input.proj.weight", fed, 1)
        yield Claim("patch_size", "pos_embed_input.proj.weight", config["patch_size"], 2)
        pooled = "time_text_embed.text_embedder.linear_1.weight"
        yield Claim("pooled_projection_dim", pooled, config["pooled_projection_dim"], 1)
        if config.get("joint_attention_dim"):
            yield Claim("joint_attention_dim", "context_embedder.weight", config["joint_attention_dim"], 1)

    def check_fit(self, net: Any, denoiser: Any, stride: int, name: str) -> None:
        """Raise BadInput unless what its blocks give fits the denoiser's, and its map is a latent alone."""
        for key in (*_EQUAL, *(_OF_TEXT if net.config.joint_attention_dim else ())):
            check_same(key, net.config[key], denoiser.config[key], name)
        if net.config.extra_conditioning_channels:
            raise BadInput(
                f"{name}: a ControlNet for inpainting, which takes a mask beside its map; take one for {_MAPS}"
            )

    def drawn(self, net: Any, kind: str, draw: Draw, name: str, encode: Encode) -> Draw:
        """Return what takes pixels to the latent of their map, B c h w, as the pipeline encodes it.

        InstantX's networks, which take no pooled prompt, were trained on latents without the autoencoder's shift. The
        map of edges of Stability's own networks, which have no positions, is scaled as their model card does it.
        """
        shifted = not net.config.force_zeros_for_pooled_projection
        scaled = kind == "canny" and net.config.use_pos_embed is False

        def latent(pixels: torch.Tensor) -> torch.Tensor:
            image = draw(pixels)
            return encode(image * 255 * 0.5 + 0.5 if scaled else image * 2 - 1, shifted)

        return latent


def sd3_residuals(denoiser: Any, condition: Condition, latent: torch.Tensor, timestep: torch.Tensor) -> dict[str, Any]:
    """Return the sums of what ControlNets give, one for each block of the denoiser, as it takes them; {} without any.

    latent    B c h w, as the denoiser takes it
    timestep  B

    Raises BadInput for an image that is larger than a ControlNet has positions for.
    """
    total: list[torch.Tensor] = []
    blocks = len(denoiser.transformer_blocks)
    for steer in condition.steers:
        config, pooled = steer.net.config, condition.extra["pooled"]
        _check_size(config, latent)
        samples = steer.net(
            latent if config.use_pos_embed else denoiser.pos_embed(latent),
            steer.image.to(latent),
            steer.scale,
            encoder_hidden_states=condition.embeds if config.joint_attention_dim else None,
            pooled_projections=torch.zeros_like(pooled) if config.force_zeros_for_pooled_projection else pooled,
            timestep=timestep,
            return_dict=False,
        )[0]
        interval = blocks / len(samples)
        each = [samples[int(i / interval)] for i in range(blocks)]
        total = [a + b for a, b in zip(total, each)] if total else each
    return {"block_controlnet_hidden_states": total} if total else {}


def _check_size(config: Mapping[str, Any], latent: torch.Tensor) -> None:
    most, cells = config["pos_embed_max_size"], max(latent.shape[2:])
    if config["use_pos_embed"] and most and cells > most * config["patch_size"]:
        raise BadInput(
            f"control: an image of {cells} cells a side is more than this ControlNet has positions for (at most "
            f"{most * config['patch_size']}, {8 * most * config['patch_size']} pixels); give a smaller size"
        )
