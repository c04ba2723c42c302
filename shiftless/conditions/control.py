"""ControlNets: the one that a name stands for, its control map of an image, and its weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from shiftless.conditions.condition import Steer
from shiftless.conditions.config import check_complete, check_values
from shiftless.conditions.hub import fetch_again, is_hub_id, need_fetched
from shiftless.conditions.silence import silenced
from shiftless.conditions.unet_config import check_controlnet, read_controlnet
from shiftless.conditions.weights import DIFFUSERS, converted, find_weights
from shiftless.digest import digest_of, digest_of_folder
from shiftless.errors import BadInput, first_line
from shiftless.memory_format import memory_format

CANNY = (100, 200)
"""The two thresholds of Canny's hysteresis, as published for Stable Diffusion 1.5's ControlNet."""


def canny(pixels: torch.Tensor) -> torch.Tensor:
    """Edges of B 3 H W in [-1, 1]: B 3 H W, 1 on an edge and 0 elsewhere (Canny 1986, OpenCV's, 100/200).

    >>> half = torch.cat([-torch.ones(1, 3, 16, 8), torch.ones(1, 3, 16, 8)], 3)
    >>> canny(half)[0, 0, 8].nonzero().flatten().tolist()
    [7]
    """
    pictures = ((pixels.float().cpu() + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    edges = np.stack([cv2.Canny(np.ascontiguousarray(picture), *CANNY) for picture in pictures])
    return torch.from_numpy(edges).float().div(255)[:, None].expand(-1, 3, -1, -1).contiguous()


def tile(pixels: torch.Tensor) -> torch.Tensor:
    """The image itself, B 3 H W in [0, 1], for ControlNets that follow a whole picture.

    >>> tile(torch.zeros(1, 3, 8, 8)).unique().item()
    0.5
    """
    return (pixels.float() + 1) / 2


def _depth(pixels: torch.Tensor) -> torch.Tensor:
    from shiftless.conditions.depth import depth

    return depth(pixels)


MAPS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"canny": canny, "depth": _depth, "tile": tile}
"""Control maps: kind -> (B 3 H W in [-1, 1] -> B 3 H W in [0, 1])."""


_EQUAL = (
    "cross_attention_dim", "block_out_channels", "layers_per_block", "down_block_types",
    "addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim",
)  # fmt: skip
"""The settings that a ControlNet shares with its denoiser."""


@dataclass(frozen=True, eq=False)
class Control:
    """A ControlNet and its control map: `draw` takes B 3 H W in [-1, 1] to B 3 H W in [0, 1]."""

    name: str
    net: Any
    draw: Callable[[torch.Tensor], torch.Tensor]


def read_name(name: str, own: Mapping[str, Any]) -> tuple[str, Any]:
    """Split a recipe's control into (kind of map, where the weights are).

    own  the model's own ControlNets: kind -> folder, hub id, or a function that makes one

    Forms: a kind ("canny"); KIND=WHERE; or a folder or hub id with a kind in its name. Raises BadInput for others.

    >>> read_name("canny", {"canny": "lllyasviel/sd-controlnet-canny"})
    ('canny', 'lllyasviel/sd-controlnet-canny')
    >>> read_name("depth=nets/mine", {}), read_name("nets/my-canny-v2", {})
    (('depth', 'nets/mine'), ('canny', 'nets/my-canny-v2'))
    """
    kind, given, where = name.partition("=")
    if given and kind in MAPS and where:
        return kind, where
    if name in own:
        return name, own[name]
    if name in MAPS:
        there = f"it has {', '.join(own)}" if own else "it has none of its own"
        raise BadInput(f"control {name!r}: this model has no such ControlNet ({there}); give one as {name}=FOLDER")
    kinds = [kind for kind in MAPS if kind in Path(name).name.lower()]
    if len(kinds) == 1:
        return kinds[0], name
    raise BadInput(f"control {name!r}: say what map it follows, as KIND=FOLDER or KIND=HUB/ID; KIND is {_kinds()}")


def load_control(
    name: str, own: Mapping[str, Any], unet: Any, *, stride: int, device: torch.device, dtype: torch.dtype
) -> Control:
    """Load the ControlNet that a name stands for, from disk only, and check that it fits the denoiser.

    unet    the model's UNet2DConditionModel
    stride  pixels of the image a cell of the latent; the ControlNet's map must shrink by as much

    Raises BadInput if it is not on this machine, is broken, or belongs to another family or size.
    """
    kind, where = read_name(name, own)
    net = where() if callable(where) else _load(_folder(where), dtype)
    check_fit(net, unet, stride, name if callable(where) else str(where))
    with silenced():
        net = net.to(device=device, dtype=dtype, memory_format=memory_format(device)).eval().requires_grad_(False)
    return Control(name, net, MAPS[kind])


def digest_of_control(name: str, own: Mapping[str, Any]) -> str:
    """Return the digest of what a ControlNet's name stands for: the kind of its map, and the contents of its folder.

    A depth map is estimated by a model, whose contents count too. Raises BadInput if that model is not available.
    """
    kind, where = read_name(name, own)
    drawn_by = ""
    if kind == "depth":
        from shiftless.conditions.depth import digest_of_estimator

        drawn_by = digest_of_estimator()
    if callable(where):
        return digest_of(kind, drawn_by, "random weights")
    return digest_of(kind, drawn_by, digest_of_folder(_folder(where), ("*.json", "*.safetensors")))


def _load(folder: Path, dtype: torch.dtype) -> Any:
    from diffusers import ControlNetModel

    variant = find_weights(folder, DIFFUSERS, "ControlNetModel").variant
    if not (folder / "config.json").is_file():
        remedy = fetch_again(folder) or "give the folder of a ControlNet of diffusers"
        raise BadInput(f"{folder}: no config.json of a ControlNet here; {remedy}")
    check_controlnet(read_controlnet(folder), folder)
    try:
        options: dict[str, Any] = {"torch_dtype": dtype, "use_safetensors": True, "local_files_only": True}
        with silenced():
            net, info = ControlNetModel.from_pretrained(folder, variant=variant, output_loading_info=True, **options)
    except Exception as error:  # the library raises many kinds; the user needs one line
        reason = first_line(error)
        raise BadInput(f"{folder}: not a ControlNet that can be loaded ({reason}); fetch or save it again") from error
    check_complete(info, folder)
    if info.get("unexpected_keys"):
        more = sorted(info["unexpected_keys"])[0]
        raise BadInput(
            f"{folder}: holds {more}, which no ControlNetModel has (a union of ControlNets does); take another"
        )
    check_values(net, folder)
    return net


def check_fit(net: Any, unet: Any, stride: int, name: str) -> None:
    """Raise BadInput unless a ControlNet's residuals fit the denoiser's blocks, and its map the latent."""
    latent = unet.config.out_channels  # a UNet for inpainting takes more, its ControlNets do not
    pairs = [("in_channels", latent, net.config.in_channels)]
    pairs += [(key, _plain(unet.config[key]), _plain(net.config[key])) for key in _EQUAL]
    for key, ours, theirs in pairs:
        if ours != theirs:
            raise BadInput(
                f"{name}: this ControlNet is for another model ({key} is {theirs}, the model's is {ours}); "
                "take one that was trained with this model's family and size"
            )
    shrinks = 2 ** (len(net.config.conditioning_embedding_out_channels) - 1)
    if shrinks != stride:
        raise BadInput(f"{name}: this ControlNet shrinks its map {shrinks} times, the model's images {stride} times")


def residuals(
    steers: Sequence[Steer],
    latent: torch.Tensor,
    timestep: int,
    embeds: torch.Tensor | None,
    told: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, Any]:
    """Return the sum of the ControlNets' residuals as the denoiser takes them; {} without any.

    told  what else SDXL's networks are told: "text_embeds", "time_ids"

    Source: Zhang et al., "Adding conditional control to text-to-image diffusion models", 2023.

    >>> residuals([], torch.zeros(1, 4, 8, 8), 50, torch.zeros(1, 77, 8))
    {}
    """
    total: tuple[list[torch.Tensor], torch.Tensor] | None = None
    for steer in steers:
        image = steer.image.to(latent.device, latent.dtype, memory_format=memory_format(latent.device))
        options = {"conditioning_scale": steer.scale, "added_cond_kwargs": told, "return_dict": False}
        down, mid = steer.net(latent, timestep, embeds, controlnet_cond=image, **options)
        total = (down, mid) if total is None else ([a + b for a, b in zip(total[0], down)], total[1] + mid)
    if total is None:
        return {}
    return {"down_block_additional_residuals": tuple(total[0]), "mid_block_additional_residual": total[1]}


def _folder(where: str) -> Path:
    if Path(where).is_dir():
        return Path(where)
    if Path(where).is_file():
        raise BadInput(converted(Path(where), "ControlNetModel"))
    if not is_hub_id(where):
        raise BadInput(f"{where}: no such ControlNet folder; check the path, or give a hub id")
    return need_fetched(where)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _kinds() -> str:
    return ", ".join(MAPS)


def own_controls(folder: str | os.PathLike[str]) -> dict[str, str]:
    """List the ControlNets that lie in a model's folder as `controlnet-KIND`: kind -> folder.

    >>> own_controls("nowhere")
    {}
    """
    return {kind: str(path) for kind in MAPS if (path := Path(folder) / f"controlnet-{kind}").is_dir()}
