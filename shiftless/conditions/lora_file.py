"""LoRA files: found, read and brought to one form, whichever tool wrote them."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from shiftless.conditions.hub import fetch_command, fetched
from shiftless.digest import digest_of_files
from shiftless.errors import BadInput

WEIGHTS = "pytorch_lora_weights.safetensors"
PARTS = ("unet", "text_encoder")
_PAIR = re.compile(r"(.+)\.lora_([AB])\.weight")
_HALVES = (
    (".lora_up.weight", ".lora_down.weight"),
    (".lora.up.weight", ".lora.down.weight"),
    (".lora_B.weight", ".lora_A.weight"),
)
_OTHER_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_w": "LoHa",
    "lokr_w": "LoKr",
    "lora_mid": "Tucker-decomposed LoCon",
}
_WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "SDXL"}  # of the prompt embeddings


@dataclass(frozen=True)
class Pair:
    """What one layer gains: up(down(x)), with alpha / rank already in `up`.

    down  r C, or r C h w for a convolution      up  D r, or D r 1 1
    """

    down: torch.Tensor
    up: torch.Tensor


@dataclass(frozen=True)
class LoraFile:
    """A LoRA in one form: part ("unet", "text_encoder") -> module path -> Pair; `strange` are keys of neither."""

    name: str
    parts: dict[str, dict[str, Pair]]
    strange: tuple[str, ...]

    @property
    def made_for(self) -> str:
        """The family the LoRA seems to be for, or "" where nothing tells.

        >>> pair = Pair(torch.zeros(4, 768), torch.zeros(320, 4))
        >>> LoraFile("my", {"unet": {"down_blocks.0.attn2.to_k": pair}}, ()).made_for
        'Stable Diffusion 1'
        """
        if any(re.match(r"text_encoder_2\.|lora_te2_", key) or "add_embedding" in key for key in self.strange):
            return "SDXL"
        if any("transformer" in key.split(".")[0] or "double_blocks" in key for key in self.strange):
            return "a transformer such as SD3 or Flux"
        widths = {p.down.shape[1] for path, p in self.parts.get("unet", {}).items() if path.endswith("attn2.to_k")}
        return _WIDTHS.get(widths.pop(), "") if len(widths) == 1 else ""


def find_lora(name: str | os.PathLike[str]) -> Path:
    """Return the file of a LoRA: a .safetensors file, a folder holding one, or a hub id fetched before.

    Nothing is fetched. Raises BadInput for what is not there, a file of another kind, and a folder of several.

    >>> find_lora("horses.safetensors")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: horses.safetensors: no such LoRA file or folder; check the path
    """
    path = Path(name)
    if path.is_dir():
        return _only_weights(path)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise BadInput(f"{path}: a LoRA is loaded from .safetensors only; save it again in that format")
        return path
    parts = str(name).split("/")
    if len(parts) not in (2, 3) or not all(parts) or parts[0] in (".", "..", "~") or parts[1].endswith(".safetensors"):
        raise BadInput(f"{name}: no such LoRA file or folder; check the path")
    hub_id = "/".join(parts[:2])
    folder = fetched(hub_id)
    if folder is None:
        raise BadInput(
            f"{name}: no such LoRA file or folder, and not fetched from the hub; check it, or: {fetch_command(hub_id)}"
        )
    return find_lora(folder / parts[2]) if len(parts) == 3 else _only_weights(folder)


def _only_weights(folder: Path) -> Path:
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        holds = f"several ({', '.join(f.name for f in found)})" if found else "none"
        raise BadInput(f"{folder}: the folder must hold one .safetensors LoRA, it holds {holds}; give the file itself")
    return found[0]


def read_lora(name: str | os.PathLike[str]) -> LoraFile:
    """Read a LoRA written by diffusers (peft's names or its older ones) or kohya's scripts; the last few are kept.

    Raises BadInput, naming the file, where it is no whole safetensors file, holds no LoRA, or one of another kind.
    """
    return _read(find_lora(name), digest_of_lora(name))


def digest_of_lora(name: str | os.PathLike[str]) -> str:
    """Return the digest of a LoRA's contents, wherever it lies: its weights, and peft's settings beside them.

    Raises BadInput as `find_lora` does.
    """
    path = find_lora(name)
    settings = path.with_name("adapter_config.json")
    return digest_of_files({"weights": path, **({settings.name: settings} if settings.is_file() else {})})


@lru_cache(maxsize=4)
def _read(path: Path, _digest: str) -> LoraFile:
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # it is no mapping
            metadata = file.metadata() or {}
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path}: not a whole safetensors file ({reason}); fetch or save it again") from None
    return parse_lora(str(path), state, metadata)


def parse_lora(name: str, state: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> LoraFile:
    """Bring a LoRA's tensors to one form, with diffusers' own converters.

    metadata  the file's; diffusers keeps alpha there

    Raises BadInput, naming the LoRA, where it holds no LoRA layers or layers of another kind.

    >>> key = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_{}.weight"
    >>> state = {key.format("A"): torch.zeros(2, 8), key.format("B"): torch.zeros(8, 2)}
    >>> list(parse_lora("my", state).parts["unet"])
    ['mid_block.attentions.0.transformer_blocks.0.attn1.to_q']
    """
    from diffusers.loaders import StableDiffusionLoraLoaderMixin
    from diffusers.utils import convert_unet_state_dict_to_peft

    for key in state:
        kind = next((kind for mark, kind in _OTHER_KINDS.items() if mark in key), None)
        if kind:
            raise BadInput(f"{name}: a {kind}, which is not supported; give a plain LoRA")
    if not any("lora" in key for key in state):
        example = f" (it holds {len(state)} tensors, such as {next(iter(state))})" if state else ""
        raise BadInput(f"{name}: holds no LoRA layers{example}; give a LoRA file")
    state = _alpha_folded(state)
    if all(key.startswith(("down_blocks.", "mid_block.", "up_blocks.")) for key in state):
        state = {f"unet.{key}": value for key, value in state.items()}  # how early diffusers saved a UNet's LoRA
    try:
        found: dict[str, torch.Tensor] = StableDiffusionLoraLoaderMixin.lora_state_dict(dict(state))[0]
        of = {p: {k.removeprefix(f"{p}."): v for k, v in found.items() if k.startswith(f"{p}.")} for p in PARTS}
        of["unet"] = convert_unet_state_dict_to_peft(of["unet"])
        of["text_encoder"] = _text_to_peft(of["text_encoder"])
    except (ValueError, KeyError) as error:  # what the converters raise for keys that they cannot place
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{name}: its keys are of no format known here ({reason}); give a LoRA of diffusers") from None
    strange = [key for key in found if not key.startswith(tuple(f"{p}." for p in PARTS))]
    parts = {}
    for part in PARTS:
        parts[part], odd = _pairs(of[part], part, _saved_config(name, metadata or {}))
        strange += [f"{part}.{key}" for key in odd]
    return LoraFile(name, parts, tuple(strange))


def _alpha_folded(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Multiply each up weight by its alpha / rank, where a file has alphas beside the weights."""
    state = dict(state)
    for key in [key for key in state if key.endswith(".alpha")]:
        stem = key.removesuffix(".alpha")
        for up, down in _HALVES:
            if stem + up in state and stem + down in state:
                state[stem + up] = state[stem + up].float() * (float(state.pop(key)) / len(state[stem + down]))
                break
    return state


def _text_to_peft(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    from diffusers.utils import convert_state_dict_to_peft
    from diffusers.utils.state_dict_utils import StateDictType

    # The older table covers the newer names too; left to guess, diffusers needs an out_proj among the keys.
    changed: dict[str, torch.Tensor] = convert_state_dict_to_peft(state, original_type=StateDictType.DIFFUSERS_OLD)
    return changed


def _saved_config(name: str, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        raise BadInput(f"{name}: its lora_adapter_metadata is not JSON; save the LoRA again") from None
    return config


def _pairs(state: dict[str, torch.Tensor], part: str, config: dict[str, Any]) -> tuple[dict[str, Pair], list[str]]:
    """Join the halves of each layer; return them and the keys that are no half of any."""
    halves: dict[str, dict[str, torch.Tensor]] = {}
    strange = []
    for key, value in state.items():
        match = _PAIR.fullmatch(key)
        if match and value.ndim in (2, 4):
            halves.setdefault(match[1], {})[match[2]] = value
        else:
            strange.append(key)
    pairs = {}
    for path, half in halves.items():
        if set(half) == {"A", "B"} and half["A"].shape[0] == half["B"].shape[1]:
            pairs[path] = Pair(half["A"], _scaled(half["B"], path, part, config))
        else:
            strange += [f"{path}.lora_{letter}.weight" for letter in half]
    return pairs, strange


def _scaled(up: torch.Tensor, path: str, part: str, config: dict[str, Any]) -> torch.Tensor:
    """Multiply by alpha / rank as peft's saved config has them; without one the scale is 1."""
    alpha = config.get(f"{part}.lora_alpha")
    if alpha is None:
        return up
    for pattern, value in (config.get(f"{part}.alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            alpha = value
            break
    rank = up.shape[1]
    scale = float(alpha) / (math.sqrt(rank) if config.get(f"{part}.use_rslora") else rank)
    return up if scale == 1 else up.float() * scale
