"""Weight files of a model folder: which of them are read, and the remedy if none can be."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shiftless.conditions.hub import fetch_again
from shiftless.errors import BadInput

DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model", "model"
"""What the libraries call a model's weights, without the suffix."""
VARIANTS = ("", "fp16", "bf16", "fp32")
"""Precisions in file names, in order of preference; other variants hold different weights."""
_PICKLES = {DIFFUSERS: "diffusion_pytorch_model", TRANSFORMERS: "pytorch_model"}
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Weights:
    """The files that a model's weights are read from, and the `variant` argument for `from_pretrained`."""

    files: tuple[Path, ...]
    variant: str | None


def find_weights(folder: Path, stem: str, loader: str = "") -> Weights:
    """Return the safetensors weights of a folder: the usual ones, or those of half precision if there are no others.

    stem      DIFFUSERS or TRANSFORMERS
    loader    the class of diffusers that converts a single-file checkpoint of this kind, if one does

    Raises BadInput, with the remedy, where there are none, where a part of them is missing, where there are others
    only (such as those without averaging, "non_ema"), and for the pointers that git leaves without git-lfs.

    >>> find_weights(Path("nowhere"), TRANSFORMERS)
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: no safetensors weights here (model.safetensors); save the model again ...
    """
    for variant in VARIANTS:
        dotted = f".{variant}" if variant else ""
        files = [folder / f"{stem}{dotted}.safetensors"]
        index = folder / f"{stem}.safetensors.index{dotted}.json"
        if not files[0].is_file() and index.is_file():
            shards = _shards(index)
            lacking = [shard for shard in shards if not (folder / shard).is_file()]
            if lacking:
                remedy = fetch_again(folder) or "copy or save the whole model again"
                raise BadInput(f"{folder}: {len(lacking)} of {len(shards)} parts are missing ({lacking[0]}); {remedy}")
            files = [index, *(folder / shard for shard in shards)]
        if all(file.is_file() for file in files):
            pointer = next((file for file in files if _is_pointer(file)), None)
            if pointer is not None:
                raise BadInput(f"{pointer}: a pointer of git-lfs, not the weights; run: git lfs pull")
            return Weights(tuple(files), variant or None)
    raise BadInput(_none_found(folder, stem, loader))


def converted(checkpoint: Path, loader: str) -> str:
    """Return the one line for a single-file checkpoint, with the command that makes a diffusers folder of it."""
    file, folder = json.dumps(str(checkpoint)), json.dumps(str(checkpoint.with_suffix("")))
    code = f"import diffusers; diffusers.{loader}.from_single_file({file}).save_pretrained({folder})"
    return (
        f"{checkpoint}: a single-file checkpoint that is not read as it is; "
        f"make one of it once with: python -c {shlex.quote(code)}"
    )


def _none_found(folder: Path, stem: str, loader: str) -> str:
    names = sorted(file.name for file in folder.glob("*") if file.is_file())
    usual, refetch = f"{stem}.safetensors", fetch_again(folder)
    others = [name for name in names if re.fullmatch(rf"{stem}\.\w+\.safetensors", name)]
    if others:
        return f"{folder}: holds {', '.join(others)} and no {usual}; {refetch or f'put {usual} there'}"
    pickles = [name for name in names if re.fullmatch(rf"{_PICKLES[stem]}(\.\w+)?(-\d+-of-\d+)?\.bin", name)]
    if pickles:
        first = f"{folder}: no {usual}, but {pickles[0]}, a pickle, which is never opened here"
        return f"{first}; convert it once, without running code from it: {_to_safetensors(folder, stem, pickles)}"
    single = [name for name in names if name.endswith(".safetensors")]
    if single and loader:
        return converted(folder / single[0], loader)
    none = f"{folder}: no safetensors weights here ({usual}){f'; it holds {single[0]}' if single else ''}"
    if refetch:
        return f"{none}; {refetch}"
    return f"{none}; save the model again as safetensors"


def _to_safetensors(folder: Path, stem: str, pickles: Sequence[str]) -> str:
    """The command that saves a pickle's tensors; torch's weights_only refuses anything but tensors."""
    usual = [name for name in pickles if name.count(".") == 1] or pickles
    kind = usual[0].removesuffix(".bin").split(".")[1].split("-")[0] if usual[0].count(".") == 2 else ""
    together = [name for name in usual if "-of-" in name] if "-of-" in usual[0] else usual[:1]
    target = json.dumps(f"{stem}{'.' + kind if kind else ''}.safetensors")
    code = (
        "import torch; from safetensors.torch import save_file; save_file({k: v.clone().contiguous() "
        f'for f in {json.dumps(together)} for k, v in torch.load(f, map_location="cpu", weights_only=True).items()}}, '
        f'{target}, {{"format": "pt"}})'
    )
    return f"cd {shlex.quote(str(folder))} && python -c {shlex.quote(code)}"


def _shards(index: Path) -> list[str]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names = set()
    if not names or not all(isinstance(name, str) and re.fullmatch(r"[\w.-]+\.safetensors", name) for name in names):
        raise BadInput(f"{index}: not an index of safetensors files; fetch or save the model again")
    return sorted(names)


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_POINTER)) == _POINTER
