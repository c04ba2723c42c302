"""Masked autoencoders in their authors' format (He et al. 2022) -> a folder of transformers' ViTMAEModel."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from shiftless.atomic import write_atomic
from shiftless.backbones.checkpoint import read_checkpoint
from shiftless.backbones.vision_folder import MEAN, STD
from shiftless.errors import BadInput

HEADS = {768: 12, 1024: 16, 1280: 16}
"""Channels of ViT-B, ViT-L and ViT-H -> attention heads, which the weights do not tell."""

_LEFT_OUT = re.compile(r"^(mask_token$|decoder|head\.|fc_norm\.)")
_OUTSIDE = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_INSIDE = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")


def convert_checkpoint(
    checkpoint: str | os.PathLike[str], folder: str | os.PathLike[str], *, heads: int | None = None
) -> Path:
    """Convert a masked autoencoder in its authors' format to a folder that `shiftless.load` reads; return the folder.

    checkpoint  a .safetensors file, or one that torch.save wrote; of that, tensors are read and no code is run
    heads       attention heads; those of ViT-B, ViT-L and ViT-H are known by their width

    Width, depth, patch and image size are taken from the weights; the decoder is left out. ddpm-segmentation's ViT-L/8
    is of this kind. Raises BadInput for other networks.
    """
    place = Path(folder)
    if place.exists():
        raise BadInput(f"{folder}: exists already; give a folder that does not")
    config, weights = convert(read_checkpoint(checkpoint), heads=heads, name=str(checkpoint))
    from safetensors.torch import save

    size = {"height": config["image_size"], "width": config["image_size"]}
    prepared = {"image_mean": list(MEAN), "image_std": list(STD), "size": size}
    write_atomic(place / "model.safetensors", save(weights, {"format": "pt"}))
    for file, content in (("preprocessor_config.json", prepared), ("config.json", config)):
        write_atomic(place / file, (json.dumps(content, indent=2) + "\n").encode())
    return place


def convert(
    weights: Mapping[str, torch.Tensor], *, heads: int | None = None, name: str = "the checkpoint"
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the config and the weights of the ViTMAEModel that the authors' names stand for; `name` is for messages.

    The tensors have the names that the published repositories have, which every version of transformers reads.

    >>> convert({"conv1.weight": torch.zeros(2)})
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: the checkpoint: no masked autoencoder in its authors' format: it lacks cls_token; ...
    """
    config = _config(weights, heads, name)
    made: dict[str, torch.Tensor] = {}
    for key, value in weights.items():
        if _LEFT_OUT.match(key):
            continue
        found = _BLOCK.fullmatch(key)
        layer = f"encoder.layer.{found[1]}" if found else ""
        if key in _OUTSIDE:
            made[_OUTSIDE[key]] = value.contiguous()
        elif found and found[2] == "attn.qkv":
            for letter, part in zip(("query", "key", "value"), value.chunk(3)):
                made[f"{layer}.attention.attention.{letter}.{found[3]}"] = part.contiguous().clone()
        elif found and found[2] in _INSIDE:
            made[f"{layer}.{_INSIDE[found[2]]}.{found[3]}"] = value.contiguous()
        else:
            raise BadInput(f"{name}: ViTMAEModel has no place for {key}; not a network that it can represent")
    needed = _shapes(config)
    for key in dict.fromkeys((*needed, *made)):
        there, asked = (None if (shape := side.get(key)) is None else list(shape) for side in (_sizes(made), needed))
        if there != asked:
            raise BadInput(f"{name}: no ViTMAEModel: its {key} is {asked}, the checkpoint's {there}")
    return config, made


def _sizes(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in weights.items()}


def _config(weights: Mapping[str, torch.Tensor], heads: int | None, name: str) -> dict[str, Any]:
    """The sizes that the weights show."""
    for key in ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight"):
        if key not in weights:
            raise BadInput(f"{name}: no masked autoencoder in its authors' format: it lacks {key}; give another")
    patches, hidden = weights["patch_embed.proj.weight"], weights["blocks.0.mlp.fc1.weight"]
    if patches.ndim != 4 or hidden.ndim != 2 or weights["pos_embed"].ndim != 3:
        raise BadInput(f"{name}: its patches, positions or layers have other shapes than a vision transformer's")
    width, patch = int(patches.shape[0]), int(patches.shape[-1])
    side = round((weights["pos_embed"].shape[1] - 1) ** 0.5)
    heads = heads or HEADS.get(width)
    if not heads or width % heads:
        known = ", ".join(f"{count} for {channels}" for channels, count in HEADS.items())
        raise BadInput(f"{name}: {width} channels and {heads or 'unknown'} heads; say --heads, a divisor ({known})")
    return {
        "model_type": "vit_mae",
        "architectures": ["ViTMAEModel"],
        "hidden_size": width,
        "num_hidden_layers": len({found[1] for key in weights if (found := _BLOCK.fullmatch(key))}),
        "num_attention_heads": heads,
        "intermediate_size": int(hidden.shape[0]),
        "image_size": side * patch,
        "patch_size": patch,
        "qkv_bias": "blocks.0.attn.qkv.bias" in weights,
        "layer_norm_eps": 1e-6,
    }


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The tensors that the network of a config has: name -> shape."""
    width, inner, patch = config["hidden_size"], config["intermediate_size"], config["patch_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.position_embeddings": (1, (config["image_size"] // patch) ** 2 + 1, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (width,),
    }
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        for letter in ("query", "key", "value"):
            shapes[f"{layer}.attention.attention.{letter}.weight"] = (width, width)
            if config["qkv_bias"]:
                shapes[f"{layer}.attention.attention.{letter}.bias"] = (width,)
        for module, made, given in (
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ):
            shapes |= {f"{layer}.{module}.weight": (made, given), f"{layer}.{module}.bias": (made,)}
        for norm in ("layernorm_before", "layernorm_after"):
            shapes |= {f"{layer}.{norm}.{kind}": (width,) for kind in ("weight", "bias")}
    return {**shapes, "layernorm.weight": (width,), "layernorm.bias": (width,)}
