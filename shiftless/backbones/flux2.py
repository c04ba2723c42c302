"""FLUX.2 klein: Flux2Transformer2DModel + AutoencoderKLFlux2 + Qwen3, as diffusers ships them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from shiftless.backbones.joint_layout import FUSED, FusedLayout
from shiftless.backbones.latent_model import LatentModel
from shiftless.backbones.parts import check_chat_template
from shiftless.backbones.random_parts import flux2_autoencoder, network, qwen3, qwen_tokenizer
from shiftless.backbones.transformer_taps import double_and_single_taps, width_and_stride
from shiftless.conditions.chat_prompt import encode_with_chat
from shiftless.conditions.condition import Condition
from shiftless.conditions.config import short
from shiftless.errors import BadInput
from shiftless.taps.names import Tap

_GUIDANCE = 4.0  # what dev is told in place of guidance by two calls: the default of diffusers' pipeline
_TOKENS = 512  # of a prompt, which diffusers' pipeline pads to


class Flux2(LatentModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    As in Flux.1, "double" blocks have weights of their own for the text, and "single" blocks share theirs. A latent
    has 128 channels: four neighbouring cells of the autoencoder's 32, each normed by the autoencoder's statistics.
    ENCODER is what the text encoder's config calls its kind.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:flux2-klein", dtype="fp32")
    >>> condition = model.encode_prompt(["a horse"])
    >>> taps = [tap for tap in model.taps if tap.name in ("double1", "single0")]
    >>> model.denoise(torch.zeros(1, 128, 4, 8), 50, condition, taps).maps["single0"].shape
    torch.Size([1, 48, 4, 8])
    """

    FAMILY = "flux2"
    PARTS = {  # noqa: RUF012
        "transformer": "diffusers:Flux2Transformer2DModel",
        "vae": "diffusers:AutoencoderKLFlux2",
        "text_encoder": "transformers:Qwen3ForCausalLM",
        "tokenizer": "transformers:Qwen2Tokenizer",
        "scheduler": "diffusers:FlowMatchEulerDiscreteScheduler",
    }
    ENCODER: ClassVar[str] = "qwen3"
    LAYOUT = FusedLayout
    TECHNIQUES = ("prompt", "lora", "start")

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of every block and the means of their attention maps."""
        config, size = configs["transformer"], width_and_stride(configs, configs["vae"]["patch_size"][0])
        double = {"inner": "ff.act_fn", "widen": config["mlp_ratio"], "modulation": ("double_stream_modulation_img",)}
        single = {"inner": "attn.mlp_act_fn", "widen": config["mlp_ratio"], "projections": f"attn.{FUSED}"}
        single["modulation"] = ("single_stream_modulation",)
        return double_and_single_taps(config, *size, double, single)

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        small: dict[str, Any] = {"num_attention_heads": 3, "attention_head_dim": 16, "axes_dims_rope": (4, 4, 4, 4)}
        small |= {"num_layers": 2, "num_single_layers": 2, "joint_attention_dim": 48, "timestep_guidance_channels": 16}
        return {
            "transformer": network(cls.PARTS["transformer"], row["transformer"], {} if full else small),
            "vae": flux2_autoencoder(row["vae"], full=full),
            **cls.twin_language(row["text_encoder"], full=full),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    @classmethod
    def twin_language(cls, config: Mapping[str, Any], *, full: bool) -> dict[str, Any]:
        """Build the text encoder and its tokenizer with random weights."""
        return {"text_encoder": qwen3(cls.PARTS["text_encoder"], config, full=full), "tokenizer": qwen_tokenizer()}

    @classmethod
    def read_configs(cls, folder: Path) -> Mapping[str, Mapping[str, Any]]:
        """Return the checked configs of the networks; raises BadInput where the text encoder is another one."""
        configs = super().read_configs(folder)
        kind = configs["text_encoder"].get("model_type", cls.ENCODER)
        if kind != cls.ENCODER:
            raise BadInput(f"{folder}: its text encoder is a {short(kind)} model; give a FLUX.2 klein or dev")
        return configs

    @classmethod
    def read_parts(cls, folder: Path, dtype: torch.dtype | None = None) -> dict[str, Any]:
        """Load every part of a folder; raises BadInput naming the part that is missing or broken."""
        return check_chat_template(super().read_parts(folder, dtype), folder)

    def _encode(self, prompt: str) -> Condition:
        return self._encode_message(prompt, {"add_generation_prompt": True, "enable_thinking": False})

    def _encode_message(self, prompt: str, options: Mapping[str, Any], system: str = "") -> Condition:
        encoder = self.networks["text_encoder"]
        depth = encoder.config.get_text_config().num_hidden_layers
        layers = [depth // 4, depth // 2, 3 * depth // 4]  # of 36: 9, 18 and 27, as the pipelines take them
        return encode_with_chat(self.tokenizers["tokenizer"], encoder.model, prompt, _TOKENS, layers, options, system)

    def _latent(self) -> tuple[int, int]:
        channels, stride = super()._latent()
        patch = self.vae.config.patch_size[0]
        return channels * patch**2, stride * patch

    def _scaled(self, clean: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics()
        packed = pixel_unshuffle(clean, self.vae.config.patch_size[0])
        return ((packed.float() - mean) / std).to(clean.dtype)

    def _unscaled(self, latent: torch.Tensor) -> torch.Tensor:
        mean, std = (x.to(latent.device) for x in self._statistics())
        return self._unpacked(latent * std + mean)

    def _unpacked(self, noise: torch.Tensor) -> torch.Tensor:
        return pixel_shuffle(noise, self.vae.config.patch_size[0])

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean and the standard deviation of each channel of a latent, 1 c 1 1."""
        norm = self.vae.bn
        std = (norm.running_var.float() + self.vae.config.batch_norm_eps).sqrt()
        return norm.running_mean.float()[None, :, None, None], std[None, :, None, None]

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        assert condition.embeds is not None
        size, guided = latent.shape[2:], self.denoiser.config.guidance_embeds
        output = self.denoiser(
            latent.flatten(2).transpose(1, 2),
            encoder_hidden_states=condition.embeds,
            timestep=torch.full((len(latent),), timestep / 1000, device=self.device, dtype=self.dtype),
            img_ids=_positions(self.device, rows=size[0], columns=size[1]),
            txt_ids=_positions(self.device, words=condition.embeds.shape[1]),
            guidance=torch.full((len(latent),), _GUIDANCE, device=self.device) if guided else None,
            return_dict=False,
        )[0]
        prediction: torch.Tensor = output.transpose(1, 2).unflatten(2, size)
        return prediction

    def _native_size(self, name: str) -> int:
        return int(self.vae.config.sample_size)


def _positions(device: torch.device, rows: int = 1, columns: int = 1, words: int = 1) -> torch.Tensor:
    """The place of every token, N 4: zero, its row and its column in the image, its number in the text."""
    axes = [torch.arange(count, device=device) for count in (1, rows, columns, words)]
    return torch.cartesian_prod(*axes)
