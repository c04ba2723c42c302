"""The configs of a UNet2DConditionModel and of a ControlNet: their fields, and what they imply for the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shiftless.conditions.config import AGAIN, Claim, Field, check_fields, check_weights, read_config
from shiftless.errors import BadInput

_WIDTHS = (320, 640, 1280, 1280)
_LEVELS = 8  # more would reduce any picture below one cell
_DOWN = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
_UP = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
_ACTIVATIONS = ("silu", "swish", "mish", "gelu", "relu")
_FLAG = Field(bool, null=True)
_NOTHING = Field(None)

_SHARED = {  # of both networks, in every version of diffusers
    "in_channels": Field(int, 1, 64, default=4),
    "block_out_channels": Field(int, 1, 16384, many=_LEVELS, only=True, default=list(_WIDTHS)),
    "down_block_types": Field(str, many=_LEVELS, only=True, default=list(_DOWN)),
    "layers_per_block": Field(int, 1, 32, many=_LEVELS, default=2),
    "cross_attention_dim": Field(int, 1, 16384, default=1280),
    "attention_head_dim": Field(int, 1, 1024, many=_LEVELS, default=8),
    "num_attention_heads": Field(int, 1, 1024, null=True, many=_LEVELS),
    "transformer_layers_per_block": Field(int, 1, 64, many=_LEVELS, default=1),
    "norm_num_groups": Field(int, 1, 1024, null=True),
    "norm_eps": Field(float, 0, 1),
    "act_fn": Field(str, choices=_ACTIVATIONS),
    "downsample_padding": Field(int, 0, 8),
    "mid_block_scale_factor": Field(float, 0, 1000),
    "freq_shift": Field(float, -1000, 1000),
    "flip_sin_to_cos": _FLAG,
    "use_linear_projection": _FLAG,
    "upcast_attention": _FLAG,
    "only_cross_attention": Field(bool, null=True, many=_LEVELS),
    "class_embed_type": _NOTHING,  # no class, size or image embedding is given to the network
    "num_class_embeds": _NOTHING,
    "addition_embed_type": _NOTHING,
    "encoder_hid_dim_type": _NOTHING,
    "encoder_hid_dim": _NOTHING,
}
UNET = {
    **_SHARED,
    "sample_size": Field(int, 1, 8192, null=True, many=2),
    "out_channels": Field(int, 1, 64, default=4),
    "up_block_types": Field(str, many=_LEVELS, only=True, default=list(_UP)),
    "mid_block_type": Field(str, null=True, default="UNetMidBlock2DCrossAttn"),
    "reverse_transformer_layers_per_block": Field(int, 1, 64, null=True, many=_LEVELS, only=True),
    "dropout": Field(float, 0, 1),
    "dual_cross_attention": _FLAG,
    "mid_block_only_cross_attention": _FLAG,
    "resnet_time_scale_shift": Field(str, choices=("default", "scale_shift")),
    "time_embedding_type": Field(str, choices=("positional",)),
    "attention_type": Field(str, choices=("default",)),
    "time_embedding_act_fn": _NOTHING,
    "timestep_post_act": _NOTHING,
    "cross_attention_norm": _NOTHING,
    "center_input_sample": _FLAG,
    "resnet_skip_time_act": _FLAG,
    "class_embeddings_concat": _FLAG,
    "resnet_out_scale_factor": Field(float, 1e-6, 1000),
    "time_embedding_dim": Field(int, 1, 65536, null=True),
    "time_cond_proj_dim": _NOTHING,
    "conv_in_kernel": Field(int, 1, 15, default=3),
    "conv_out_kernel": Field(int, 1, 15, default=3),
}
_TOLD = {  # of SDXL's networks, which are told a pooled prompt and sizes
    "addition_embed_type": Field(str, choices=("text_time",)),
    "addition_time_embed_dim": Field(int, 2, 65536, null=True),
    "projection_class_embeddings_input_dim": Field(int, 1, 65536, null=True),
}
SDXL_UNET = {**UNET, **_TOLD}
CONTROLNET = {
    **_SHARED,
    **_TOLD,
    "addition_embed_type": Field(str, choices=("text_time",), null=True),
    "conditioning_channels": Field(int, 3, 3),
    "conditioning_embedding_out_channels": Field(int, 1, 16384, many=_LEVELS, only=True, default=[16, 32, 96, 256]),
    "controlnet_conditioning_channel_order": Field(str, choices=("rgb", "bgr")),
    "global_pool_conditions": _FLAG,
}


def read_unet(folder: Path, missing: str = "", fields: Mapping[str, Field] = UNET) -> dict[str, Any]:
    """Return the checked config of a folder's UNet2DConditionModel, with diffusers' defaults for what it lacks.

    missing  the message where there is no config.json
    fields   UNET, or SDXL_UNET

    Raises BadInput naming the field that is of another type, out of range, or does not fit the other fields.
    """
    path = folder / "config.json"
    config = check_fields(read_config(path, missing), fields, path)
    _check_levels(config, path, "up_block_types", "reverse_transformer_layers_per_block")
    return config


def read_controlnet(folder: Path, fields: Mapping[str, Field] = CONTROLNET) -> dict[str, Any]:
    """Return the checked config of a ControlNet's folder; raises BadInput like `read_unet`."""
    path = folder / "config.json"
    config = check_fields(read_config(path), fields, path)
    _check_levels(config, path)
    return config


