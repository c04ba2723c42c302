"""Vision transformers: DINO, DINOv2, DINOv3, MAE, and the image halves of CLIP and SigLIP, as transformers has them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import nn

from shiftless.backbones.transformer_taps import map_groups
from shiftless.backbones.vision_folder import side
from shiftless.backbones.vision_model import VisionModel
from shiftless.backbones.vit_layout import PatchLayout
from shiftless.taps.lock import construction
from shiftless.taps.names import Tap

_WITHOUT_CLS = ("siglip", "siglip_vision_model")
_WITHOUT_LAST_NORM = ("clip", "clip_vision_model")  # its last norm is called on the class token alone
_ANY_SIZE = ("dinov2", "dinov2_with_registers", "dinov3_vit")  # no option of theirs is needed


@dataclass(frozen=True)
class Names:
    """What a version of transformers calls the modules that taps are read from.

    blocks     the list of blocks                    norm  the last layer norm
    attention  the attention layer inside a block    q, k, v  its projections
    """

    blocks: str
    norm: str
    attention: str
    q: str
    k: str
    v: str


class VisionTransformer(VisionModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    Position embeddings are interpolated by the class's own option, so every size that patches fill can be read.
    Tokens of a class and registers are left out of every map.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:dinov2-s", dtype="fp32")
    >>> latent = model.encode_image(torch.zeros(1, 3, 28, 42))
    >>> taps = [tap for tap in model.taps if tap.name in ("block1.self.k", "last")]
    >>> reading = model.denoise(latent, 0, model.encode_prompt([""]), taps)
    >>> {name: tuple(value.shape) for name, value in reading.maps.items()}
    {'block1.self.k': (1, 32, 2, 3), 'last': (1, 32, 2, 3)}
    """

    FAMILY = "vit"
    KINDS = {  # noqa: RUF012
        "vit": "ViTModel",
        "dinov2": "Dinov2Model",
        "dinov2_with_registers": "Dinov2WithRegistersModel",
        "dinov3_vit": "DINOv3ViTModel",
        "vit_mae": "ViTMAEModel",
        "clip": "CLIPVisionModel",
        "clip_vision_model": "CLIPVisionModel",
        "siglip": "SiglipVisionModel",
        "siglip_vision_model": "SiglipVisionModel",
    }

    @classmethod
    def config(cls, settings: Mapping[str, Any]) -> Any:
        """Return the config object that a network is built by; a masked autoencoder masks nothing."""
        unmasked = {"mask_ratio": 0.0} if settings["model_type"] == "vit_mae" else {}
        return super().config({**settings, **unmasked})

    @classmethod
    def options(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return further arguments of its class's constructor: a ViT without the pooler, which no patch enters."""
        return {"add_pooling_layer": False} if settings["model_type"] == "vit" else {}

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of every block, the means of their attention maps, and "last", after the last layer norm."""
        settings = cls.config(configs["network"]).to_dict()
        names = cls.names(settings)
        taps = [tap for i in range(settings["num_hidden_layers"]) for tap in _block_taps(i, names, settings)]
        width, patch = settings["hidden_size"], side(settings["patch_size"])
        groups = [replace(tap, block=taps[3].block) for tap in map_groups(taps)]
        unnormed = settings["model_type"] in _WITHOUT_LAST_NORM
        last = f"{names.blocks}.{settings['num_hidden_layers'] - 1}" if unnormed else names.norm
        return (*taps, Tap("last", width, patch, last), *groups)

    @classmethod
    def names(cls, settings: Mapping[str, Any]) -> Names:
        """Return what the installed transformers calls the modules of a network with these settings."""
        small = {key: value for key, value in settings.items() if isinstance(value, (int, str, float, bool))}
        return _names(cls, json.dumps({**small, "num_hidden_layers": 1}, sort_keys=True))

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build the network with random weights, tiny or in full size; "." since its folder holds it itself."""
        small = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
        small |= {"image_size": 4 * row["network"]["patch_size"]}
        return {".": cls._random({**row["network"], **({} if full else small)})}

    def _native_size(self) -> int:
        return side(self.settings["image_size"]) or self.prepared.size

    def _look(self, pixels: torch.Tensor) -> None:
        told: dict[str, Any] = {}
        kind = self.settings["model_type"]
        if kind not in _ANY_SIZE:
            told["interpolate_pos_encoding"] = True
        if kind == "vit_mae":  # it sorts patches by noise; that of rising numbers leaves them in their order
            patches = pixels.shape[2] * pixels.shape[3] // side(self.settings["patch_size"]) ** 2
            told["noise"] = torch.arange(patches, device=pixels.device).expand(len(pixels), -1)
        self.denoiser(pixel_values=pixels, **told)

    def _layout(self, fed: tuple[int, int]) -> PatchLayout:
        names, heads = self.names(self.settings), int(self.settings["num_attention_heads"])
        unnormed = self.settings["model_type"] in _WITHOUT_LAST_NORM
        last = self.denoiser.get_submodule(names.norm) if unnormed else nn.Identity()
        return PatchLayout(fed, heads, (names.q, names.k), last)


def _block_taps(i: int, names: Names, settings: Mapping[str, Any]) -> Iterator[Tap]:
    """The taps of one block, in the order that they are computed in."""
    width, patch, heads = settings["hidden_size"], side(settings["patch_size"]), settings["num_attention_heads"]
    cls = settings["model_type"] not in _WITHOUT_CLS
    block, beside = f"{names.blocks}.{i}", "image" if cls else ""  # a class token's share is left out
    attention = f"{block}.{names.attention}"
    for letter, module in (("q", names.q), ("k", names.k), ("v", names.v)):
        yield Tap(f"block{i}.self.{letter}", width, patch, f"{attention}.{module}")
    yield Tap(f"block{i}.self.map", 0, patch, attention, "map", block=beside)
    yield Tap(f"block{i}.self.map.heads", 0, patch, attention, "heads", block=beside)
    if cls:
        yield Tap(f"block{i}.cls.map", 1, patch, attention, "map", block=beside)
        yield Tap(f"block{i}.cls.map.heads", heads, patch, attention, "heads", block=beside)
    yield Tap(f"block{i}", width, patch, block)


@cache
def _names(cls: type[VisionTransformer], settings: str) -> Names:
    """The names, read off a copy with one block and without memory: versions of transformers differ in them."""
    with torch.device("meta"), construction():
        values = json.loads(settings)
        network = cls.class_of(values)(cls.config(values), **cls.options(values))
    blocks = next(name for name, m in network.named_modules() if isinstance(m, nn.ModuleList) and len(m) == 1)
    inside = [name for name, _ in network.get_submodule(f"{blocks}.0").named_modules()]
    ends = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"))
    found = [next(name for name in inside if name.endswith(end)) for end in ends]
    attention = found[0].rpartition(".")[0]
    q, k, v = (name.removeprefix(f"{attention}.") for name in found)
    norms = ("post_layernorm", "layernorm", "norm")
    norm = next(name for name, _ in network.named_modules() if name.rpartition(".")[2] in norms and blocks not in name)
    return Names(blocks, norm, attention, q, k, v)
