"""PixArt-alpha and PixArt-Sigma: PixArtTransformer2DModel + AutoencoderKL + T5, as diffusers ships them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from shiftless.backbones.latent_model import LatentModel
from shiftless.backbones.random_parts import autoencoder, network, t5, t5_tokenizer
from shiftless.backbones.transformer_taps import all_block_taps
from shiftless.conditions.condition import Condition
from shiftless.conditions.t5 import encode_with_t5
from shiftless.taps.names import Tap

_TOKENS = 300  # of Sigma's prompts; alpha's have 120, but padding is masked, so that more of it changes nothing


class PixArt(LatentModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:pixart-alpha", dtype="fp32")
    >>> condition = model.encode_prompt(["a horse"], size=(64, 128))
    >>> taps = [tap for tap in model.taps if tap.name == "block1"]
    >>> model.denoise(torch.zeros(1, 4, 8, 16), 50, condition, taps).maps["block1"].shape
    torch.Size([1, 48, 4, 8])
    """

    FAMILY = "pixart"
    TINY = ""  # alpha has the latents of Stable Diffusion, sigma those of SDXL
    PARTS = {  # noqa: RUF012
        "transformer": "diffusers:PixArtTransformer2DModel",
        "vae": "diffusers:AutoencoderKL",
        "text_encoder": "transformers:T5EncoderModel",
        "tokenizer": "transformers:T5Tokenizer",
        "scheduler": "diffusers:DPMSolverMultistepScheduler",
    }

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of every transformer block, "block0" to "block27", and the means of their attention maps."""
        return all_block_taps(configs, modulation=("adaln_single.linear", "{}.scale_shift_table"))

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        config = row["transformer"]
        small = {"num_attention_heads": 4, "attention_head_dim": 12, "num_layers": 3, "cross_attention_dim": 48}
        small |= {"caption_channels": 32, "sample_size": 16, "norm_num_groups": 8}
        small |= {"use_additional_conditions": config.get("use_additional_conditions", config["sample_size"] == 128)}
        return {
            "transformer": network(cls.PARTS["transformer"], config, {} if full else small),
            "vae": autoencoder(row["vae"], full=full),
            "text_encoder": t5(row["text_encoder"], full=full),
            "tokenizer": t5_tokenizer(),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    def _encode(self, prompt: str) -> Condition:
        return encode_with_t5(self.tokenizers["tokenizer"], self.networks["text_encoder"], prompt, _TOKENS)

    def _sized(self, condition: Condition, size: tuple[int, int]) -> Condition:
        if not self.denoiser.use_additional_conditions:
            return condition
        resolution = torch.tensor([size], device=self.device, dtype=self.dtype)
        ratio = torch.tensor([[size[0] / size[1]]], device=self.device, dtype=self.dtype)
        return replace(condition, extra={**condition.extra, "resolution": resolution, "ratio": ratio})

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        extra = condition.extra
        output = self.denoiser(
            latent,
            encoder_hidden_states=condition.embeds,
            encoder_attention_mask=extra["mask"],
            timestep=torch.full((len(latent),), timestep, device=self.device),
            added_cond_kwargs={"resolution": extra.get("resolution"), "aspect_ratio": extra.get("ratio")},
            return_dict=False,
        )[0]
        return output[:, : latent.shape[1]]  # the other half is a variance, which DDIM does not use

    def _native_size(self, name: str) -> int:
        return int(self.denoiser.config.sample_size) * self._stride
