"""Flux.1: FluxTransformer2DModel + AutoencoderKL + CLIP and T5, as diffusers ships them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pixel_shuffle

from shiftless.backbones.joint_layout import JointLayout
from shiftless.backbones.latent_model import LatentModel
from shiftless.backbones.random_parts import autoencoder, clip, network, t5, t5_tokenizer
from shiftless.backbones.sd_config import check_tokenizer
from shiftless.backbones.transformer_taps import double_and_single_taps, width_and_stride
from shiftless.backbones.twin_controls import twin_transformer_control
from shiftless.backbones.twins import byte_tokenizer
from shiftless.conditions.condition import Condition
from shiftless.conditions.controlnet_flux import flux_residuals, packed
from shiftless.conditions.pooled_prompt import encode_with_pooled_clip
from shiftless.conditions.t5 import encode_with_t5
from shiftless.taps.names import Tap

_TOKENS = 512  # of T5, which diffusers' pipeline pads to; padding is not masked, so that their number matters
_CONTROL = "diffusers:FluxControlNetModel"
_GUIDANCE = 3.5  # what Flux-dev is told in place of guidance by two calls: the default of diffusers' pipeline
_PATCH = 2  # cells of the latent a side, which are packed into one token


class Flux(LatentModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    Its blocks are of two kinds: "double0" to "double18" have weights of their own for the text, and after them
    "single0" to "single37" have the same weights for text and image.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:flux-dev", dtype="fp32")
    >>> condition = model.encode_prompt(["a horse"])
    >>> taps = [tap for tap in model.taps if tap.name in ("double1", "single0")]
    >>> model.denoise(torch.zeros(1, 16, 8, 16), 50, condition, taps).maps["single0"].shape
    torch.Size([1, 48, 4, 8])
    """

    FAMILY = "flux"
    TINY = "madebyollin/taef1"
    PARTS = {  # noqa: RUF012
        "transformer": "diffusers:FluxTransformer2DModel",
        "vae": "diffusers:AutoencoderKL",
        "text_encoder": "transformers:CLIPTextModel",
        "text_encoder_2": "transformers:T5EncoderModel",
        "tokenizer": "transformers:CLIPTokenizer",
        "tokenizer_2": "transformers:T5Tokenizer",
        "scheduler": "diffusers:FlowMatchEulerDiscreteScheduler",
    }
    LAYOUT = JointLayout
    TECHNIQUES = ("prompt", "control", "lora", "start")
    TEXT_ENCODERS = ("text_encoder", "text_encoder_2")

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of every block and the means of their attention maps."""
        double = {"modulation": ("{}.norm1.linear",), "output": True}
        single = {"inner": "act_mlp", "modulation": ("{}.norm.linear",), "output": True}
        return double_and_single_taps(configs["transformer"], *width_and_stride(configs, _PATCH), double, single)

    @classmethod
    def read_parts(cls, folder: Path, dtype: torch.dtype | None = None) -> dict[str, Any]:
        """Load and check every part of a folder; raises BadInput naming the part that is missing or broken."""
        parts = super().read_parts(folder, dtype)
        check_tokenizer(parts["tokenizer"], parts["text_encoder"], folder / "tokenizer")
        return parts

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        small: dict[str, Any] = {"num_attention_heads": 3, "attention_head_dim": 16, "axes_dims_rope": (4, 6, 6)}
        small |= {"num_layers": 2, "num_single_layers": 2, "joint_attention_dim": 32, "pooled_projection_dim": 16}
        return {
            "transformer": network(cls.PARTS["transformer"], row["transformer"], {} if full else small),
            "vae": autoencoder({**row["vae"], **({} if full else {"sample_size": 128})}, full=full),
            "text_encoder": clip(cls.PARTS["text_encoder"], row["text_encoder"], full=full, width=16),
            "text_encoder_2": t5(row["text_encoder_2"], full=full),
            "tokenizer": byte_tokenizer(),
            "tokenizer_2": t5_tokenizer(),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    @classmethod
    def twin_controls(cls, parts: Mapping[str, Any]) -> dict[str, Any]:
        """A ControlNet of edges with random weights."""
        blocks = {"num_layers": 1, "num_single_layers": 1}
        return {"canny": lambda: twin_transformer_control(_CONTROL, parts["transformer"], **blocks)}

    def _encode(self, prompt: str) -> Condition:
        """T5's tokens, and CLIP's vector for the whole prompt."""
        short = encode_with_pooled_clip(self.tokenizers["tokenizer"], self.networks["text_encoder"], prompt)
        tokenizer, encoder = self.tokenizers["tokenizer_2"], self.networks["text_encoder_2"]
        long = encode_with_t5(tokenizer, encoder, prompt, _TOKENS, masked=False)
        return Condition(long.embeds, long.words, {"pooled": short.extra["pooled"]})

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        assert condition.embeds is not None
        rows, columns = latent.shape[2] // _PATCH, latent.shape[3] // _PATCH
        told = {
            "hidden_states": packed(latent),
            "encoder_hidden_states": condition.embeds,
            "pooled_projections": condition.extra["pooled"],
            "timestep": torch.full((len(latent),), timestep / 1000, device=self.device, dtype=self.dtype),
            "img_ids": _positions(rows, columns, self.device),
            "txt_ids": torch.zeros(condition.embeds.shape[1], 3, device=self.device),
        }
        steered = flux_residuals(self.denoiser, condition.steers, _GUIDANCE, **told)
        guided = self.denoiser.config.guidance_embeds
        guidance = torch.full((len(latent),), _GUIDANCE, device=self.device) if guided else None
        output = self.denoiser(**told, **steered, guidance=guidance, return_dict=False)[0]
        return pixel_shuffle(output.transpose(1, 2).unflatten(2, (rows, columns)), _PATCH)

    def _native_size(self, name: str) -> int:
        told = int(self.vae.config.sample_size)  # the transformer's config says none
        return told if told > 32 else 1024  # 32 is what diffusers takes where a config says none


def _positions(rows: int, columns: int, device: torch.device) -> torch.Tensor:
    """The place of every token of the image, (rows columns) 3: zero, its row and its column."""
    grid = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(grid[0]), *grid], -1).flatten(0, 1).float().to(device)
