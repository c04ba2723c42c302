"""PerceptualModel: a vision transformer, independent of the audited model, that compares pictures by its features."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.backbones.device import choose_device
from shiftless.conditions.config import check_layers, read_config
from shiftless.conditions.hub import fetch_again, is_hub_id, need_fetched
from shiftless.conditions.silence import silenced
from shiftless.conditions.weights import TRANSFORMERS, find_weights
from shiftless.errors import BadInput
from shiftless.taps.lock import construction

SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, for a folder whose settings lack the normalisation."""
_NORMALISED = (("image_mean", MEAN), ("image_std", STD))
_UNUSED = ("pooler", "mask_token", "text_", "logit_")  # parts that a patch token does not pass through


@dataclass(frozen=True, eq=False)
class PerceptualModel:
    """A vision transformer and its preprocessing; `load_perceptual_model` makes it.

    name    as it was requested
    tokens  B 3 H W, normalised -> B N C, what stands before the patches included
    patch   a patch's side in pixels
    size    a square picture's side in pixels; others are given about as many patches
    before  how many tokens stand before the patches: the class token and registers
    """

    name: str
    tokens: Callable[[torch.Tensor], torch.Tensor]
    patch: int
    size: int
    before: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device

    @torch.no_grad()
    def look(self, picture: np.ndarray) -> torch.Tensor:
        """Return the patch tokens of a picture H W 3 in [0, 1] as a map 1 C h w, float32 on the CPU.

        The picture is scaled (bicubic, its aspect kept to the nearest patch). Raises BadInput for other shapes.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise BadInput(
                f"{self.name}: a picture of shape {picture.shape}; a perceptual model looks at H W 3 floats in [0, 1]"
            )
        h, w = grid(picture.shape[:2], self.size, self.patch)
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).float().permute(2, 0, 1)[None].to(self.device)
        pixels = F.interpolate(pixels, (h * self.patch, w * self.patch), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(values, device=self.device).view(1, 3, 1, 1) for values in (self.mean, self.std))
        tokens = self.tokens((pixels - mean) / std)
        return tokens[:, self.before :].transpose(1, 2).unflatten(2, (h, w)).float().cpu()


def load_perceptual_model(name: str | os.PathLike[str], device: str | torch.device = "auto") -> PerceptualModel:
    """Load a vision transformer, from disk only, that sees pictures patch by patch.

    name  a local folder or a hub id already fetched: ViT, DINOv2, DINOv3 ViT, the vision half of CLIP or SigLIP, and
          any other transformers model, in safetensors, whose last hidden state holds a token for each patch

    It runs in fp32. Raises BadInput when it is not on this machine (with the command that fetches it), has no
    safetensors or is no vision transformer.

    >>> load_perceptual_model("dino")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: 'dino': no such perceptual model; give a folder of a vision transformer or a hub id
    """
    from transformers import AutoConfig, AutoModel

    name, where = os.fspath(name), choose_device(device)
    folder = _find(name)
    if not (folder / "config.json").is_file():
        remedy = fetch_again(folder) or "give a transformers folder"
        raise BadInput(f"{folder}: no config.json of a vision transformer here; {remedy}")
    variant = find_weights(folder, TRANSFORMERS).variant
    path = folder / "config.json"
    check_layers(folder, read_config(path), path)
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with construction(), silenced():
            config = AutoConfig.from_pretrained(folder, **local)
            config = getattr(config, "vision_config", config)
            patch, own = _side(getattr(config, "patch_size", 0)), _side(getattr(config, "image_size", 0))
            if not patch:
                raise ValueError(f"a {config.model_type} without patches")
            loading = {"use_safetensors": True, "output_loading_info": True, "variant": variant}
            model, info = AutoModel.from_pretrained(folder, **loading, **local)
            lacking = sorted(key for key in info["missing_keys"] if not any(part in key for part in _UNUSED))
            if lacking:
                raise ValueError(f"its weights lack {lacking[0]}")
            tokens = _tokens(model.to(where, torch.float32).eval().requires_grad_(False))
            before = _before(tokens, patch, where)
        settings = _settings(folder)
        side = _side(settings.get("crop_size")) or _side(settings.get("size")) or own or SIZE
        mean, std = (tuple(map(float, settings.get(key) or known)) for key, known in _NORMALISED)
    except Exception as error:  # the library raises many kinds; the user needs one line
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"{folder}: not a vision transformer that can be loaded ({reason}); give another") from error
    return PerceptualModel(name, tokens, patch, side, before, mean, std, where)


def grid(shape: tuple[int, ...], size: int, patch: int) -> tuple[int, int]:
    """Return how many patches (h, w) a picture of (H, W) pixels is cut into: about as many as a square one of `size`.

    >>> grid((100, 100), 224, 14), grid((200, 100), 224, 14)
    ((16, 16), (23, 11))
    """
    scale = size / patch / (shape[0] * shape[1]) ** 0.5
    h, w = (max(1, round(side * scale)) for side in shape)
    return h, w


def _find(name: str) -> Path:
    if name and Path(name).is_dir():
        return Path(name)
    if not is_hub_id(name):
        raise BadInput(f"{name!r}: no such perceptual model; give a folder of a vision transformer or a hub id")
    return need_fetched(name)


def _side(size: Any) -> int:
    """A side in pixels, from any of the library's spellings; 0 if there is none."""
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    if isinstance(size, (list, tuple)):
        size = size[0] if len(set(size)) == 1 else 0
    return int(size or 0)


def _settings(folder: Path) -> dict[str, Any]:
    """The preprocessing in the folder's settings; its own code for it may need packages that are not installed."""
    for file, key in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        if (folder / file).is_file():
            settings: dict[str, Any] = json.loads((folder / file).read_text(encoding="utf-8"))
            return settings.get(key, {}) if key else settings
    return {}


def _tokens(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    vision = getattr(model, "vision_model", model)  # the vision tower of CLIP and similar models
    options = {}
    if "interpolate_pos_encoding" in inspect.signature(vision.forward).parameters:
        options["interpolate_pos_encoding"] = True  # other models take any size without it
    return lambda pixels: vision(pixel_values=pixels, **options).last_hidden_state


@torch.no_grad()
def _before(tokens: Callable[[torch.Tensor], torch.Tensor], patch: int, device: torch.device) -> int:
    """How many tokens stand before the patches: counted on two small pictures, where the counts must agree."""
    counts = []
    for h, w in ((2, 3), (3, 3)):
        output = tokens(torch.zeros(1, 3, h * patch, w * patch, device=device))
        counts.append(output.shape[1] - h * w if output.ndim == 3 else -1)
    if counts[0] != counts[1] or counts[0] < 0:
        raise ValueError("its last hidden state does not hold a token for each patch")
    return counts[0]
