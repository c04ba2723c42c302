"""The families of models: one row each, with the adapter that recognises, lists, loads and imitates it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shiftless.backbones.parts import class_of, place_of
from shiftless.conditions.config import read_config, short
from shiftless.conditions.hub import fetch_again
from shiftless.errors import BadInput

FAMILIES = {
    "sd": "shiftless.backbones.sd:StableDiffusion",
    "cleandift": "shiftless.backbones.cleandift:CleanDIFT",
    "sdxl": "shiftless.backbones.sdxl:StableDiffusionXL",
    "pixart": "shiftless.backbones.pixart:PixArt",
    "sd3": "shiftless.backbones.sd3:StableDiffusion3",
    "flux": "shiftless.backbones.flux:Flux",
    "flux2-dev": "shiftless.backbones.flux2_dev:Flux2Dev",
    "flux2": "shiftless.backbones.flux2:Flux2",
    "qwen-image": "shiftless.backbones.qwen_image:QwenImage",
    "z-image": "shiftless.backbones.z_image:ZImage",
    "lumina2": "shiftless.backbones.lumina2:Lumina2",
    "ddpm": "shiftless.backbones.ddpm:PixelDDPM",
    "dit": "shiftless.backbones.dit:DiT",
    "hunyuan-dit": "shiftless.backbones.hunyuan:HunyuanDiT",
    "sana": "shiftless.backbones.sana:Sana",
    "vit": "shiftless.backbones.vit:VisionTransformer",
    "resnet": "shiftless.backbones.resnet:ResNet",
}
"""Family -> its adapter, a `LatentModel` or a class with the same class methods (`recognises`, `from_folder` ...)."""

SUPPORTED = (
    "what loads is a name, a diffusers folder, or a fetched hub id of a model of one of the families "
    f"{', '.join(FAMILIES)}"
)


def family(name: str) -> Any:
    """Return the adapter class of a family.

    >>> family("sd").DENOISER
    'unet'
    """
    return class_of(FAMILIES[name])


def family_of(folder: Path) -> Any:
    """Return the adapter class of the model in a folder; raises BadInput for one that no adapter reads, naming it."""
    for name in FAMILIES:
        if family(name).recognises(folder):
            return family(name)
    path = folder / "config.json"
    if path.is_file() and (kind := read_config(path).get("model_type")):
        raise BadInput(f"{folder}: a model of type {short(kind)}, which no adapter reads; {SUPPORTED}")
    for part in ("unet", "transformer"):
        path = place_of(folder, part) / "config.json"
        if path.is_file():
            kind = read_config(path).get("_class_name", "a network without a _class_name")
            raise BadInput(f"{folder}: a {short(kind)} of another family than those known; {SUPPORTED}")
    remedy = fetch_again(folder) or "give a whole diffusers folder"
    raise BadInput(f"{folder}: the model folder has no {_denoiser_of(folder)}/config.json; {remedy}")


def _denoiser_of(folder: Path) -> str:
    """The part that denoises, by the folder's model_index.json: "unet" or "transformer", or both if it is not said."""
    path = folder / "model_index.json"
    named = read_config(path) if path.is_file() else {}
    return next((part for part in ("transformer", "unet") if part in named), "unet/config.json or transformer")