def _check_levels(config: Mapping[str, Any], path: Path, *more: str) -> None:
    levels = len(config["block_out_channels"])
    each = ("down_block_types", "layers_per_block", "attention_head_dim", "transformer_layers_per_block", *more)
    for name in (*each, "only_cross_attention", "num_attention_heads"):
        value = config.get(name)
        if isinstance(value, list) and len(value) != levels:
            counts = f"{len(value)} entries and 'block_out_channels' has {levels}"
            raise BadInput(f"{path}: '{name}' has {counts}; {AGAIN}")


def check_unet(config: Mapping[str, Any], folder: Path) -> None:
    """Compare a UNet's config with its weights' headers; raises BadInput where they differ."""
    check_weights(_unet_claims(config), folder, folder / "config.json")


def check_controlnet(config: Mapping[str, Any], folder: Path) -> None:
    """Compare a ControlNet's config with its weights' headers; raises BadInput where they differ."""
    check_weights(controlnet_claims(config), folder, folder / "config.json")


def _down_claims(config: Mapping[str, Any]) -> Iterator[Claim]:
    widths, kinds = config["block_out_channels"], config["down_block_types"]
    layers, depths = (each(config[name], len(widths)) for name in ("layers_per_block", "transformer_layers_per_block"))
    yield Claim("block_out_channels", "conv_in.weight", widths[0], 0)
    yield Claim("in_channels", "conv_in.weight", config["in_channels"], 1)
    yield Claim("down_block_types", "down_blocks", len(kinds))
    for level, kind in enumerate(kinds):
        block = f"down_blocks.{level}"
        yield Claim("layers_per_block", f"{block}.resnets", layers[level])
        yield Claim("block_out_channels", f"{block}.resnets.0.conv2.weight", widths[level], 0)
        if kind == "CrossAttnDownBlock2D":
            yield Claim("transformer_layers_per_block", f"{block}.attentions.0.transformer_blocks", depths[level])
            words = f"{block}.attentions.0.transformer_blocks.0.attn2.to_k.weight"
            yield Claim("cross_attention_dim", words, config["cross_attention_dim"], 1)
    if config.get("addition_embed_type"):
        told = "projection_class_embeddings_input_dim"
        yield Claim(told, "add_embedding.linear_1.weight", config.get(told) or 0, 1)
    yield Claim("block_out_channels", "time_embedding.linear_1.weight", widths[0], 1)
    steps = config.get("time_embedding_dim") or widths[0] * 4
    yield Claim("time_embedding_dim", "time_embedding.linear_1.weight", steps, 0)


def _unet_claims(config: Mapping[str, Any]) -> Iterator[Claim]:
    yield from _down_claims(config)
    widths, kinds = config["block_out_channels"][::-1], config["up_block_types"]
    layers = each(config["layers_per_block"], len(widths))[::-1]
    depths = config.get("reverse_transformer_layers_per_block")
    depths = depths or each(config["transformer_layers_per_block"], len(widths))[::-1]
    yield Claim("up_block_types", "up_blocks", len(kinds))
    for level, kind in enumerate(kinds):
        block = f"up_blocks.{level}"
        yield Claim("layers_per_block", f"{block}.resnets", layers[level] + 1)
        yield Claim("block_out_channels", f"{block}.resnets.0.conv2.weight", widths[level], 0)
        if kind == "CrossAttnUpBlock2D":
            yield Claim("transformer_layers_per_block", f"{block}.attentions.0.transformer_blocks", depths[level])
    yield Claim("out_channels", "conv_out.weight", config["out_channels"], 0)
    yield Claim("conv_in_kernel", "conv_in.weight", config["conv_in_kernel"], 2)
    yield Claim("conv_out_kernel", "conv_out.weight", config["conv_out_kernel"], 2)


def controlnet_claims(config: Mapping[str, Any]) -> Iterator[Claim]:
    """What a ControlNet's config implies for its weights."""
    yield from _down_claims(config)
    field, net = "conditioning_embedding_out_channels", "controlnet_cond_embedding"
    widths = config[field]
    yield Claim(field, f"{net}.blocks", 2 * (len(widths) - 1))
    yield Claim(field, f"{net}.conv_in.weight", widths[0], 0)
    for i, width in enumerate(widths[1:]):
        yield Claim(field, f"{net}.blocks.{2 * i + 1}.weight", width, 0)


def each(value: int | list[int], levels: int) -> list[int]:
    """Return a value for each level, where a config may give one for all.

    >>> each(2, 3), each([1, 2], 2)
    ([2, 2, 2], [1, 2])
    """
    return [value] * levels if isinstance(value, int) else list(value)
