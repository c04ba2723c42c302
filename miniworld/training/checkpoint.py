"""Checkpoints of a training run, written atomically."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from shiftless.errors import BadInput


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically: a run that is killed meanwhile leaves the last one whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".tmp")
    torch.save(state, part)
    os.replace(part, path)


def load_checkpoint(path: str | Path) -> dict[str, Any] | None:
    """Read a checkpoint, or give None when there is none yet; raises `BadInput` when it cannot be read."""
    path = Path(path)
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadInput(f"{path}: not a checkpoint of this program ({error}); delete it to start anew") from error
    return state


def save_half(model: Any, folder: Path) -> None:
    """Write a network, which is moved to the CPU and to half precision, as a folder that plain `from_pretrained` loads.

    The weights are float16 safetensors; the config says that they are to be computed in float32.
    """
    model.cpu().half().save_pretrained(folder)
    config = folder / "config.json"
    text = re.sub(r'"(torch_)?dtype": "float16"', r'"\1dtype": "float32"', config.read_text())
    config.write_text(re.sub(r'\s*"_name_or_path": .*', "", text))  # a local path means nothing elsewhere


def swap_folder(folder: str | Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder, then put it in the place of `folder`: readers see the old one or the new one."""
    folder = Path(folder)
    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    for path in (new, old):
        shutil.rmtree(path, ignore_errors=True)
    new.mkdir(parents=True)
    write(new)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)
