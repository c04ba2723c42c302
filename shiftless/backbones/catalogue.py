"""The catalogue: the known models, how large they are and under what licence, and their taps, without loading any."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from shiftless.backbones.registry import MINI_MADE_FOR, find, how_to_fetch, models, taps
from shiftless.errors import BadInput
from shiftless.mini import embedded
from shiftless.taps.names import Tap, select

_EMBEDDED: dict[str, dict[str, Any]] = {
    "mini": {
        "family": "sd", "parameters": {"unet": 17.6, "vae": 2.4, "text_encoder": 0.1},
        "about": "the embedded model: a small latent diffusion model of a drawn world",
    },
    "mini-mae": {
        "family": "vit", "parameters": {"network": 2.8},
        "about": "an embedded baseline: a small masked autoencoder of the same world",
    },
    "mini-ddpm": {
        "family": "ddpm", "parameters": {"unet": 4.5},
        "about": "an embedded baseline: a small DDPM on pixels of the same world",
    },
}  # fmt: skip
_OF_ALL = {"size": 128, "made_for": MINI_MADE_FOR, "licence": "Apache-2.0"}


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model before it is loaded.

    name        as `shiftless.load` takes it
    family      whose adapter reads it: "sd", "sdxl", "flux", "vit" ...
    size        the longer side in pixels that it was trained at
    parameters  of each network that is loaded, in millions: part -> count; buffers saved with the weights count too
    licence     of its weights, as far as known; the model's own page decides
    gated       whether its licence must be accepted on the hub before it can be fetched
    made_for    what pictures it was trained on
    about       what it is, in a few words
    available   whether its weights are on this machine
    fetch       the command that gets it; "" for an embedded model
    """

    name: str
    family: str
    size: int
    parameters: Mapping[str, float]
    licence: str
    gated: bool
    made_for: str
    about: str
    available: bool
    fetch: str

    @property
    def millions(self) -> float:
        """The parameters of all parts together, in millions."""
        return sum(self.parameters.values())

    def gigabytes(self, bytes_each: float = 2) -> float:
        """Return the memory of the weights in GB (1e9 bytes); 2 bytes a parameter in bf16 and fp16, 4 in fp32.

        What is computed with them comes on top.
        """
        return self.millions * bytes_each / 1000


def list_models(available: bool = False) -> list[str]:
    """List the names of known models that `shiftless.load` takes; any diffusers folder or hub id works too.

    available  only those whose weights are on this machine

    >>> "sd15" in list_models(), list_models(available=True)[0]
    (True, 'mini')
    """
    return [name for name in (*embedded(), *models()) if not available or _here(name)]


def model_info(name: str) -> ModelInfo:
    """Return what is known of a model that `list_models` lists, without loading it: size, parameters, licence.

    Raises BadInput for a name that is not listed; folders and other hub ids say nothing before they are loaded.

    >>> info = model_info("sd15")
    >>> info.licence, info.parameters["unet"], round(info.gigabytes(), 1)
    ('CreativeML OpenRAIL-M', 859.5, 2.1)
    """
    ours = name in embedded()
    row = {**_OF_ALL, **_EMBEDDED[name]} if ours else models().get(name)
    if row is None:
        near = get_close_matches(name, list_models(), 3, 0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "`shiftless models` lists those"
        raise BadInput(f"{name!r}: no known model; {hint}")
    keys = ("family", "size", "parameters", "licence", "made_for", "about")
    known = {key: row[key] for key in keys}
    fetch = "" if ours else how_to_fetch(name)
    return ModelInfo(name, gated=bool(row.get("gated")), available=_here(name), fetch=fetch, **known)


def list_taps(name: str | os.PathLike[str], pattern: str = "") -> list[Tap]:
    """List the places where a model can be read, by its name; no weights are needed for a known one.

    name     as `shiftless.load` takes it
    pattern  a tap's name or a glob, such as "up1*"; without one, attention maps of single heads are left out

    Each Tap has a `name`, its `channels` (0 where they depend on the prompt or the image), and its `stride` in pixels
    of the image as the model is fed it. Raises BadInput for an unknown model, and for a pattern that nothing matches.

    >>> [(tap.name, tap.channels, tap.stride) for tap in list_taps("sd15", "up?")]
    [('up0', 1280, 32), ('up1', 1280, 16), ('up2', 640, 8), ('up3', 320, 8)]
    """
    all_taps = taps(name)
    if pattern:
        return list(select([pattern], all_taps, os.fspath(name)))
    return [tap for tap in all_taps if tap.kind != "heads"]


def _here(name: str) -> bool:
    try:
        find(name)
    except BadInput:
        return False
    return True
