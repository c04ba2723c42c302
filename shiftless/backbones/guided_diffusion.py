"""Checkpoints of guided-diffusion (Dhariwal & Nichol 2021) -> UNet2DModel: names, configs and attention orders.

The networks of ddpm-segmentation (LSUN, FFHQ) are of this kind. Its `output_blocks.N` are these taps of ours:
output_blocks.5, 8 -> up1, up2; output_blocks.6, 7 -> up2.attn0, up2.attn1; output_blocks.12 -> up4.res0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from shiftless.atomic import write_atomic
from shiftless.backbones.checkpoint import read_checkpoint
from shiftless.errors import BadInput
from shiftless.taps.lock import construction

SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
"""guided-diffusion's names of noise schedules -> diffusers'."""

_RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
_OUTSIDE = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
}  # fmt: skip


def convert_checkpoint(
    checkpoint: Path,
    folder: Path,
    *,
    size: int = 256,
    head_channels: int | None = 64,
    new_attention_order: bool = False,
    schedule: str = "linear",
) -> Path:
    """Convert a checkpoint of guided-diffusion to a diffusers folder, which `shiftless.load` reads; return the folder.

    checkpoint           a .safetensors or a .pt file; of a .pt file, tensors are read and no code is run
    size                 the pixels of its images' sides (`--image_size`)
    head_channels        channels of an attention head (`--num_head_channels`); None for one head (`--num_heads 1`)
    new_attention_order  whether it was trained with `--use_new_attention_order True`
    schedule             its `--noise_schedule`, "linear" or "cosine", of 1000 steps

    None of the options can be told from the weights; the defaults are those of the LSUN, FFHQ and ImageNet models at
    256 pixels (ADM; with classes, a prompt is the number of one). Raises BadInput for a checkpoint of another kind, and
    for low-resolution inputs, which UNet2DModel does not take.
    """
    if schedule not in SCHEDULES:
        raise BadInput(f"schedule={schedule!r}: must be one of {', '.join(SCHEDULES)}")
    if folder.exists():
        raise BadInput(f"{folder}: exists already; give a folder that does not")
    options: dict[str, Any] = {"head_channels": head_channels, "new_attention_order": new_attention_order}
    config, weights = convert(read_checkpoint(checkpoint), size=size, name=str(checkpoint), **options)
    from safetensors.torch import save

    betas = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": SCHEDULES[schedule]}
    scheduler = {"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "prediction_type": "epsilon", **betas}
    named = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    index = {"_class_name": "DDPMPipeline", **named}
    write_atomic(folder / "unet" / "diffusion_pytorch_model.safetensors", save(weights, {"format": "pt"}))
    for path, content in (
        ("unet/config.json", {"_class_name": "UNet2DModel", **config}),
        ("scheduler/scheduler_config.json", scheduler),
        ("model_index.json", index),
    ):
        write_atomic(folder / path, json.dumps(content, indent=2).encode())
    return folder


def convert(
    weights: Mapping[str, torch.Tensor],
    *,
    size: int = 256,
    head_channels: int | None = 64,
    new_attention_order: bool = False,
    name: str = "the checkpoint",
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the UNet2DModel config and weights that a guided-diffusion UNet's weights stand for.

    Arguments and errors are those of `convert_checkpoint`; `name` is for messages.

    >>> convert({"input_blocks.0.0.weight": torch.zeros(256, 3, 3, 3)})
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: the checkpoint: not a UNet of guided-diffusion; give a checkpoint with input_blocks ...
    """
    config = config_of(weights, size=size, head_channels=head_channels, name=name)
    heads = {width: width // (head_channels or width) for width in config["block_out_channels"]}
    made: dict[str, torch.Tensor] = {}
    placed: set[str] = set()
    for theirs, ours in _modules(config):
        placed.add(theirs)
        if ".attentions." in ours:
            made |= _attention(weights, theirs, ours, heads, new_attention_order, name)
            continue
        parts = {"": ""} if f"{theirs}.weight" in weights else _RESNET
        for part, new in parts.items():
            for kind in ("weight", "bias"):
                tensor = weights.get(_joined(theirs, part, kind))
                if tensor is not None:
                    made[_joined(ours, new, kind)] = tensor.contiguous()
    for key in weights:
        if not any(key.startswith(f"{module}.") for module in placed):
            raise BadInput(f"{name}: UNet2DModel has no place for {key}; not a network that it can represent")
    _check(config, made, name)
    return config, made


def _joined(*names: str) -> str:
    return ".".join(filter(None, names))


def config_of(
    weights: Mapping[str, torch.Tensor], *, size: int, head_channels: int | None, name: str
) -> dict[str, Any]:
    """Return the UNet2DModel config of a guided-diffusion UNet's weights; raises BadInput for other networks."""
    outputs = {int(key.split(".")[1]) for key in weights if key.startswith("output_blocks.")}
    first, last = weights.get("input_blocks.0.0.weight"), weights.get("out.2.weight")
    if not outputs or first is None or last is None or first.ndim != 4:
        raise BadInput(f"{name}: not a UNet of guided-diffusion; give a checkpoint with input_blocks and output_blocks")
    if first.shape[1] != 3 or last.shape[0] not in (3, 6):
        raise BadInput(
            f"{name}: takes {first.shape[1]} channels and gives {last.shape[0]}, not an image; it upsamples?"
        )
    ends = [n for n in sorted(outputs) if _resampler(weights, n)]
    if not ends or len(outputs) % (ends[0] + 1):
        raise BadInput(f"{name}: its up blocks have no convolution, which UNet2DModel cannot represent")
    layers, levels = ends[0], len(outputs) // (ends[0] + 1)
    starts = [1 + level * (layers + 1) for level in range(levels)]
    try:
        widths = [int(weights[f"input_blocks.{n}.0.out_layers.3.weight"].shape[0]) for n in starts]
        scale_shift = weights["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * widths[0]
    except KeyError as error:
        raise BadInput(f"{name}: lacks {error.args[0]}; fetch the checkpoint again") from None
    attends = [f"input_blocks.{n}.1.qkv.weight" in weights for n in starts]
    if head_channels is not None and any(width % head_channels for width in (*widths[-1:], *_where(widths, attends))):
        raise BadInput(f"{name}: {widths} channels are no multiples of head_channels={head_channels}")
    resnet = f"output_blocks.{ends[0]}.{_resampler(weights, ends[0])}.in_layers.0.weight" in weights
    plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if resnet else ("DownBlock2D", "UpBlock2D")
    return {
        "sample_size": size, "in_channels": 3, "out_channels": int(last.shape[0]),
        "block_out_channels": widths, "layers_per_block": layers,
        "down_block_types": ["AttnDownBlock2D" if one else plain[0] for one in attends],
        "up_block_types": ["AttnUpBlock2D" if one else plain[1] for one in reversed(attends)],
        "downsample_type": "resnet" if resnet else "conv", "upsample_type": "resnet" if resnet else "conv",
        "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0,
        "attention_head_dim": head_channels, "norm_num_groups": 32, "attn_norm_num_groups": 32, "norm_eps": 1e-5,
        "resnet_time_scale_shift": "scale_shift" if scale_shift else "default", "act_fn": "silu",
        "num_class_embeds": len(weights["label_emb.weight"]) if "label_emb.weight" in weights else None,
    }  # fmt: skip


def _where(widths: list[int], attends: list[bool]) -> list[int]:
    return [width for width, one in zip(widths, attends) if one]


def _resampler(weights: Mapping[str, torch.Tensor], block: int) -> int:
    """The place inside an output block of the layer that enlarges: after the resnet and the attention; 0 for none."""
    for place in (1, 2):
        for inside in ("conv.weight", "in_layers.0.weight"):
            if f"output_blocks.{block}.{place}.{inside}" in weights:
                return place
    return 0


def _modules(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every module with weights: its name in guided-diffusion, and in UNet2DModel."""
    layers, levels = config["layers_per_block"], len(config["block_out_channels"])
    resnet = config["downsample_type"] == "resnet"
    yield from _OUTSIDE.items()
    if config["num_class_embeds"] is not None:
        yield "label_emb", "class_embedding"
    for level, kind in enumerate(config["down_block_types"]):
        for layer in range(layers):
            block, ours = f"input_blocks.{1 + level * (layers + 1) + layer}", f"down_blocks.{level}"
            yield f"{block}.0", f"{ours}.resnets.{layer}"
            if kind.startswith("Attn"):
                yield f"{block}.1", f"{ours}.attentions.{layer}"
        if level < levels - 1:
            theirs = f"input_blocks.{(level + 1) * (layers + 1)}.0"
            yield (theirs, f"{ours}.downsamplers.0") if resnet else (f"{theirs}.op", f"{ours}.downsamplers.0.conv")
    for theirs, middle in (("0", "resnets.0"), ("1", "attentions.0"), ("2", "resnets.1")):
        yield f"middle_block.{theirs}", f"mid_block.{middle}"
    for level, kind in enumerate(config["up_block_types"]):
        for layer in range(layers + 1):
            block, ours = f"output_blocks.{level * (layers + 1) + layer}", f"up_blocks.{level}"
            yield f"{block}.0", f"{ours}.resnets.{layer}"
            if kind.startswith("Attn"):
                yield f"{block}.1", f"{ours}.attentions.{layer}"
        if level < levels - 1:
            theirs = f"{block}.{2 if kind.startswith('Attn') else 1}"
            yield (theirs, f"{ours}.upsamplers.0") if resnet else (f"{theirs}.conv", f"{ours}.upsamplers.0.conv")


def _attention(
    weights: Mapping[str, torch.Tensor], theirs: str, ours: str, heads: Mapping[int, int], new_order: bool, name: str
) -> dict[str, torch.Tensor]:
    """One attention layer: a 1x1 convolution to q, k and v together -> three linear layers.

    The older order of its 3C channels is head by head, q, k and v of each; the newer one is q of all heads, k, v.
    """
    made = {}
    for kind in ("weight", "bias"):
        for part, new in (("norm", "group_norm"), ("proj_out", "to_out.0")):
            if (tensor := weights.get(f"{theirs}.{part}.{kind}")) is not None:
                made[f"{ours}.{new}.{kind}"] = (tensor[..., 0] if tensor.ndim == 3 else tensor).contiguous()
        if (joint := weights.get(f"{theirs}.qkv.{kind}")) is not None:
            joint = joint[..., 0] if joint.ndim == 3 else joint
            count = 1 if new_order else heads.get(joint.shape[0] // 3, 1)
            if joint.shape[0] % (3 * count):
                raise BadInput(f"{name}: {theirs}.qkv has {joint.shape[0]} channels; fetch the checkpoint again")
            each = joint.unflatten(0, (count, 3, -1)).transpose(0, 1).flatten(1, 2)
            made |= {f"{ours}.to_{letter}.{kind}": one.contiguous() for letter, one in zip("qkv", each)}
    return made


def _check(config: Mapping[str, Any], made: Mapping[str, torch.Tensor], name: str) -> None:
    """Raise BadInput where the converted weights are not exactly those of the network."""
    from diffusers import UNet2DModel

    try:
        with construction(), torch.device("meta"):
            expected = UNet2DModel(**config).state_dict()
    except (ValueError, TypeError) as error:
        line = str(error).strip().splitlines()[0]
        raise BadInput(f"{name}: cannot be represented by UNet2DModel ({line})") from None
    for key in (*expected, *made):
        there, needed = made.get(key), expected.get(key)
        if there is None or needed is None or there.shape != needed.shape:
            has, asks = ("missing" if x is None else list(x.shape) for x in (there, needed))
            raise BadInput(f"{name}: {key} is {has}, in UNet2DModel {asks}; not a network that it can represent")
