"""Trained networks as folders: written in half precision, and put in the place of the last one whole."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
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


def save_preprocessor(
    folder: Path, kind: str, side: int, mean: Sequence[float], std: Sequence[float], **more: Any
) -> None:
    """Write how pictures are prepared for a network that takes `side` pixels, as transformers' image processors say it.

    kind  the processor's class     mean, std  of each channel, of pixels in [0, 1]     more  settings beside these
    """
    settings = {
        "image_processor_type": kind,
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,  # Pillow's bicubic
        **more,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")


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
