"""Stable Diffusion 1.x and 2.x: UNet2DConditionModel + AutoencoderKL + CLIP text, as diffusers ships them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from shiftless.backbones.inpaint import Inpainting
from shiftless.backbones.parts import check_there, load_parts
from shiftless.backbones.random_parts import image_adapter
from shiftless.backbones.sd_config import check_model, check_tokenizer, read_vae
from shiftless.backbones.single_file import read_checkpoint
from shiftless.backbones.twin_controls import twin_adapter, twin_control
from shiftless.backbones.twins import twin_parts
from shiftless.backbones.unet_taps import unet_taps
from shiftless.conditions.condition import Condition, image_embeds
from shiftless.conditions.config import read_config
from shiftless.conditions.prompt import encode_with_clip
from shiftless.conditions.unet_config import read_unet
from shiftless.conditions.unet_residuals import residuals
from shiftless.digest import digest_of, digest_of_file, marks_of
from shiftless.errors import BadInput
from shiftless.taps.names import Tap


class StableDiffusion(Inpainting):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:sd15", dtype="fp32")
    >>> latent = model.encode_image(torch.zeros(1, 3, 64, 128))
    >>> condition = model.encode_prompt(["a photo of a horse"])
    >>> reading = model.denoise(latent, 50, condition, [tap for tap in model.taps if tap.name == "up1"])
    >>> latent.shape, reading.maps["up1"].shape, reading.prediction
    (torch.Size([1, 4, 8, 16]), torch.Size([1, 64, 4, 8]), None)
    """

    FAMILY = "sd"
    PARTS = {  # noqa: RUF012
        "unet": "diffusers:UNet2DConditionModel",
        "vae": "diffusers:AutoencoderKL",
        "text_encoder": "transformers:CLIPTextModel",
        "tokenizer": "transformers:CLIPTokenizer",
        "scheduler": "diffusers:DDIMScheduler",
    }
    DENOISER = "unet"
    TINY = "madebyollin/taesd"
    UNSCALED = True
    TECHNIQUES: ClassVar[tuple[str, ...]] = ("prompt", "control", "lora", "image_prompt", "textual_inversion", "start")

    @property
    def unet(self) -> Any:
        """The denoiser, a UNet2DConditionModel."""
        return self.denoiser

    @property
    def text_encoder(self) -> Any:
        """The text encoder, a CLIPTextModel."""
        return self.networks["text_encoder"]

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of its prompts."""
        return self.tokenizers["tokenizer"]

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of the UNet; see `unet_taps`."""
        return unet_taps(configs["unet"], 2 ** (len(configs["vae"]["block_out_channels"]) - 1))

    @classmethod
    def read_parts(cls, folder: Path, dtype: torch.dtype | None = None) -> dict[str, Any]:
        """Load every part of a Stable Diffusion folder; raises BadInput naming the part that is missing or broken."""
        from transformers import CLIPTextConfig

        check_there(folder, cls.PARTS)
        text = check_model(folder)["text_encoder"]
        parts = load_parts(folder, cls.PARTS, dtype, configs={"text_encoder": CLIPTextConfig(**text)})
        check_tokenizer(parts["tokenizer"], parts["text_encoder"], folder / "tokenizer")
        return parts

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a folder holds a UNet2DConditionModel that is told neither a size nor a pooled prompt."""
        path = folder / "unet" / "config.json"
        config = read_config(path) if path.is_file() else {}
        kind = config.get("_class_name", "UNet2DConditionModel")
        return path.is_file() and kind == "UNet2DConditionModel" and not config.get("addition_embed_type")

    @classmethod
    def read_configs(cls, folder: Path) -> Mapping[str, Mapping[str, Any]]:
        """Return the checked configs of the UNet and the autoencoder."""
        return {"unet": read_unet(folder / "unet"), "vae": read_vae(folder / "vae")}

    @classmethod
    def from_single_file(
        cls, name: str, row: Mapping[str, Any], device: torch.device, dtype: torch.dtype, size: int | None = None
    ) -> StableDiffusion:
        """Load a checkpoint of one file, of the shape of a row that `single_file.row_of` returned."""
        file, before = Path(name), marks_of([Path(name)])
        parts = read_checkpoint(file, row, cls.PARTS)
        words = [parts[part].get_vocab() for part in parts if part.startswith("tokenizer")]
        options: dict[str, Any] = {"controls": row.get("controls"), "images": row.get("images")}
        options["made_of"] = lambda: digest_of(digest_of_file(file), words) if marks_of([file]) == before else ""
        return cls(name, parts, size or row["size"], device, dtype, **options)

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights; see `shiftless.backbones.twins`."""
        return twin_parts(dict(row), full=full)

    @classmethod
    def twin_controls(cls, parts: Mapping[str, Any]) -> dict[str, Any]:
        """A ControlNet and a T2I-Adapter of edges, with random weights."""
        unet, vae = parts["unet"], parts["vae"].config
        stride = 2 ** (len(vae.block_out_channels) - 1)
        return {
            "canny": lambda: twin_control(unet, stride, channels=vae.latent_channels),
            "t2i-canny": lambda: twin_adapter(unet, stride),
        }

    @classmethod
    def twin_images(cls, parts: Mapping[str, Any]) -> dict[str, Any]:
        """An IP-Adapter with random weights."""
        return {"ip-adapter": lambda: image_adapter(parts["unet"])}

    def _encode(self, prompt: str) -> Condition:
        return encode_with_clip(self._spoken()[0], self.text_encoder, prompt)

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        steered = residuals(condition.steers, latent, timestep, condition.embeds)
        if images := image_embeds(condition):
            steered["added_cond_kwargs"] = {"image_embeds": images}
        fed = self._fed(latent, condition)
        prediction: torch.Tensor = self.unet(fed, timestep, condition.embeds, return_dict=False, **steered)[0]
        return prediction

    def _native_size(self, name: str) -> int:
        cells = self.unet.config.sample_size
        cells = max(cells) if isinstance(cells, (list, tuple)) else cells
        if not cells:
            raise BadInput(f"{name}: unet/config.json says no sample_size; write one there, such as 64 for 512 pixels")
        return int(cells) * self._stride

    def _check_size(self, size: tuple[int, int]) -> None:
        """A UNet with a condition takes uneven grids too: its decoder goes back to the sizes of its encoder."""
        replace(self.spec, multiple=self._stride).check_size(size)

    def _multiple(self) -> int:
        return self._stride * 2 ** (len(self.unet.config.block_out_channels) - 1)
