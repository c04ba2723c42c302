"""Controls: the control network that a recipe's name stands for, its map of an image, and its weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shiftless.conditions.control_class import Encode
from shiftless.conditions.control_classes import check_fit, class_of, class_of_folder
from shiftless.conditions.control_maps import MAPS, kind_in
from shiftless.conditions.hub import is_hub_id, need_fetched
from shiftless.conditions.silence import silenced
from shiftless.conditions.weights import converted
from shiftless.digest import digest_of, digest_of_folder
from shiftless.errors import BadInput
from shiftless.memory_format import memory_format


@dataclass(frozen=True, eq=False)
class Control:
    """A control network and its map: `draw` takes B 3 H W in [-1, 1] to what the network is given.

    A network of a UNet is given the map itself: B 3 H W in [0, 1], or B 1 H W for T2I-Adapters of gray maps. Those of
    transformers are given the map's latent, B c h w.

    mode     the number that a union of networks knows this kind of map by, or None
    content  the digest of the folder that the network was read from, or ""
    """

    name: str
    net: Any
    draw: Callable[[torch.Tensor], torch.Tensor]
    mode: int | None = None
    content: str = ""


def read_name(name: str, own: Mapping[str, Any]) -> tuple[str, Any]:
    """Split a recipe's control into (kind of map, where the weights are).

    own  the model's own control networks: name -> folder, hub id, or a function that makes one

    Forms: a name of the model's own, with a kind in it ("canny", "t2i-canny"); KIND=WHERE; or a folder or hub id with
    a kind in its name. Raises BadInput for others.

    >>> read_name("canny", {"canny": "lllyasviel/sd-controlnet-canny"})
    ('canny', 'lllyasviel/sd-controlnet-canny')
    >>> read_name("t2i-canny", {"t2i-canny": "TencentARC/t2iadapter_canny_sd15v2"})
    ('canny', 'TencentARC/t2iadapter_canny_sd15v2')
    >>> read_name("depth=nets/mine", {}), read_name("nets/my-canny-v2", {})
    (('depth', 'nets/mine'), ('canny', 'nets/my-canny-v2'))
    """
    kind, given, where = name.partition("=")
    if given and kind in MAPS and where:
        return kind, where
    if name in own and kind_in(name):
        return kind_in(name), own[name]
    kind = kind_in(name)
    if name in MAPS or (kind and "/" not in name and not Path(name).exists()):
        there = f"it has {', '.join(own)}" if own else "it has none of its own"
        raise BadInput(f"control {name!r}: this model has no such ControlNet ({there}); give one as {kind}=FOLDER")
    if kind:
        return kind, name
    raise BadInput(f"control {name!r}: say what map it follows, as KIND=FOLDER or KIND=HUB/ID; KIND is {_kinds()}")


def load_control(
    name: str,
    own: Mapping[str, Any],
    denoiser: Any,
    *,
    stride: int,
    device: torch.device,
    dtype: torch.dtype,
    encode: Encode,
    loaded: Iterable[Control] = (),
) -> Control:
    """Load the control network that a name stands for, from disk only, and check that it fits the denoiser.

    denoiser  the model's network
    stride    pixels of the image a cell of the latent; the map must shrink by as much
    encode    takes a map B 3 H W in [-1, 1] to the model's latent, with the autoencoder's shift or without it
    loaded    controls that are loaded; a union of networks is loaded once for all kinds of maps

    Raises BadInput if it is not on this machine, is broken, or belongs to another family or size.
    """
    kind, where = read_name(name, own)
    content = "" if callable(where) else _content(where)
    net = next((one.net for one in loaded if content and one.content == content), None)
    if net is None:
        net = where() if callable(where) else _load(_folder(where), dtype)
    called = name if callable(where) else str(where)
    check_fit(net, denoiser, stride, called)
    of = class_of(net)
    draw, mode = of.drawn(net, kind, MAPS[kind], called, encode), of.mode(net, kind, called)
    with silenced():
        net = net.to(device=device, dtype=dtype, memory_format=memory_format(device)).eval().requires_grad_(False)
    return Control(name, net, draw, mode, content)


def digest_of_control(name: str, own: Mapping[str, Any]) -> str:
    """Return the digest of what a control's name stands for: the kind of its map, and the contents of its folder.

    A depth map is estimated by a model, whose contents count too. Raises BadInput if that model is not available.
    """
    kind, where = read_name(name, own)
    drawn_by = ""
    if kind == "depth":
        from shiftless.conditions.depth import digest_of_estimator

        drawn_by = digest_of_estimator()
    if callable(where):
        return digest_of(name, drawn_by, "random weights")
    return digest_of(kind, drawn_by, _content(where))


def _content(where: str) -> str:
    return digest_of_folder(_folder(where), ("*.json", "*.safetensors"))


def _load(folder: Path, dtype: torch.dtype) -> Any:
    return class_of_folder(folder).load(folder, dtype)


def _folder(where: str) -> Path:
    if Path(where).is_dir():
        return Path(where)
    if Path(where).is_file():
        raise BadInput(converted(Path(where), "ControlNetModel"))
    if not is_hub_id(where):
        raise BadInput(f"{where}: no such ControlNet folder; check the path, or give a hub id")
    return need_fetched(where)


def _kinds() -> str:
    return ", ".join(MAPS)


def own_controls(folder: str | os.PathLike[str]) -> dict[str, str]:
    """List the ControlNets that lie in a model's folder as `controlnet-KIND`: kind -> folder.

    >>> own_controls("nowhere")
    {}
    """
    return {kind: str(path) for kind in MAPS if (path := Path(folder) / f"controlnet-{kind}").is_dir()}
