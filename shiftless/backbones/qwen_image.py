"""Qwen-Image: QwenImageTransformer2DModel + AutoencoderKLQwenImage + Qwen2.5-VL, as diffusers ships them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from shiftless.backbones.joint_layout import RotatedLayout
from shiftless.backbones.latent_model import LatentModel
from shiftless.backbones.random_parts import network, qwen_tokenizer, qwen_vl
from shiftless.backbones.transformer_taps import joint_taps, map_groups
from shiftless.conditions.chat_prompt import encode_in_template
from shiftless.conditions.condition import Condition
from shiftless.errors import BadInput
from shiftless.taps.lock import exclusive
from shiftless.taps.names import Tap

_TEMPLATE = (  # that the model was trained with; its first 34 tokens are not given to the transformer
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
_DROPPED = 34
_TOKENS = 1024  # of a prompt at most, as in diffusers' pipeline
_MULTIPLE = 128  # prompts are padded to multiples of it, so that they share batches; padding is masked
_PATCH = 2  # cells of the latent a side, which are packed into one token
_SIZE, _TWIN_SIZE = 1024, 128  # no config says the size


class QwenImage(LatentModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    Every block has weights of its own for the text. The autoencoder is one of videos, and an image is a video of one
    frame; each channel of a latent is normed by its own mean and standard deviation.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:qwen-image", dtype="fp32")
    >>> condition = model.encode_prompt(["a horse"])
    >>> taps = [tap for tap in model.taps if tap.name in ("block1", "block1.self.q")]
    >>> model.denoise(torch.zeros(1, 16, 8, 16), 50, condition, taps).maps["block1"].shape
    torch.Size([1, 48, 4, 8])
    """

    FAMILY = "qwen-image"
    PARTS = {  # noqa: RUF012
        "transformer": "diffusers:QwenImageTransformer2DModel",
        "vae": "diffusers:AutoencoderKLQwenImage",
        "text_encoder": "transformers:Qwen2_5_VLForConditionalGeneration",
        "tokenizer": "transformers:Qwen2Tokenizer",
        "scheduler": "diffusers:FlowMatchEulerDiscreteScheduler",
    }
    LAYOUT = RotatedLayout
    TECHNIQUES = ("prompt", "lora", "start")
    CHANNELS_LAST = False

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of every block, "block0" to "block59", and the means of their attention maps."""
        config = configs["transformer"]
        width = config["num_attention_heads"] * config["attention_head_dim"]
        stride, taps = _stride_of(configs["vae"]) * _PATCH, list[Tap]()
        for i in range(config["num_layers"]):
            options: dict[str, Any] = {"inner": "img_mlp.net.0", "modulation": ("{}.img_mod",)}
            taps += joint_taps(f"block{i}", f"transformer_blocks.{i}", width, stride, **options)
        return (*taps, *map_groups(taps))

    @classmethod
    def read_configs(cls, folder: Path) -> Mapping[str, Mapping[str, Any]]:
        """Return the checked configs; raises BadInput for Qwen-Image-Layered, whose latents are several layers."""
        configs = super().read_configs(folder)
        if configs["transformer"].get("use_additional_t_cond") or configs["transformer"].get("use_layer3d_rope"):
            raise BadInput(f"{folder}: a Qwen-Image-Layered, which is not read; give a Qwen-Image")
        return configs

    @classmethod
    def from_twin(cls, *args: Any, full: bool, size: int | None) -> LatentModel:
        """Make a model with random weights from a row of models.json: tiny, or as large as the real one."""
        return super().from_twin(*args, full=full, size=size or (None if full else _TWIN_SIZE))

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        small: dict[str, Any] = {"num_attention_heads": 3, "attention_head_dim": 16, "axes_dims_rope": (4, 6, 6)}
        small |= {"num_layers": 2, "joint_attention_dim": 16}
        return {
            "transformer": network(cls.PARTS["transformer"], row["transformer"], {} if full else small),
            "vae": network(cls.PARTS["vae"], row["vae"], {} if full else {"base_dim": 8, "num_res_blocks": 1}),
            "text_encoder": qwen_vl(row["text_encoder"], full=full),
            "tokenizer": qwen_tokenizer(),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    def _encode(self, prompt: str) -> Condition:
        encoder = self.networks["text_encoder"].model
        places = {"dropped": _DROPPED, "multiple": _MULTIPLE, "most": _TOKENS}
        return encode_in_template(self.tokenizers["tokenizer"], encoder, prompt, _TEMPLATE, **places)

    def _latent(self) -> tuple[int, int]:
        return int(self.vae.config.z_dim), _stride_of(self.vae.config)

    def _posterior(self, pixels: torch.Tensor) -> Any:
        with exclusive(self.vae):  # it keeps what it has computed of a video
            return super()._posterior(pixels[:, :, None])

    def _decoded(self, raw: torch.Tensor) -> torch.Tensor:
        with exclusive(self.vae):
            return super()._decoded(raw)[:, :, 0]

    def _scaled(self, clean: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics(clean.device)
        return ((clean.float() - mean) / std).to(clean.dtype)[:, :, 0]

    def _unscaled(self, latent: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics(latent.device)
        return self._unpacked(latent) * std + mean

    def _unpacked(self, noise: torch.Tensor) -> torch.Tensor:
        return noise[:, :, None]

    def _statistics(self, device: torch.device) -> list[torch.Tensor]:
        """The mean and the standard deviation of each channel of a latent, 1 c 1 1 1."""
        config = self.vae.config
        return [torch.tensor(x, device=device).view(1, -1, 1, 1, 1) for x in (config.latents_mean, config.latents_std)]

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        packed = pixel_unshuffle(latent, _PATCH)
        grid = packed.shape[2:]
        output = self.denoiser(
            packed.flatten(2).transpose(1, 2),
            encoder_hidden_states=condition.embeds,
            encoder_hidden_states_mask=condition.extra["mask"],
            timestep=torch.full((len(latent),), timestep / 1000, device=self.device, dtype=self.dtype),
            img_shapes=[[(1, *grid)]] * len(latent),
            return_dict=False,
        )[0]
        return pixel_shuffle(output.transpose(1, 2).unflatten(2, grid), _PATCH)

    def _native_size(self, name: str) -> int:
        return _SIZE


def _stride_of(vae: Mapping[str, Any]) -> int:
    return int(2 ** len(vae["temperal_downsample"]))
