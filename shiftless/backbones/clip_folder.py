"""ClipFolder: any CLIP in transformers' layout, read cell by cell in the space that it shares with words (MaskCLIP)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from shiftless.backbones.device import choose_device
from shiftless.backbones.vision_folder import (
    Preparation,
    checked_config,
    digest_of_vision,
    load_network,
    one_line,
    preparation,
    side,
)
from shiftless.conditions.silence import silenced
from shiftless.errors import BadInput
from shiftless.image import Photo

TEMPLATES = ("a photo of a {}", "a photo of the {}", "{}")
"""Sentences that a class's name is put into; the mean of their embeddings is the class's."""
_WHAT = "CLIP of images and text"


@dataclass(frozen=True, eq=False)
class Cells:
    """What a CLIP says of each cell of a picture.

    dense  1 D h w, in the space that pictures and words share      keys  1 C h w, of the last attention layer
    """

    dense: torch.Tensor
    keys: torch.Tensor


class ClipFolder:
    """A loaded CLIP; `open_clip` makes it.

    fingerprint  the digest of its config and weights
    """

    def __init__(
        self, name: str, model: Any, tokenizer: Any, prepared: Preparation, device: torch.device, fingerprint: str
    ) -> None:
        self.name, self.model, self.tokenizer = name, model.to(device).eval().requires_grad_(False), tokenizer
        self.prepared, self.device, self.fingerprint = prepared, device, fingerprint
        self.patch = side(model.config.vision_config.patch_size)
        self.size = prepared.size or side(model.config.vision_config.image_size)

    @property
    def width(self) -> int:
        """D of the space that pictures and words share."""
        return int(self.model.config.projection_dim)

    @torch.no_grad()
    def image(self, photo: Photo) -> torch.Tensor:
        """Return the embedding of a whole photo, 1 D float32, not normed; it is resized to the model's square."""
        side = max(1, round(self.size / self.patch)) * self.patch
        pixels = self._pixels(photo, (side, side))
        seen = self.model.vision_model(pixel_values=pixels, interpolate_pos_encoding=True)
        found: torch.Tensor = self.model.visual_projection(seen.pooler_output).float()
        return found

    @torch.no_grad()
    def words(self, names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> torch.Tensor:
        """Return the embeddings of names, L D float32 of length 1: the mean over the templates of unit vectors.

        Raises BadInput for no names, and a name that is empty.
        """
        if not names or not all(name.strip() for name in names):
            raise BadInput("an empty name: give the classes' names, such as horse, person, sky")
        rows = []
        for name in names:
            texts = [template.format(name.strip()) for template in templates]
            tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(self.device)
            text = self.model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
            found = F.normalize(self.model.text_projection(text.pooler_output).float(), dim=-1)
            rows.append(F.normalize(found.mean(0), dim=-1))
        return torch.stack(rows)

    @torch.no_grad()
    def cells(self, photo: Photo) -> Cells:
        """Return what it says of each patch of a photo, whose shorter side is scaled to the model's size.

        The last layer's values take the way of its answer: its output projection, the last layer norm, the visual
        projection. There is no attention between patches, no residual and no feed-forward part (Zhou et al. 2022).
        """
        h, w = photo.hw
        scale = self.size / min(h, w)
        rows, columns = (max(1, round(length * scale / self.patch)) for length in (h, w))
        pixels = self._pixels(photo, (rows * self.patch, columns * self.patch))
        vision = self.model.vision_model
        attention = vision.encoder.layers[-1].self_attn
        taken: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Any:
            return lambda module, given, answer: taken.__setitem__(name, answer)

        hooks = [attention.v_proj.register_forward_hook(keep("v")), attention.k_proj.register_forward_hook(keep("k"))]
        try:
            vision(pixel_values=pixels, interpolate_pos_encoding=True)
        finally:
            for hook in hooks:
                hook.remove()
        values, keys = (taken[one][:, 1:] for one in "vk")  # the class token stands first
        dense = self.model.visual_projection(vision.post_layernorm(attention.out_proj(values)))
        maps = [one.float().transpose(1, 2).unflatten(2, (rows, columns)) for one in (dense, keys)]
        return Cells(*maps)

    def _pixels(self, photo: Photo, fed: tuple[int, int]) -> torch.Tensor:
        """A photo as the model takes it, 1 3 H W of the size (H, W)."""
        pixels = torch.from_numpy(photo.array.copy()).permute(2, 0, 1)[None].to(self.device).float() / 255
        pixels = F.interpolate(pixels, fed, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        normal: torch.Tensor = self.prepared.normalise(pixels)
        return normal


def open_clip(folder: str | os.PathLike[str], device: str | torch.device = "auto") -> ClipFolder:
    """Load a CLIP from a folder that `CLIPModel.save_pretrained` wrote, with its tokenizer; it runs in fp32.

    Raises BadInput naming what is missing or broken.

    >>> open_clip("nowhere")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: no config.json of a CLIP of images and text here; give a transformers folder
    """
    from transformers import CLIPModel, CLIPTokenizer

    place, where = Path(folder), choose_device(device)
    made_of = digest_of_vision(place)
    config = checked_config(place, _WHAT)
    if config.get("model_type") != "clip":
        raise BadInput(f"{place}: a {config.get('model_type')}, no {_WHAT}; give a folder of CLIPModel")
    with one_line(place, _WHAT):
        model = load_network(place, CLIPModel, dtype=torch.float32)
        lacking = [name for name in ("tokenizer.json", "vocab.json") if not (place / name).is_file()]
        if len(lacking) == 2:
            raise BadInput(f"{place}: no tokenizer beside the weights; copy vocab.json and merges.txt there")
        with silenced():
            tokenizer = CLIPTokenizer.from_pretrained(place, local_files_only=True)
    return ClipFolder(str(folder), model, tokenizer, preparation(place, "clip"), where, made_of())
