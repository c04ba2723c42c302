"""ResNets with torchvision's names (SwAV, DINO, MoCo, torchvision's own) -> a folder of transformers' ResNetModel."""

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
from shiftless.taps.lock import construction

_BEFORE = re.compile(r"^(module|encoder_q|backbone|encoder|resnet)\.")
_HEADS = re.compile(r"^(projection_head|prototypes|fc|head|predictor|queue|encoder_k|momentum_encoder)\b")
_BLOCK = re.compile(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(.+)")


def convert_checkpoint(checkpoint: str | os.PathLike[str], folder: str | os.PathLike[str], *, size: int = 224) -> Path:
    """Convert a ResNet with torchvision's names to a folder that `shiftless.load` reads; return the folder.

    checkpoint  a .safetensors file, or one that torch.save wrote; of that, tensors are read and no code is run
    size        the side in pixels of the pictures that it was trained on, which it is read at by default

    Widths and depths are taken from the weights, so that wider networks (SwAV's ResNet-50w2) are read too; prefixes
    such as `module.`, and heads for training, are left out. Pictures are normalised by ImageNet's mean and standard
    deviation, and a bottleneck's stride is in its 3x3 convolution, as in all networks of torchvision's code. Raises
    BadInput for a network that ResNetModel cannot express, such as a ResNeXt.
    """
    place = Path(folder)
    if place.exists():
        raise BadInput(f"{folder}: exists already; give a folder that does not")
    config, weights = convert(read_checkpoint(checkpoint), str(checkpoint))
    from safetensors.torch import save

    prepared = {"image_mean": list(MEAN), "image_std": list(STD), "crop_size": {"height": size, "width": size}}
    write_atomic(place / "model.safetensors", save(weights, {"format": "pt"}))
    for file, content in (("preprocessor_config.json", prepared), ("config.json", config)):
        write_atomic(place / file, (json.dumps(content, indent=2) + "\n").encode())
    return place


def convert(
    weights: Mapping[str, torch.Tensor], name: str = "the checkpoint"
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the config and the weights of the ResNetModel that torchvision's names stand for; `name` is for messages.

    >>> convert({"visual.proj": torch.zeros(2)})
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: the checkpoint: no ResNet with torchvision's names (conv1, layer1.0.conv1 ...): it ...
    """
    plain: dict[str, torch.Tensor] = {}
    for key, value in weights.items():
        while not _HEADS.match(key) and _BEFORE.match(key):
            key = _BEFORE.sub("", key, count=1)
        if not _HEADS.match(key):
            plain[key] = value
    made = {ours: value.contiguous() for key, value in plain.items() if (ours := _renamed(key))}
    strange = next((key for key in plain if not _renamed(key)), "")
    if strange or "conv1.weight" not in plain or "layer1.0.conv1.weight" not in plain:
        what = f"holds {strange!r}" if strange else "lacks them"
        raise BadInput(f"{name}: no ResNet with torchvision's names (conv1, layer1.0.conv1 ...): it {what}")
    config = _config(plain)
    needed = _network(config).state_dict()
    for key in dict.fromkeys((*needed, *made)):
        if key.endswith("num_batches_tracked"):  # a count of training steps, which some codes leave out
            made.setdefault(key, torch.tensor(0))
        there, asked = (None if side.get(key) is None else list(side[key].shape) for side in (made, needed))
        if there != asked:
            raise BadInput(f"{name}: no ResNet that ResNetModel can be: its {key} is {asked}, the checkpoint's {there}")
    return config, made


def _renamed(key: str) -> str:
    """What ResNetModel calls a tensor; "" for one that it has not."""
    stem = re.fullmatch(r"(conv|bn)1\.(\w+)", key)
    if stem:
        return f"embedder.embedder.{_kind(stem[1])}.{stem[2]}"
    found = _BLOCK.fullmatch(key)
    if not found:
        return ""
    block, (kind, number) = f"encoder.stages.{int(found[1]) - 1}.layers.{found[2]}", found.group(3, 4)
    if kind == "downsample.":
        return f"{block}.shortcut.{_kind('bn' if number == '1' else 'conv')}.{found[5]}"
    return f"{block}.layer.{int(number) - 1}.{_kind(kind)}.{found[5]}"


def _kind(name: str) -> str:
    return "convolution" if name == "conv" else "normalization"


def _config(weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The widths and depths that the weights show."""
    bottleneck = "layer1.0.conv3.weight" in weights
    stages = sorted({int(found[1]) for key in weights if (found := _BLOCK.fullmatch(key))})
    last = "conv3" if bottleneck else "conv2"
    depths = [len({key.split(".")[1] for key in weights if key.startswith(f"layer{stage}.")}) for stage in stages]
    widths = [int(weights[f"layer{stage}.0.{last}.weight"].shape[0]) for stage in stages]
    return {
        "model_type": "resnet",
        "architectures": ["ResNetModel"],
        "embedding_size": int(weights["conv1.weight"].shape[0]),
        "hidden_sizes": widths,
        "depths": depths,
        "layer_type": "bottleneck" if bottleneck else "basic",
        "hidden_act": "relu",
        "downsample_in_bottleneck": False,
    }


def _network(config: Mapping[str, Any]) -> Any:
    """The network of a config, without memory."""
    from transformers import ResNetConfig, ResNetModel

    settings = {key: value for key, value in config.items() if key not in ("model_type", "architectures")}
    with construction(), torch.device("meta"):
        return ResNetModel(ResNetConfig(**settings))
