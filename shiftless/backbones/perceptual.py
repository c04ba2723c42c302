"""PerceptualModel: a vision transformer, independent of the audited model, that compares pictures by its features."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.backbones.device import choose_device
from shiftless.backbones.vision_folder import (
    checked_config,
    load_network,
    one_line,
    preparation,
    side,
    vision_config,
)  # fmt: skip
from shiftless.conditions.hub import is_hub_id, need_fetched
from shiftless.errors import BadInput

SIZE = 224
_WHAT = "vision transformer"


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
    from transformers import AutoModel

    name, where = os.fspath(name), choose_device(device)
    folder = _find(name)
    checked_config(folder, _WHAT)
    with one_line(folder, _WHAT):
        config = vision_config(folder)
        patch, own = side(getattr(config, "patch_size", 0)), side(getattr(config, "image_size", 0))
        if not patch:
            raise ValueError(f"a {config.model_type} without patches")
        model = load_network(folder, AutoModel)
        tokens = _tokens(model.to(where, torch.float32).eval().requires_grad_(False))
        before = _before(tokens, patch, where)
        prepared = preparation(folder, config.model_type)
    size, mean, std = prepared.size or own or SIZE, prepared.mean, prepared.std
    return PerceptualModel(name, tokens, patch, size, before, mean, std, where)


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
