"""LoRA tensors: converted from the formats of every common tool to one."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from shiftless.errors import BadInput

PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2")
_DENOISERS = PARTS[:2]
_PAIR = re.compile(r"(.+)\.lora_([AB])\.weight")
_HALVES = (
    (".lora_up.weight", ".lora_down.weight"),
    (".lora.up.weight", ".lora.down.weight"),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
    (".lora_B.weight", ".lora_A.weight"),
)
_DIFFUSION = "diffusion_model."  # before the names of layers, in files of ComfyUI
_MAGNITUDES = (".dora_scale", ".lora_magnitude_vector")
_EMBEDDINGS = "bundle_emb."  # textual-inversion embeddings that some tools save in a LoRA's file
_TOPS = {
    "unet": {"down_blocks", "mid_block", "up_blocks", "conv_in", "conv_out", "time_embedding", "add_embedding"},
    "transformer": {
        "transformer_blocks", "single_transformer_blocks", "context_embedder", "x_embedder", "time_text_embed",
        "time_guidance_embed", "norm_out", "proj_out", "double_stream_modulation_img", "double_stream_modulation_txt",
        "single_stream_modulation", "img_in", "txt_in", "layers", "noise_refiner", "context_refiner",
    },
    "text_encoder": {"text_model", "encoder", "text_projection"},
}  # fmt: skip
"""The first names inside each part, for files that do not name the part."""
_ORIGINAL_NAMES = ("input_blocks", "middle_block", "output_blocks")  # that kohya's scripts give SDXL's blocks
_JOINT_NAMES = re.compile("(double|joint).blocks")
_BLOCK_NAMES = {  # what kohya's and XLabs' scripts name the blocks of a transformer -> diffusers' converter
    "lora_unet_(double|single)_blocks_": "FluxLoraLoaderMixin",
    r"(diffusion_model\.)?(double|single)_blocks\.\d+\.processor\.": "FluxLoraLoaderMixin",
    "lora_unet_transformer_blocks_": "QwenImageLoraLoaderMixin",
    "lora_unet_(layers|noise_refiner|context_refiner)_": "ZImageLoraLoaderMixin",
}
_OF_SDXL = re.compile(r"add_embedding|attentions\.\d+\.transformer_blocks\.[1-9]")
_OF_SD = re.compile(r"down_blocks\.(0\.attentions|3)|up_blocks\.3")
_OTHER_KINDS = {
    "hada_w": "LoHa",
    "lokr_w": "LoKr",
    "lora_mid": "Tucker-decomposed LoCon",
    "oft_": "OFT",
    "on_input": "(IA)3",
    "lora_controlnet": "Control-LoRA",
    ".diff": "difference of whole weights",
}
_WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "SDXL"}  # of the prompt embeddings


@dataclass(frozen=True)
class Pair:
    """The change of one layer: up(down(x)), with alpha / rank already in `up`.

    down       r C, or r C h w for a convolution      up  D r, or D r 1 1
    magnitude  None, or a DoRA's lengths of the rows of the changed weight, D; of its columns, 1 C
    """

    down: torch.Tensor
    up: torch.Tensor
    magnitude: torch.Tensor | None = None


@dataclass(frozen=True)
class LoraFile:
    """A LoRA in one form: part ("unet", "text_encoder" ...) -> module path -> Pair; `strange` are keys of none.

    original  whether it named the UNet's blocks as SDXL's first code does
    """

    name: str
    parts: dict[str, dict[str, Pair]]
    strange: tuple[str, ...]
    original: bool = False

    @property
    def made_for(self) -> str:
        """The family the LoRA seems to be for, or "" if it cannot be determined.

        >>> pair = Pair(torch.zeros(4, 768), torch.zeros(320, 4))
        >>> LoraFile("my", {"unet": {"down_blocks.0.attn2.to_k": pair}}, ()).made_for
        'Stable Diffusion 1'
        """
        unet = self.parts.get("unet", {})
        paths = [*self.strange, *unet]
        transformer = self.parts.get("transformer")
        if transformer or any("transformer" in key.split(".")[0] or _JOINT_NAMES.search(key) for key in paths):
            return "a transformer such as SD3 or Flux"
        if self.original or self.parts.get("text_encoder_2") or any(_OF_SDXL.search(path) for path in paths):
            return "SDXL"
        widths = {pair.down.shape[1] for path, pair in unet.items() if path.endswith(("attn2.to_k", "attn2.to_v"))}
        if len(widths) == 1:
            return _WIDTHS.get(widths.pop(), "")
        return "Stable Diffusion 1 or 2" if any(_OF_SD.search(path) for path in unet) else ""


def parse_lora(
    name: str,
    state: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    part: str = "",
) -> LoraFile:
    """Bring a LoRA's tensors to one form, with diffusers' own converters.

    metadata  the file's; diffusers keeps alpha there
    config    peft's, as `check_config` returns it; it has the alpha of every layer of the file
    part      the text encoder that the file is of, where its keys do not say it

    Embeddings that were saved along with it are left out, with a warning. Raises BadInput, naming the LoRA, where it
    holds no LoRA layers, layers of another kind, or numbers that are not finite.

    >>> key = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_{}.weight"
    >>> state = {key.format("A"): torch.zeros(2, 8), key.format("B"): torch.zeros(8, 2)}
    >>> list(parse_lora("my", state).parts["unet"])
    ['mid_block.attentions.0.transformer_blocks.0.attn1.to_q']
    """
    from diffusers import loaders
    from diffusers.utils import convert_unet_state_dict_to_peft

    words = sorted({key.split(".")[1] for key in state if key.startswith(_EMBEDDINGS)})
    state = _peft_names_shortened(name, {k: v for k, v in state.items() if not k.startswith(_EMBEDDINGS)}, part)
    original = any(key.startswith("lora_unet_") and block in key for key in state for block in _ORIGINAL_NAMES)
    _check_kind(name, state)
    state, magnitudes = _magnitudes_taken(_alpha_folded(state))
    try:
        options = {"unet_config": SimpleNamespace(layers_per_block=2)} if original else {}  # SDXL's
        converted: dict[str, torch.Tensor]
        mixin = next((mixin for names, mixin in _BLOCK_NAMES.items() for key in state if re.match(names, key)), "")
        if mixin:
            converted = getattr(loaders, mixin).lora_state_dict(dict(state))
        else:
            converted = loaders.StableDiffusionLoraLoaderMixin.lora_state_dict(dict(state), **options)[0]
        of = {p: {k.removeprefix(f"{p}."): v for k, v in converted.items() if k.startswith(f"{p}.")} for p in PARTS}
        of = {p: (convert_unet_state_dict_to_peft if p in _DENOISERS else _text_to_peft)(of[p]) for p in PARTS}
    except (
        ValueError,
        KeyError,
        IndexError,
        AssertionError,
    ) as error:  # what the converters raise for keys that they cannot place
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{name}: its keys are of no format known here ({reason}); give a LoRA of diffusers") from None
    strange = [key for key in converted if not key.startswith(tuple(f"{p}." for p in PARTS))]
    saved = _saved_config(name, metadata or {})
    parts = {}
    for one in PARTS:
        of_part = config or {k.removeprefix(f"{one}."): v for k, v in saved.items() if k.startswith(f"{one}.")}
        parts[one], odd = _pairs(name, of[one], of_part, magnitudes)
        strange += [f"{one}.{key}" for key in odd]
    if config and config.get("use_dora"):
        plain = [path for pairs in parts.values() for path, pair in pairs.items() if pair.magnitude is None]
        if plain:
            raise BadInput(f"{name}: a DoRA that lacks the magnitude of {plain[0]}; save it again")
    if words:
        warnings.warn(f"{name}: the textual-inversion embeddings in it ({', '.join(words)}) are left out", stacklevel=2)
    return LoraFile(name, parts, (*strange, *(key for key, _ in magnitudes.values())), original)


def _peft_names_shortened(name: str, state: Mapping[str, torch.Tensor], given: str) -> dict[str, torch.Tensor]:
    """Remove the names of peft's wrapper and adapter from the keys, and prefix keys that lack the part."""
    adapters = {match[1] for key in state if (match := re.search(r"\.lora_[AB]\.(\w+)\.weight$", key))}
    if len(adapters) > 1:
        raise BadInput(f"{name}: holds several adapters ({', '.join(sorted(adapters))}); save each in its own file")
    short = {}
    for key, value in state.items():
        key = re.sub(r"^(unet\.|transformer\.|text_encoder\.|text_encoder_2\.)?base_model\.model\.", r"\1", key)
        key = re.sub(r"(\.lora_[AB])\.\w+(\.weight)$", r"\1\2", key)
        key = re.sub(r"(\.lora_magnitude_vector)(\.\w+)*$", r"\1", key)
        top = key.removeprefix(_DIFFUSION).split(".")[0]
        if top in _TOPS["transformer"]:  # also as ComfyUI and the authors of distilled models name the layers
            key = key.removeprefix(_DIFFUSION).replace(".lora_down.", ".lora_A.").replace(".lora_up.", ".lora_B.")
        part = next((part for part, tops in _TOPS.items() if top in tops), "")
        if part == "text_encoder" and given.startswith(part):
            part = given
        short[f"{part}.{key}" if part else key] = value
    return short


