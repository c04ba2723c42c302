"""Stable Diffusion XL: UNet2DConditionModel told sizes and a pooled prompt + AutoencoderKL + two CLIP text encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from shiftless.backbones.parts import check_there, load_parts
from shiftless.backbones.random_parts import autoencoder, network
from shiftless.backbones.sd import StableDiffusion
from shiftless.backbones.sd_config import check_model, check_tokenizer, check_told, read_vae
from shiftless.backbones.twin_controls import twin_union
from shiftless.backbones.twins import byte_tokenizer
from shiftless.conditions.condition import Condition, image_embeds
from shiftless.conditions.config import read_config
from shiftless.conditions.prompt import encode_with_two_clips
from shiftless.conditions.unet_config import SDXL_UNET, read_unet
from shiftless.conditions.unet_residuals import residuals


class StableDiffusionXL(StableDiffusion):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    The network is told that the image is as large as it was fed and was not cropped. With dtype="fp16" an autoencoder
    whose config asks for it (`force_upcast`) stays in float32, since it overflows in half precision.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:sdxl", dtype="fp32")
    >>> condition = model.encode_prompt(["a photo of a horse"], size=(64, 128))
    >>> condition.embeds.shape, condition.extra["time_ids"].tolist()
    (torch.Size([1, 77, 64]), [[64.0, 128.0, 0.0, 0.0, 64.0, 128.0]])
    """

    FAMILY = "sdxl"
    TINY = "madebyollin/taesdxl"
    PARTS = {  # noqa: RUF012
        "unet": "diffusers:UNet2DConditionModel",
        "vae": "diffusers:AutoencoderKL",
        "text_encoder": "transformers:CLIPTextModel",
        "text_encoder_2": "transformers:CLIPTextModelWithProjection",
        "tokenizer": "transformers:CLIPTokenizer",
        "tokenizer_2": "transformers:CLIPTokenizer",
        "scheduler": "diffusers:DDIMScheduler",
    }
    TEXT_ENCODERS = ("text_encoder", "text_encoder_2")

    def __init__(
        self,
        name: str,
        parts: Mapping[str, Any],
        size: int | None,
        device: torch.device,
        dtype: torch.dtype,
        **options: Any,
    ) -> None:
        """Adapt loaded parts, as `LatentModel` does."""
        super().__init__(name, parts, size, device, dtype, **options)
        if dtype == torch.float16 and self.vae.config.force_upcast:
            self.vae.float()
            self._as_made = self._state()

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a folder holds a UNet2DConditionModel that is told sizes and a pooled prompt."""
        path = folder / "unet" / "config.json"
        config = read_config(path) if path.is_file() else {}
        kind = config.get("_class_name", "UNet2DConditionModel")
        return kind == "UNet2DConditionModel" and config.get("addition_embed_type") == "text_time"

    @classmethod
    def read_configs(cls, folder: Path) -> Mapping[str, Mapping[str, Any]]:
        """Return the checked configs of the UNet and the autoencoder."""
        return {"unet": read_unet(folder / "unet", fields=SDXL_UNET), "vae": read_vae(folder / "vae")}

    @classmethod
    def read_parts(cls, folder: Path, dtype: torch.dtype | None = None) -> dict[str, Any]:
        """Load every part of an SDXL folder; raises BadInput naming the part that is missing or broken."""
        from transformers import CLIPTextConfig

        check_told(folder)
        check_there(folder, cls.PARTS)
        texts = check_model(folder, cls.TEXT_ENCODERS, SDXL_UNET, "Stable Diffusion XL")
        configs = {part: CLIPTextConfig(**text) for part, text in texts.items()}
        parts = load_parts(folder, cls.PARTS, dtype, configs=configs)
        for part in cls.TEXT_ENCODERS:
            tokenizer = part.replace("text_encoder", "tokenizer")
            check_tokenizer(parts[tokenizer], parts[part], folder / tokenizer)
        return parts

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        small = {"block_out_channels": [32, 64, 64], "attention_head_dim": [2, 4, 4], "cross_attention_dim": 64}
        small |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 48 + 32}
        small |= {"norm_num_groups": 8, "sample_size": 16}
        tokenizer = byte_tokenizer()
        text: dict[str, Any] = {}
        for part in cls.TEXT_ENCODERS:
            tiny = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
            tiny |= {"projection_dim": 32, "vocab_size": len(tokenizer)}
            tokens = {f"{which}_token_id": getattr(tokenizer, f"{which}_token_id") for which in ("bos", "eos", "pad")}
            text[part] = network(cls.PARTS[part], {**row[part], **tokens}, {} if full else tiny, seed=len(text))
        return {
            "unet": network(cls.PARTS["unet"], row["unet"], {} if full else small),
            "vae": autoencoder(row["vae"], full=full),
            **text,
            "tokenizer": tokenizer,
            "tokenizer_2": byte_tokenizer(),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    @classmethod
    def twin_controls(cls, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Those of Stable Diffusion, and a union of ControlNets, which is one network for two kinds of maps."""
        stride = 2 ** (len(parts["vae"].config.block_out_channels) - 1)
        union = cache(partial(twin_union, parts["unet"], stride))
        return {**super().twin_controls(parts), "union-canny": union, "union-tile": union}

    def _encode(self, prompt: str) -> Condition:
        return encode_with_two_clips(self._spoken(), [self.networks[part] for part in self.TEXT_ENCODERS], prompt)

    def _sized(self, condition: Condition, size: tuple[int, int]) -> Condition:
        told = torch.tensor([[*size, 0, 0, *size]], device=self.device, dtype=torch.float32)
        return replace(condition, extra={**condition.extra, "time_ids": told})

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        told: dict[str, Any] = {name: condition.extra[name] for name in ("text_embeds", "time_ids")}
        steered = residuals(condition.steers, latent, timestep, condition.embeds, told)
        told |= {"image_embeds": images} if (images := image_embeds(condition)) else {}
        options: dict[str, Any] = {"added_cond_kwargs": told, "return_dict": False, **steered}
        prediction: torch.Tensor = self.unet(self._fed(latent, condition), timestep, condition.embeds, **options)[0]
        return prediction
