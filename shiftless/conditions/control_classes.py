"""The table of classes of control networks, and the class of a folder or of a network that is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shiftless.conditions.config import read_config, short
from shiftless.conditions.control_class import ControlClass
from shiftless.conditions.controlnet import ControlNet
from shiftless.conditions.controlnet_flux import FluxControlNet
from shiftless.conditions.controlnet_sd3 import SD3ControlNet
from shiftless.conditions.controlnet_union import ControlNetUnion
from shiftless.conditions.t2i_adapter import T2IAdapter
from shiftless.errors import BadInput

_ALL = (ControlNet(), ControlNetUnion(), T2IAdapter(), SD3ControlNet(), FluxControlNet())
CONTROL_CLASSES: dict[str, ControlClass] = {one.NAME: one for one in _ALL}
"""The class's name in diffusers -> what is known of it."""


def class_of_folder(folder: Path) -> ControlClass:
    """Return the class that a folder's config names; a ControlNet where it names none, or there is no config.

    Raises BadInput for a class that is no control network's.

    >>> class_of_folder(Path("nowhere")).NAME
    'ControlNetModel'
    """
    path = folder / "config.json"
    config = read_config(path) if path.is_file() else {}
    named = config.get("_class_name", ControlNet.NAME)
    if "num_control_type" in config:  # the first published unions name a class of their authors'
        named = ControlNetUnion.NAME
    if not isinstance(named, str) or named not in CONTROL_CLASSES:
        known = ", ".join(CONTROL_CLASSES)
        raise BadInput(f"{path}: '_class_name' is {short(named)}, which is no control network's; take one of {known}")
    return CONTROL_CLASSES[named]


def class_of(net: Any) -> ControlClass:
    """Return the class of a loaded network."""
    return CONTROL_CLASSES[type(net).__name__]


def check_fit(net: Any, denoiser: Any, stride: int, name: str) -> None:
    """Raise BadInput unless a control network fits the denoiser: its class, its blocks, and the size of its map."""
    of = class_of(net)
    if type(denoiser).__name__ != of.DENOISER:
        raise BadInput(
            f"{name}: {of.A} for models with a {of.DENOISER}, and this model has a {type(denoiser).__name__}; "
            "take one that was trained with this model's family"
        )
    of.check_fit(net, denoiser, stride, name)
