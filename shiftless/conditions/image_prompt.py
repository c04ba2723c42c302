"""Image prompts: IP-Adapters, which give the denoiser the photo itself as a prompt, beside the text."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shiftless.conditions.config import check_complete, check_layers, check_values, read_config
from shiftless.conditions.hub import fetch_command, fetched
from shiftless.conditions.silence import silenced
from shiftless.conditions.weights import TRANSFORMERS, find_weights
from shiftless.digest import digest_of, digest_of_files, digest_of_folder
from shiftless.errors import BadInput, first_line
from shiftless.image import Photo
from shiftless.taps.lock import construction

OWN = ("ip-adapter", "ip-adapter-plus")
"""The names by which the IP-Adapters of a model are known; those of Plus see every token of the image encoder."""
_ENCODER = "image_encoder"
_HALVES = ("image_proj", "ip_adapter")
_ELSEWHERE = ("proj.0.weight", "perceiver_resampler.proj_in.weight")  # of faces: their encoders are no CLIP


@dataclass(frozen=True, eq=False)
class ImageAdapter:
    """An IP-Adapter and the image encoder that it was trained with (Ye et al. 2023, "IP-Adapter").

    state      its tensors: "image_proj" and "ip_adapter" -> name -> tensor
    encoder    a CLIPVisionModelWithProjection
    processor  its image processor: resizes the shorter side, and crops the middle, as published
    tokens     whether it takes every token of the encoder (IP-Adapter Plus), or its one image embedding
    """

    name: str
    state: Mapping[str, Mapping[str, torch.Tensor]]
    encoder: Any
    processor: Any
    tokens: bool

    @torch.no_grad()
    def embed(self, photo: Photo) -> torch.Tensor:
        """Encode a photo as the adapter takes it: 1 1 D, or 1 1 N D where it takes every token."""
        pixels = self.processor(photo.array, return_tensors="pt").pixel_values
        pixels = pixels.to(self.encoder.device, self.encoder.dtype)
        if self.tokens:
            hidden: torch.Tensor = self.encoder(pixels, output_hidden_states=True).hidden_states[-2]
            return hidden[:, None]
        embedding: torch.Tensor = self.encoder(pixels).image_embeds
        return embedding[:, None]


def own_images(folder: str | os.PathLike[str]) -> dict[str, str]:
    """List the IP-Adapters that lie in a model's folder as `NAME/NAME.safetensors`: name -> file.

    >>> own_images("nowhere")
    {}
    """
    return {name: str(path) for name in OWN if (path := Path(folder) / name / f"{name}.safetensors").is_file()}


def find_image_adapter(name: str, own: Mapping[str, Any]) -> Path | Callable[[], ImageAdapter]:
    """Return the file of an IP-Adapter: a .safetensors file, one known for the model, or one of a fetched repository.

    own  those known for the model: name -> OWNER/REPOSITORY/PATH of a file, a path, or a function that makes one

    Raises BadInput, with the command that fetches it, if it is not on this machine.

    >>> find_image_adapter("mine.safetensors", {})
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: image_prompt 'mine.safetensors': no such IP-Adapter; give one of its own (it has ...
    """
    where = own.get(name, name)
    if callable(where):
        return where
    path = Path(where)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise BadInput(f"{path}: an IP-Adapter is loaded from .safetensors only; save it again in that format")
        return path
    owner, *inside = str(where).split("/")
    if len(inside) < 2 or not owner or not str(where).endswith(".safetensors"):
        known = ", ".join(own) or "it has none"
        raise BadInput(
            f"image_prompt {name!r}: no such IP-Adapter; give one of its own ({known}), a .safetensors file, or "
            "OWNER/REPOSITORY/PATH.safetensors of a fetched repository"
        )
    hub_id, below = f"{owner}/{inside[0]}", "/".join(inside[1:])
    folder = fetched(hub_id)
    file = None if folder is None else folder / below
    if file is None or not file.is_file():
        beside = "/".join([*inside[1:-1], _ENCODER, "*"])
        command = f'{fetch_command(hub_id)} --also "{below}" --also "{beside}"'
        raise BadInput(f"image_prompt {name!r}: not on this machine; fetch it once with: {command}")
    return file


def load_image_adapter(
    name: str, own: Mapping[str, Any], *, width: int, device: torch.device, dtype: torch.dtype
) -> ImageAdapter:
    """Load an IP-Adapter and its image encoder, from disk only.

    width  of the prompt embeddings that the denoiser takes

    Raises BadInput for files that are missing or broken, and for an adapter that was made for another model.
    """
    found = find_image_adapter(name, own)
    if callable(found):
        adapter = found()
        adapter.encoder.to(device=device, dtype=dtype)
        return adapter
    state = _read(found)
    theirs = next(iter(state["ip_adapter"].values())).shape[1]
    if theirs != width:
        raise BadInput(
            f"{found}: this IP-Adapter is for another model (its keys are {theirs} wide, the model's prompts {width}); "
            "take one that was trained with this model's family"
        )
    folder = _encoder_of(found)
    encoder, processor = _load_encoder(folder, device, dtype)
    tokens = "latents" in state["image_proj"]
    needs = state["image_proj"]["proj_in.weight" if tokens else "proj.weight"].shape[1]
    gives = int(encoder.config.hidden_size if tokens else encoder.config.projection_dim)
    if needs != gives:
        raise BadInput(
            f"{found}: takes image embeddings {needs} wide, and {folder} gives {gives}; put its own encoder there"
        )
    return ImageAdapter(name, state, encoder, processor, tokens)


def digest_of_image_adapter(name: str, own: Mapping[str, Any]) -> str:
    """Return the digest of an IP-Adapter's contents, and of its image encoder's."""
    found = find_image_adapter(name, own)
    if callable(found):
        return digest_of("random weights", name)
    encoder = digest_of_folder(_encoder_of(found), ("*.json", "*.safetensors"))
    return digest_of(digest_of_files({"adapter": found}), encoder)


class ImageInjection:
    """IP-Adapters made ready for a UNet: put in place and taken out again in no time, as often as wanted.

    The UNet stays as it is until `in_place` is entered, and its weights are never touched.
    """

    def __init__(self, unet: Any, adapters: Sequence[ImageAdapter]) -> None:
        """Let diffusers' own loader make the attention processors that look at the adapters' image prompts.

        Raises BadInput when the layers of an adapter are of other widths than the UNet's.
        """
        with silenced():
            from diffusers.loaders import IPAdapterMixin

        class Holder(IPAdapterMixin):
            """What diffusers' own loader needs of a pipeline."""

            unet_name = "unet"

            def __init__(self) -> None:
                self.unet = unet

        self._unet = unet
        before = self._parts()
        try:
            with construction(), silenced():
                states = [{half: dict(adapter.state[half]) for half in _HALVES} for adapter in adapters]
                names = [""] * len(states)
                Holder().load_ip_adapter(states, subfolder="", weight_name=names, low_cpu_mem_usage=False)
                unet.requires_grad_(False).eval()
            self._made = self._parts()
        except RuntimeError as error:  # of weights that do not fit
            raise BadInput(
                f"image_prompt {', '.join(adapter.name for adapter in adapters)}: its layers are not this model's "
                f"({first_line(error)}); take one that was trained with this model's family"
            ) from error
        finally:
            self._place(before)

    @contextmanager
    def in_place(self, scales: Sequence[float]) -> Iterator[None]:
        """Inside the `with`, the UNet's cross-attention looks at image prompts too, each adapter's with its scale.

        The denoiser is then called with their embeddings as `added_cond_kwargs["image_embeds"]`. Afterwards its
        attention processors and its config are what they were.
        """
        before = self._parts()
        for processor in self._made[0].values():
            if hasattr(processor, "to_k_ip"):
                processor.scale = list(scales)
        try:
            self._place(self._made)
            yield
        finally:
            self._place(before)

    def _parts(self) -> tuple[dict[str, Any], Any, Any]:
        """What an IP-Adapter changes of a UNet."""
        unet = self._unet
        return dict(unet.attn_processors), unet.encoder_hid_proj, unet.config.encoder_hid_dim_type

    def _place(self, parts: tuple[dict[str, Any], Any, Any]) -> None:
        processors, self._unet.encoder_hid_proj, self._unet.config.encoder_hid_dim_type = parts
        self._unet.set_attn_processor(dict(processors))


def _read(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Read an IP-Adapter's file: its two halves."""
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except Exception as error:
        reason = first_line(error)
        raise BadInput(f"{path}: not a whole safetensors file ({reason}); fetch or save it again") from None
    state = {h: {k.removeprefix(f"{h}."): v for k, v in tensors.items() if k.startswith(f"{h}.")} for h in _HALVES}
    if not all(state.values()):
        raise BadInput(f"{path}: not an IP-Adapter (it has no {' or no '.join(h for h in _HALVES if not state[h])})")
    if any(name in state["image_proj"] for name in _ELSEWHERE) or not (
        "proj.weight" in state["image_proj"] or "latents" in state["image_proj"]
    ):
        raise BadInput(f"{path}: an IP-Adapter of a kind that is not read (faces); give a plain one, or a Plus")
    for name, value in tensors.items():
        if not bool(value.float().isfinite().all()):
            raise BadInput(f"{path}: {name} holds values that are not finite; fetch it again")
    return state


def _encoder_of(adapter: Path) -> Path:
    """The image encoder's folder: beside the file, or where the published repository keeps it for SD 1.5."""
    places = [adapter.parent / _ENCODER, adapter.parent.parent / "models" / _ENCODER]
    if "vit-h" in adapter.name:  # published for SDXL, with the encoder of the SD 1.5 adapters
        places.reverse()
    for place in places:
        if (place / "config.json").is_file():
            return place
    raise BadInput(f"{adapter}: no {_ENCODER}/ beside it; put the CLIP image encoder there that it was trained with")


def _load_encoder(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import CLIPVisionModelWithProjection

    path = folder / "config.json"
    check_layers(folder, read_config(path), path)
    variant = find_weights(folder, TRANSFORMERS).variant
    try:
        with construction(), silenced():
            encoder, info = CLIPVisionModelWithProjection.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True, variant=variant
            )
    except Exception as error:  # the library raises many kinds; the user needs one line
        reason = first_line(error)
        raise BadInput(f"{folder}: not an image encoder that can be loaded ({reason}); fetch it again") from error
    check_complete(info, folder)
    check_values(encoder, folder)
    processor = image_processor(int(encoder.config.image_size))
    return encoder.to(device=device, dtype=dtype).eval().requires_grad_(False), processor


def image_processor(side: int) -> Any:
    """Return what prepares photos for a CLIP image encoder of `side` pixels: the middle of the photo, resized.

    >>> image_processor(224).crop_size["height"]
    224
    """
    with silenced():
        from transformers import CLIPImageProcessor

        return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def published_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the tensors of diffusers' `IPAdapterPlusImageProjection` to those of the published Plus adapters."""
    names = {
        "ln0": "0.norm1", "ln1": "0.norm2", "attn.to_q": "0.to_q", "attn.to_out.0": "0.to_out", "ff.0": "1.0",
        "ff.1.net.0.proj": "1.1", "ff.1.net.2": "1.3",
    }  # fmt: skip
    renamed = {}
    for key, value in state.items():
        layer = re.match(r"layers\.(\d+)\.(.+)\.(weight|bias)", key)
        if layer is None:
            renamed[key] = value
        elif layer[2] == "attn.to_k":
            values = torch.cat([value, state[f"layers.{layer[1]}.attn.to_v.weight"]])
            renamed[f"layers.{layer[1]}.0.to_kv.weight"] = values
        elif layer[2] in names:
            renamed[f"layers.{layer[1]}.{names[layer[2]]}.{layer[3]}"] = value
    return renamed
