"""Captions: text that a captioner writes for a photo, to be used as its prompt."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from shiftless.conditions.caption_memory import fingerprint_of, remembered
from shiftless.conditions.caption_model import ImageToText, load_image_to_text
from shiftless.conditions.hub import is_hub_id, need_fetched
from shiftless.errors import BadInput
from shiftless.mini import weights

__all__ = ["CAPTIONERS", "find_captioner", "load_captioner", "remembered"]

CAPTIONERS = {
    "mini": str(weights() / "captioner"),
    "blip": "Salesforce/blip-image-captioning-base",
    "blip-large": "Salesforce/blip-image-captioning-large",
    "florence-2": "florence-community/Florence-2-base",
    "florence-2-large": "florence-community/Florence-2-large",
    "git": "microsoft/git-base-coco",
    "kosmos-2": "microsoft/kosmos-2-patch14-224",
}
"""Short names: the embedded model's own captioner (it knows the drawn world only), and hub ids."""


def load_captioner(
    name: str | os.PathLike[str], *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> ImageToText:
    """Load a captioner, from disk only: any image-to-text model of transformers, in safetensors.

    name    a name of CAPTIONERS ("mini", "blip" ...), a hub id already fetched, or a local folder
    device  where it runs
    dtype   float32 by default: in half precision a caption can change with the photos beside it

    Raises BadInput when it is not on this machine (with the command that fetches it) or cannot be loaded.

    >>> load_captioner("blop")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: 'blop': no such captioner; use mini, blip, blip-large, ... a folder or a hub id
    """
    name = os.fspath(name)
    folder = find_captioner(name)
    return load_image_to_text(name, folder, fingerprint_of(folder), torch.device(device), dtype)


def find_captioner(name: str) -> Path:
    """Return the folder of a captioner that is on this machine; raises BadInput telling how to get it there.

    >>> find_captioner("mini").name
    'captioner'
    """
    if name and name != "mini" and Path(name).is_dir():
        return Path(name)
    where = CAPTIONERS.get(name, name)
    if name == "mini":
        return Path(where)
    if not is_hub_id(where):
        raise BadInput(f"{name!r}: no such captioner; use {', '.join(CAPTIONERS)}, a folder or a hub id")
    return need_fetched(where, name)
