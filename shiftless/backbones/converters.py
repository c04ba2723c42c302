"""Converters: checkpoints that other codes trained -> folders that load; weights' names tell the kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftless.backbones import guided_diffusion, mae_checkpoint, torchvision_resnet
from shiftless.backbones.checkpoint import read_checkpoint
from shiftless.errors import BadInput


@dataclass(frozen=True)
class Kind:
    """One kind of checkpoint.

    about    what it is called in messages
    mark     the end of a tensor's name that no other kind has
    options  the options that `convert` takes for it
    convert  the function that makes the folder
    """

    about: str
    mark: str
    options: tuple[str, ...]
    convert: Callable[..., Path]


def _guided(checkpoint: Path, folder: Path, *, heads: int | None = None, **options: Any) -> Path:
    if heads not in (None, 1):
        raise BadInput(f"--heads {heads}: only one head, or heads of equally many channels, can be represented")
    if heads == 1:
        options["head_channels"] = None
    return guided_diffusion.convert_checkpoint(checkpoint, folder, **options)


KINDS = (
    Kind(
        "a UNet of guided-diffusion",
        "input_blocks.0.0.weight",
        ("size", "head_channels", "heads", "new_attention_order", "schedule"),
        _guided,
    ),
    Kind(
        "a masked autoencoder in its authors' format",
        "patch_embed.proj.weight",
        ("heads",),
        mae_checkpoint.convert_checkpoint,
    ),
    Kind(
        "a ResNet with torchvision's names", "layer1.0.conv1.weight", ("size",), torchvision_resnet.convert_checkpoint
    ),
)


def convert(checkpoint: str | os.PathLike[str], folder: str | os.PathLike[str], options: Mapping[str, Any]) -> Path:
    """Convert a checkpoint of one of the kinds to a folder that `shiftless.load` reads; return the folder.

    options  what cannot be told from the weights; the kind's function documents each, and has defaults

    Raises BadInput for a checkpoint of no kind, for an option that its kind does not take, and for a folder that
    exists already.

    >>> convert("nowhere.pt", "model", {})
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere.pt: no such file; give a checkpoint
    """
    names = list(read_checkpoint(checkpoint))
    kind = next((kind for kind in KINDS if any(name.endswith(kind.mark) for name in names)), None)
    if kind is None:
        known = ", ".join(kind.about for kind in KINDS[:-1])
        raise BadInput(f"{checkpoint}: none of the checkpoints that are converted: {known}, {KINDS[-1].about}")
    for name in options:
        if name not in kind.options:
            takes = ", ".join(_flag(one) for one in kind.options)
            raise BadInput(f"{checkpoint}: is {kind.about}, for which {_flag(name)} means nothing; it takes {takes}")
    return kind.convert(Path(checkpoint), Path(folder), **options)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
