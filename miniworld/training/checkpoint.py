"""Trained networks as folders: written in half precision, and put in the place of the last one whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shiftless.conditions.silence import silenced


def save_half(model: Any, folder: Path) -> None:
    """Write a network, which is moved to the CPU and to half precision, as a folder that plain `from_pretrained` loads.

    The weights are float16 safetensors; the config says that they are to be computed in float32.
    """
    with silenced():
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
