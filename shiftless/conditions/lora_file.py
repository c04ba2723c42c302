"""LoRA files: located and read, in the formats of every common tool."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from shiftless.conditions.hub import fetch_command, fetched
from shiftless.conditions.lora_format import PARTS, LoraFile, parse_lora
from shiftless.digest import digest_of_files
from shiftless.errors import BadInput

WEIGHTS = "pytorch_lora_weights.safetensors"
PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_READ_OR_IDLE = {
    "task_type", "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode",
    "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "init_lora_weights", "eva_config", "ensure_weight_tying",
    "qalora_group_size", "megatron_core",
}  # fmt: skip
"""Settings of peft that are followed, or that change nothing once a LoRA is trained."""
_OTHER_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations of a LoRA that change the weights of the base model too."""


def find_lora(name: str | os.PathLike[str]) -> Path:
    """Return the file of a LoRA: a .safetensors file, a folder holding one, or a hub id fetched before.

    A folder as peft saves it is found as well; where it has one in `unet/`, `transformer/`, `text_encoder/` or
    `text_encoder_2/`, the folder is returned. A hub id may go on with a path inside the repository. Nothing is fetched.
    Raises BadInput for what is not there, a file of another kind, and a folder of several.

    >>> find_lora("horses.safetensors")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: horses.safetensors: no such LoRA file or folder; check the path
    """
    path = Path(name)
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise BadInput(f"{path}: a LoRA is loaded from .safetensors only; save it again in that format")
        return path
    owner, *inside = str(name).split("/")
    plain = len(inside) > 0 and owner != "~" and all(part not in ("", ".", "..") for part in (owner, *inside))
    if not plain or inside[0].endswith(".safetensors"):
        raise BadInput(f"{name}: no such LoRA file or folder; check the path")
    hub_id = f"{owner}/{inside[0]}"
    folder = fetched(hub_id)
    below = "/".join(inside[1:])
    also = below if below.endswith(".safetensors") else f"{below}/*"
    command = fetch_command(hub_id) + (f' --also "{also}"' if below else "")
    if folder is None:
        raise BadInput(f"{name}: no such LoRA file or folder, and not fetched from the hub; check it, or: {command}")
    place = folder.joinpath(*inside[1:])
    if not place.exists() or not any(folder.rglob("*.safetensors")):
        raise BadInput(f"{name}: {hub_id} was fetched without it; check the name, or fetch it with: {command}")
    return find_lora(place)


def lora_files(name: str | os.PathLike[str]) -> dict[str, Path]:
    """Return every file that a LoRA is read from, by the role each has; raises BadInput as `find_lora` does.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for file in ("adapter_model.safetensors", "adapter_config.json", "README.md"):
    ...         Path(folder, file).touch()
    ...     list(lora_files(folder))
    ['weights', 'settings']
    """
    path = find_lora(name)
    if path.is_file():
        return _with_settings(path)
    files = {part: _with_settings(path / part / PEFT_WEIGHTS) for part in PARTS}
    return {f"{role} of {part}": file for part, of in files.items() for role, file in of.items() if file.is_file()}


def _with_settings(weights: Path) -> dict[str, Path]:
    settings = weights.with_name(PEFT_CONFIG)
    kept = weights.name == PEFT_WEIGHTS and settings.is_file()
    return {"weights": weights, **({"settings": settings} if kept else {})}


def _in_folder(folder: Path) -> Path:
    for name in (WEIGHTS, PEFT_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    if any((folder / part / PEFT_WEIGHTS).is_file() for part in PARTS):
        return folder
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        holds = f"several ({', '.join(f.name for f in files)})" if files else "none"
        raise BadInput(f"{folder}: the folder must hold one .safetensors LoRA, it holds {holds}; give the file itself")
    return files[0]


def read_lora(name: str | os.PathLike[str]) -> LoraFile:
    """Read a LoRA written by diffusers (peft's names or its older ones), peft or kohya's scripts; some are kept.

    Raises BadInput, naming the file, where it is no whole safetensors file, holds no LoRA, or one of another kind.
    """
    return _read(find_lora(name), digest_of_lora(name))


def digest_of_lora(name: str | os.PathLike[str]) -> str:
    """Return the digest of a LoRA's contents, wherever it lies: its weights, and peft's settings beside them.

    Raises BadInput as `find_lora` does.
    """
    return digest_of_files(lora_files(name))


@lru_cache(maxsize=4)
def _read(path: Path, _digest: str) -> LoraFile:
    if path.is_file():
        return _one(path, "")
    files = [_one(path / part / PEFT_WEIGHTS, part) for part in PARTS if (path / part / PEFT_WEIGHTS).is_file()]
    parts = {part: pairs for one in files for part, pairs in one.parts.items() if pairs}
    strange = tuple(key for one in files for key in one.strange)
    return LoraFile(str(path), parts, strange, any(one.original for one in files))


def _one(path: Path, part: str) -> LoraFile:
    """Read one file; `part` is the part of the model that the file is for, if its folder names one."""
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            state: dict[str, torch.Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path}: not a whole safetensors file ({reason}); fetch or save it again") from None
    config = None
    if path.name == PEFT_WEIGHTS:
        config = read_config(path.with_name(PEFT_CONFIG))
    lora = parse_lora(str(path), state, metadata, config, part)
    others = [other for other, pairs in lora.parts.items() if pairs and part and other != part]
    if others:
        raise BadInput(f"{path}: holds layers of the {others[0]}, not of the {part}; move it to {others[0]}/")
    return lora


def read_config(path: Path) -> Mapping[str, Any]:
    """Read peft's settings of a LoRA; raises BadInput for settings that would make other features than peft does.

    >>> read_config(Path("nowhere/adapter_config.json"))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere/adapter_config.json: cannot be read; it must lie beside the weights, ...
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise BadInput(f"{path}: cannot be read; it must lie beside the weights, as it holds their alpha") from None
    except (ValueError, RecursionError):
        raise BadInput(f"{path}: not valid JSON; fetch or save the LoRA again") from None
    if not isinstance(config, dict) or not isinstance(config.get("peft_type", "LORA"), str):
        raise BadInput(f"{path}: not the settings of a LoRA; fetch or save the LoRA again")
    if config.get("peft_type", "LORA") != "LORA":
        raise BadInput(f"{path}: an adapter of the kind {config['peft_type']}, which is not supported; give a LoRA")
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(_OTHER_BASE):
        raise BadInput(
            f"{path}: begun by {start}, so it needs other base weights; save it with peft's "
            "path_initial_model_for_weight_conversion"
        )
    unset: tuple[Any, ...] = (None, False, "none", [], {})
    unknown = [key for key, value in config.items() if key not in _READ_OR_IDLE and value not in unset]
    if unknown:
        raise BadInput(f"{path}: the setting {unknown[0]} is not supported; give a plain LoRA or a DoRA")
    return {"lora_alpha": 8, **config}  # peft's own default
