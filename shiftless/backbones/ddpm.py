"""Pixel-space DDPMs: UNet2DModel alone, as diffusers ships them: no autoencoder, no text; the latent is the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from shiftless.backbones.class_prompt import class_of_prompt, read_labels
from shiftless.backbones.latent_model import LatentModel
from shiftless.backbones.parts import check_configs, place_of
from shiftless.backbones.random_parts import network
from shiftless.backbones.unet_taps import unet_taps
from shiftless.conditions.condition import Condition
from shiftless.conditions.config import AGAIN, Claim, Field, check_fields, check_weights, read_config
from shiftless.errors import BadInput
from shiftless.taps.names import Tap

_DOWN = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D")
_UP = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D")
_RESAMPLE = Field(str, choices=("conv", "resnet"), null=True)
_UNET = {
    "sample_size": Field(int, 1, 8192, null=True, many=2),
    "in_channels": Field(int, 3, 3, default=3),  # RGB
    "out_channels": Field(int, 3, 6, default=3),
    "block_out_channels": Field(int, 1, 16384, many=8, only=True, default=[224, 448, 672, 896]),
    "down_block_types": Field(str, choices=_DOWN, many=8, only=True, default=["DownBlock2D", *["AttnDownBlock2D"] * 3]),
    "up_block_types": Field(str, choices=_UP, many=8, only=True, default=[*["AttnUpBlock2D"] * 3, "UpBlock2D"]),
    "mid_block_type": Field(str, choices=("UNetMidBlock2D",), null=True, default="UNetMidBlock2D"),
    "layers_per_block": Field(int, 1, 32, default=2),
    "time_embedding_type": Field(str, choices=("positional",)),  # others are no DDPM: score SDEs
    "time_embedding_dim": Field(int, 1, 65536, null=True),
    "resnet_time_scale_shift": Field(str, choices=("default", "scale_shift")),
    "downsample_type": _RESAMPLE,
    "upsample_type": _RESAMPLE,
    "downsample_padding": Field(int, 0, 8),
    "attention_head_dim": Field(int, 1, 16384, null=True),
    "norm_num_groups": Field(int, 1, 1024),
    "attn_norm_num_groups": Field(int, 1, 1024, null=True),
    "norm_eps": Field(float, 0, 1),
    "freq_shift": Field(float, -1000, 1000),
    "mid_block_scale_factor": Field(float, 1e-6, 1000),
    "add_attention": Field(bool, default=True),
    "class_embed_type": Field(None),  # a class, if any, is a row of a table
    "num_class_embeds": Field(int, 1, 1_000_000, null=True),
}


class PixelDDPM(LatentModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    It reads Ho et al.'s DDPMs (2020), and guided-diffusion's networks once they are converted. The network is told the
    timestep as it is, 0 to 999. Of a network that predicts a variance too, the noise is kept. A network that was
    trained with classes takes one as the prompt, by its number or by the name that its model_index.json gives it.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:ddpm-bedroom", dtype="fp32")
    >>> pixels = torch.zeros(1, 3, 64, 128)
    >>> reading = model.denoise(model.encode_image(pixels), 50, model.encode_prompt([""]), model.taps[-1:], full=True)
    >>> model.spec.latent, reading.prediction.shape
    ((3, 1), torch.Size([1, 3, 64, 128]))
    """

    FAMILY = "ddpm"
    PARTS = {"unet": "diffusers:UNet2DModel", "scheduler": "diffusers:DDPMScheduler"}  # noqa: RUF012
    DENOISER = "unet"
    AUTOENCODER = ""
    TEXT_ENCODERS = ()
    TECHNIQUES = ("start",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._classes = int(self.denoiser.config.num_class_embeds or 0)
        if self._classes:
            self.spec = replace(self.spec, takes_text=True, techniques=("prompt", *self.TECHNIQUES))
        self._labels = read_labels(self.home, self._classes) if self._classes else {}

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a folder, or its root in the first published layout, holds a UNet2DModel without an autoencoder."""
        encoded = any((folder / part).is_dir() for part in ("vae", "vqvae", "movq"))
        return not encoded and super().recognises(folder)

    @classmethod
    def read_configs(cls, folder: Path) -> Mapping[str, Mapping[str, Any]]:
        """Return the checked config of the UNet."""
        place = place_of(folder, "unet")
        config = check_fields(check_configs(folder, cls.PARTS)["unet"], _UNET, place / "config.json")
        levels = len(config["block_out_channels"])
        for name in ("down_block_types", "up_block_types"):
            if len(config[name]) != levels:
                counts = f"{len(config[name])} entries and 'block_out_channels' has {levels}"
                raise BadInput(f"{place / 'config.json'}: '{name}' has {counts}; {AGAIN}")
        widths, layers = config["block_out_channels"], config["layers_per_block"]
        claims = [Claim("block_out_channels", "conv_in.weight", widths[0], 0)]
        for level, width in enumerate(widths):
            claims.append(Claim("layers_per_block", f"down_blocks.{level}.resnets", layers))
            claims.append(Claim("block_out_channels", f"down_blocks.{level}.resnets.0.conv2.weight", width, 0))
        if config.get("num_class_embeds"):
            claims.append(Claim("num_class_embeds", "class_embedding.weight", config["num_class_embeds"], 0))
        check_weights(claims, place, place / "config.json")
        scheduler = place_of(folder, "scheduler") / "scheduler_config.json"
        if not {"beta_start", "trained_betas"} & read_config(scheduler).keys():
            raise BadInput(f"{scheduler}: has no betas, so that this is no DDPM; give a model with a DDPM's scheduler")
        return {"unet": config}

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of the UNet; see `unet_taps`."""
        return unet_taps({"mid_block_type": "UNetMidBlock2D", "add_attention": True, **configs["unet"]}, 1)

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        widths = row["unet"]["block_out_channels"]
        small = {"block_out_channels": [16 * width // widths[0] for width in widths], "norm_num_groups": 8}
        small |= {"layers_per_block": 1, "sample_size": 64}
        if row["unet"].get("attention_head_dim"):
            small |= {"attention_head_dim": 8, "attn_norm_num_groups": 8, "layers_per_block": 2}  # as ADM has them
        return {
            "unet": network(cls.PARTS["unet"], row["unet"], {} if full else small),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    def _encode(self, prompt: str) -> Condition:
        if self._classes:
            label = class_of_prompt(prompt, self._labels, self._classes, self.spec.name)
            return Condition(extra={"label": torch.tensor([label], device=self.device)})
        if prompt:
            raise BadInput(f"{self.spec.name}: this model takes no text, and got {prompt!r}; leave the prompt out")
        return Condition()

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        output: torch.Tensor = self.denoiser(
            latent, timestep, class_labels=condition.extra.get("label"), return_dict=False
        )[0]
        return output[:, : latent.shape[1]]  # the rest is a variance, where the network learned one

    def _native_size(self, name: str) -> int:
        size = self.denoiser.config.sample_size
        size = max(size) if isinstance(size, (list, tuple)) else size
        if not size:
            raise BadInput(f"{name}: the UNet's config.json says no sample_size; write one there, such as 256")
        return int(size)