def _check_kind(name: str, state: Mapping[str, torch.Tensor]) -> None:
    for key in state:
        kind = next((kind for mark, kind in _OTHER_KINDS.items() if mark in key), None)
        if kind:
            raise BadInput(f"{name}: a {kind}, which is not supported; give a plain LoRA or a DoRA")
    if not any("lora" in key for key in state):
        example = f" (it holds {len(state)} tensors, such as {next(iter(state))})" if state else ""
        raise BadInput(f"{name}: holds no LoRA layers{example}; give a LoRA file")
    for key, value in state.items():
        if not bool(value.float().isfinite().all()):
            raise BadInput(f"{name}: {key} holds values that are not finite; fetch the LoRA again, or train it anew")


def _alpha_folded(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Multiply each up weight by its alpha / rank, where a file has alphas beside the weights."""
    state = dict(state)
    for key in [key for key in state if key.endswith(".alpha") and state[key].numel() == 1]:
        stem = key.removesuffix(".alpha")
        for up, down in _HALVES:
            if stem + up in state and stem + down in state and len(state[stem + down]):
                state[stem + up] = state[stem + up].float() * (float(state.pop(key)) / len(state[stem + down]))
                break
    return state


def _magnitudes_taken(
    state: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[int, tuple[str, torch.Tensor]]]:
    """Separate a DoRA's magnitudes: id of the layer's down weight -> (key, magnitude D or 1 C).

    diffusers' converters drop or misplace them, but keep the tensors that they rename.
    """
    rest, taken = dict(state), {}
    for key, value in state.items():
        suffix = next((suffix for suffix in _MAGNITUDES if key.endswith(suffix)), "")
        stem = key.removesuffix(suffix)
        down = next((state[stem + down] for _, down in _HALVES if suffix and stem + down in state), None)
        if down is not None and value.numel():
            of_columns = suffix == ".dora_scale" and value.ndim > 1 and len(value) == 1 < value.shape[1]
            taken[id(down)] = (key, value.reshape(1, -1) if of_columns else value.flatten())
            del rest[key]
    return rest, taken


def _text_to_peft(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    from diffusers.utils import convert_state_dict_to_peft
    from diffusers.utils.state_dict_utils import StateDictType

    # The older table covers the newer names too; left to guess, diffusers needs an out_proj among the keys.
    changed: dict[str, torch.Tensor] = convert_state_dict_to_peft(state, original_type=StateDictType.DIFFUSERS_OLD)
    for theirs, ours in (("lora.down.", "lora_A."), ("lora.up.", "lora_B.")):  # which that table lacks
        changed = {k.replace(f"text_projection.{theirs}", f"text_projection.{ours}"): v for k, v in changed.items()}
    return changed


def _saved_config(name: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        config = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError):
        raise BadInput(f"{name}: its lora_adapter_metadata is not JSON; save the LoRA again") from None
    if not isinstance(config, dict):
        raise BadInput(f"{name}: its lora_adapter_metadata is not a JSON object; save the LoRA again")
    return config


def _pairs(
    name: str,
    state: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    magnitudes: dict[int, tuple[str, torch.Tensor]],
) -> tuple[dict[str, Pair], list[str]]:
    """Pair the down and up weights of each layer; return the pairs and the keys that belong to none."""
    halves: dict[str, dict[str, torch.Tensor]] = {}
    strange = []
    for key, value in state.items():
        match = _PAIR.fullmatch(key)
        if match and value.ndim in (2, 4) and value.numel():
            halves.setdefault(match[1], {})[match[2]] = value
        else:
            strange.append(key)
    pairs = {}
    for path, half in halves.items():
        if set(half) == {"A", "B"} and half["A"].shape[0] == half["B"].shape[1]:
            _, magnitude = magnitudes.pop(id(half["A"]), ("", None))
            pairs[path] = Pair(half["A"], _scaled(name, half["B"], path, config), magnitude)
        else:
            strange += [f"{path}.lora_{letter}.weight" for letter in half]
    return pairs, strange


def _scaled(name: str, up: torch.Tensor, path: str, config: Mapping[str, Any]) -> torch.Tensor:
    """Multiply by alpha / rank as peft's saved config has them; without one the scale is 1."""
    alpha = config.get("lora_alpha")
    if alpha is None:
        return up
    try:
        for pattern, value in (config.get("alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", path):
                alpha = value
                break
        rank = up.shape[1]
        scale = float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    except (TypeError, ValueError, AttributeError, re.error):
        scale = math.nan
    if not math.isfinite(scale):
        raise BadInput(f"{name}: its saved settings give {path} no number as alpha; save the LoRA again")
    return up if scale == 1 else up.float() * scale
