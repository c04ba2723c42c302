"""Stable Diffusion 3 and 3.5: SD3Transformer2DModel + AutoencoderKL + two CLIPs and T5, as diffusers ships them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pad

from shiftless.backbones.joint_layout import JointLayout
from shiftless.backbones.latent_model import LatentModel
from shiftless.backbones.random_parts import autoencoder, clip, network, t5, t5_tokenizer
from shiftless.backbones.sd_config import check_tokenizer
from shiftless.backbones.transformer_taps import joint_taps, map_groups, width_and_stride
from shiftless.backbones.twin_controls import twin_transformer_control
from shiftless.backbones.twins import byte_tokenizer
from shiftless.conditions.condition import Condition
from shiftless.conditions.controlnet_sd3 import sd3_residuals
from shiftless.conditions.pooled_prompt import encode_with_pooled_clip
from shiftless.conditions.t5 import encode_with_t5
from shiftless.errors import BadInput
from shiftless.taps.names import Tap

_TOKENS = 256  # of T5, which diffusers' pipeline pads to; padding is not masked, so that their number matters
_CONTROL = "diffusers:SD3ControlNetModel"
_WITH_PROJECTION = "transformers:CLIPTextModelWithProjection"


class StableDiffusion3(LatentModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:sd3.5-medium", dtype="fp32")
    >>> condition = model.encode_prompt(["a horse"])
    >>> taps = [tap for tap in model.taps if tap.name in ("block1", "block1.cross.map:horse")]
    >>> model.denoise(torch.zeros(1, 16, 8, 16), 50, condition, taps).maps["block1"].shape
    torch.Size([1, 48, 4, 8])
    """

    FAMILY = "sd3"
    TINY = "madebyollin/taesd3"
    PARTS = {  # noqa: RUF012
        "transformer": "diffusers:SD3Transformer2DModel",
        "vae": "diffusers:AutoencoderKL",
        "text_encoder": _WITH_PROJECTION,
        "text_encoder_2": _WITH_PROJECTION,
        "text_encoder_3": "transformers:T5EncoderModel",
        "tokenizer": "transformers:CLIPTokenizer",
        "tokenizer_2": "transformers:CLIPTokenizer",
        "tokenizer_3": "transformers:T5Tokenizer",
        "scheduler": "diffusers:FlowMatchEulerDiscreteScheduler",
    }
    LAYOUT = JointLayout
    TECHNIQUES = ("prompt", "control", "lora", "start")
    TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of every block, "block0" to "block23" or "block37", and the means of their attention maps."""
        config = configs["transformer"]
        width, stride = width_and_stride(configs)
        taps: list[Tap] = []
        for i in range(config["num_layers"]):
            name, module = f"block{i}", f"transformer_blocks.{i}"
            *before, output = joint_taps(name, module, width, stride, modulation=("{}.norm1.linear",))
            dual = _dual_taps(name, module, width, stride) if i in (config.get("dual_attention_layers") or ()) else ()
            taps += [*before, *dual, output]
        return (*taps, *map_groups(taps))

    @classmethod
    def read_parts(cls, folder: Path, dtype: torch.dtype | None = None) -> dict[str, Any]:
        """Load and check every part of a folder; raises BadInput naming the part that is missing or broken."""
        parts = super().read_parts(folder, dtype)
        for which in ("", "_2"):
            check_tokenizer(parts[f"tokenizer{which}"], parts[f"text_encoder{which}"], folder / f"tokenizer{which}")
        return parts

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        config = row["transformer"]
        small: dict[str, Any] = {"num_attention_heads": 4, "attention_head_dim": 12, "num_layers": 3}
        small |= {"caption_projection_dim": 48, "joint_attention_dim": 32, "pooled_projection_dim": 24}
        small |= {"sample_size": 16, "pos_embed_max_size": 24}
        small |= {"dual_attention_layers": config.get("dual_attention_layers", [])[:2]}
        return {
            "transformer": network(cls.PARTS["transformer"], config, {} if full else small),
            "vae": autoencoder(row["vae"], full=full),
            "text_encoder": clip(_WITH_PROJECTION, row["text_encoder"], full=full, width=8),
            "text_encoder_2": clip(_WITH_PROJECTION, row["text_encoder_2"], full=full, width=16),
            "text_encoder_3": t5(row["text_encoder_3"], full=full),
            "tokenizer": byte_tokenizer(),
            "tokenizer_2": byte_tokenizer(),
            "tokenizer_3": t5_tokenizer(),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    @classmethod
    def twin_controls(cls, parts: Mapping[str, Any]) -> dict[str, Any]:
        """A ControlNet of edges with random weights."""
        return {"canny": lambda: twin_transformer_control(_CONTROL, parts["transformer"], num_layers=2)}

    def _encode(self, prompt: str) -> Condition:
        """CLIP's tokens, then T5's; a row of the former is both encoders' vectors side by side, and zeros."""
        pairs = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))
        clips = [encode_with_pooled_clip(self.tokenizers[a], self.networks[b], prompt) for a, b in pairs]
        long = encode_with_t5(
            self.tokenizers["tokenizer_3"], self.networks["text_encoder_3"], prompt, _TOKENS, masked=False
        )
        assert long.embeds is not None
        short = torch.cat([one.embeds for one in clips if one.embeds is not None], -1)
        short = pad(short, (0, long.embeds.shape[-1] - short.shape[-1]))
        words = (clips[0].words[0] + long.words[0],)
        pooled = torch.cat([one.extra["pooled"] for one in clips], -1)
        return Condition(torch.cat([short, long.embeds], 1), words, {"pooled": pooled})

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        config = self.denoiser.config
        most, cells = config.pos_embed_max_size, max(latent.shape[2:])
        if most and cells > most * config.patch_size:
            raise BadInput(
                f"{self.spec.name}: {cells * self._stride} pixels a side is more than this model has positions for "
                f"(at most {most * config.patch_size * self._stride}); give a smaller size"
            )
        told = torch.full((len(latent),), timestep, device=self.device)
        prediction: torch.Tensor = self.denoiser(
            latent,
            encoder_hidden_states=condition.embeds,
            pooled_projections=condition.extra["pooled"],
            timestep=told,
            return_dict=False,
            **sd3_residuals(self.denoiser, condition, latent, told),
        )[0]
        return prediction

    def _native_size(self, name: str) -> int:
        return int(self.denoiser.config.sample_size) * self._stride


def _dual_taps(name: str, module: str, width: int, stride: int) -> Iterator[Tap]:
    """The second attention layer in some blocks of 3.5-medium, which the image gives to itself alone."""
    yield Tap(f"{name}.dual.modulated", width, stride, f"{module}.attn2", side="in")
    for letter in ("q", "k", "v"):
        yield Tap(f"{name}.dual.{letter}", width, stride, f"{module}.attn2.to_{letter}")
    yield Tap(f"{name}.dual.map", 0, stride, f"{module}.attn2", "map")
    yield Tap(f"{name}.dual.map.heads", 0, stride, f"{module}.attn2", "heads")
