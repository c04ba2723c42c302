"""Sana: SanaTransformer2DModel + AutoencoderDC + Gemma 2, as diffusers ships them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from shiftless.backbones.latent_model import LatentModel
from shiftless.backbones.random_parts import gemma, gemma_tokenizer, network
from shiftless.backbones.transformer_taps import block_taps, map_groups, width_and_stride
from shiftless.conditions.condition import Condition
from shiftless.conditions.gemma import encode_with_gemma
from shiftless.errors import BadInput
from shiftless.noise import Schedule
from shiftless.taps.attention import weights_of_keys
from shiftless.taps.layout import Layout
from shiftless.taps.names import Tap

_TOKENS = 300  # of a prompt; padding is masked
_MODULATION = ("time_embed.linear", "{}.scale_shift_table")


class SanaLayout(Layout):
    """Queries and keys are normed over all heads at once, by those versions that norm them."""

    def attention(
        self, tap: Tap, layer: nn.Module, projected: Mapping[str, torch.Tensor], call: Mapping[str, Any]
    ) -> torch.Tensor:
        """Return a cross-attention map B T H W (T for each head, if the tap is of heads), float32."""
        net: Any = layer
        normed = [projected[f"to_{x}"] if (norm := getattr(net, f"norm_{x}")) is None else norm(projected[f"to_{x}"])
                  for x in "qk"]  # fmt: skip
        query, key = (x.unflatten(2, (net.heads, -1)).transpose(1, 2) for x in normed)
        bias = call.get("attention_mask")
        value = weights_of_keys(query, key, query.shape[-1] ** -0.5, per_head=tap.kind == "heads", bias=bias)
        return value.unflatten(2, self.grid(tap))


class Sana(LatentModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    Its self-attention is linear, so that it has no map; cross-attention has. A prompt is read behind the instruction
    that diffusers' SanaPipeline puts before prompts, and "" without it, as that pipeline reads its negative prompt.
    The autoencoder has no posterior: latent="sample" is latent="mean". The network is told the timestep as it is,
    0 to 999, or scaled as its config says.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:sana", dtype="fp32")
    >>> latent = model.encode_image(torch.zeros(1, 3, 64, 128))
    >>> taps = [tap for tap in model.taps if tap.name == "block1"]
    >>> reading = model.denoise(latent, 50, model.encode_prompt([""]), taps)
    >>> latent.shape, reading.maps["block1"].shape
    (torch.Size([1, 32, 2, 4]), torch.Size([1, 32, 2, 4]))
    """

    FAMILY = "sana"
    PARTS = {  # noqa: RUF012
        "transformer": "diffusers:SanaTransformer2DModel",
        "vae": "diffusers:AutoencoderDC",
        "text_encoder": "transformers:Gemma2Model",
        "tokenizer": "transformers:GemmaTokenizer",
        "scheduler": "diffusers:DPMSolverMultistepScheduler",
    }
    LAYOUT = SanaLayout

    def __init__(self, *parts: Any, **options: Any) -> None:
        """Adapt loaded parts; all of Sana is rectified flow, whichever scheduler of two kinds a repository names."""
        super().__init__(*parts, **options)
        self.schedule = Schedule.flow()

    @classmethod
    def read_configs(cls, folder: Path) -> Mapping[str, Mapping[str, Any]]:
        """Return the checked configs; raises BadInput for Sana-Sprint, which predicts something else."""
        configs = super().read_configs(folder)
        if configs["transformer"].get("guidance_embeds"):
            raise BadInput(f"{folder}: a Sana-Sprint, which predicts no flow, and is not read; give a Sana 1.0 or 1.5")
        return configs

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of every transformer block, "block0" to "block19", and the mean of their cross maps."""
        config = configs["transformer"]
        width, stride = width_and_stride(configs)
        inner, taps = int(config["mlp_ratio"] * width), []
        for i in range(config["num_layers"]):
            name, module = f"block{i}", f"transformer_blocks.{i}"
            *inside, block = block_taps(name, module, width, stride, maps=False, modulation=_MODULATION)
            taps += [*inside, Tap(f"{name}.ffn.inner", inner, stride, f"{module}.ff.conv_point", side="in"), block]
        return (*taps, *map_groups(taps))

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        small = {"num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 3, "sample_size": 4}
        small |= {"num_cross_attention_heads": 2, "cross_attention_head_dim": 16, "cross_attention_dim": 32}
        widths, layers = [16, 16, 16, 32, 32, 64], [1] * 6
        tiny = {"encoder_block_out_channels": widths, "decoder_block_out_channels": widths, "attention_head_dim": 8}
        tiny |= {"encoder_layers_per_block": layers, "decoder_layers_per_block": layers}
        return {
            "transformer": network(
                cls.PARTS["transformer"], row["transformer"], {} if full else {**small, "caption_channels": 32}
            ),
            "vae": network(cls.PARTS["vae"], row["vae"], {} if full else tiny),
            "text_encoder": gemma(row["text_encoder"], full=full),
            "tokenizer": gemma_tokenizer(),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    def _latent(self) -> tuple[int, int]:
        config = self.vae.config
        return int(config.latent_channels), 2 ** (len(config.encoder_block_out_channels) - 1)

    def _posterior(self, pixels: torch.Tensor) -> Any:
        latent = self.vae.encode(pixels).latent
        return SimpleNamespace(mean=latent, std=torch.zeros_like(latent))

    def _encode(self, prompt: str) -> Condition:
        tokenizer, encoder = self.tokenizers["tokenizer"], self.networks["text_encoder"]
        return encode_with_gemma(tokenizer, encoder, prompt, _TOKENS, _instruction() if prompt.strip() else "")

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        told = timestep * float(self.denoiser.config.timestep_scale)
        prediction: torch.Tensor = self.denoiser(
            latent,
            encoder_hidden_states=condition.embeds,
            encoder_attention_mask=condition.extra["mask"],
            timestep=torch.full((len(latent),), told, device=self.device),
            return_dict=False,
        )[0]
        return prediction

    def _native_size(self, name: str) -> int:
        return int(self.denoiser.config.sample_size) * self._stride


@cache
def _instruction() -> str:
    """What diffusers' pipeline puts before a prompt: the default of its argument."""
    from diffusers import SanaPipeline

    lines = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
    return "\n".join(lines)
