"""Checkpoints of other codes, read as tensors by name: no code in them is run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from shiftless.errors import BadInput, first_line

_INSIDE = ("state_dict", "model")  # what training codes keep the network's weights under


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint by name: of a safetensors file, or of what torch.save wrote.

    Of a pickle, tensors and plain values are read and nothing is run (`weights_only`); where it holds more than the
    network, its "state_dict" or "model" is taken. Raises BadInput for a file that is missing, damaged or something
    else.

    >>> read_checkpoint("nowhere.pth.tar")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere.pth.tar: no such file; give a checkpoint
    """
    place = Path(path)
    if not place.is_file():
        raise BadInput(f"{path}: no such file; give a checkpoint")
    try:
        if place.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(place)
        read: Any = torch.load(place, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise many kinds; the user needs one line
        line = first_line(error)
        raise BadInput(f"{path}: not tensors alone, or damaged ({line}); fetch the checkpoint again") from None
    for name in _INSIDE:
        if isinstance(read, dict) and isinstance(read.get(name), dict):
            read = read[name]
    if not isinstance(read, dict) or not read or not all(isinstance(value, torch.Tensor) for value in read.values()):
        raise BadInput(f"{path}: holds other things than tensors by name; give the network's own weights")
    return {str(name): value for name, value in read.items()}
