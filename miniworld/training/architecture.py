"""The embedded model's architecture: the classes of Stable Diffusion 1.x at a small size."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from miniworld.training.tokenizer import LENGTH

VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (16, 48, 128),
    "layers_per_block": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "sample_size": 128,
    "scaling_factor": 1.0,
}
"""An f4 autoencoder, 2.4 M parameters; no attention, so that it is fast and reads any size."""

UNET: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (64, 128, 192),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 128,
    "attention_head_dim": (2, 2, 3),  # in this class the number of heads: 64 channels each
    "transformer_layers_per_block": (1, 2, 3),
}
"""The denoiser, 17.6 M parameters: attention below the top level only, more of it where the grid is coarse."""

TEXT: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 0,
    "num_attention_heads": 4,
    "max_position_embeddings": LENGTH,
    "hidden_act": "quick_gelu",
    "projection_dim": 128,
}
"""The text encoder: words and their places, no layers; its vocabulary and special tokens are the tokenizer's.

A causal encoder writes what a caption means into its later tokens, so that the attention map of a word does not show
the word's thing. Without layers, a token is its word alone.
"""

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}
"""The noise schedule of Stable Diffusion 1.x."""


def new_vae(seed: int = 0, **changes: Any) -> AutoencoderKL:
    """Build the autoencoder with random weights: B 3 H W in [-1, 1] to latents B 4 H/4 W/4."""
    torch.manual_seed(seed)
    return AutoencoderKL(**{**VAE, **changes})


def new_unet(seed: int = 0, **changes: Any) -> UNet2DConditionModel:
    """Build the denoiser with random weights: B 4 H W, timesteps, prompt B T 128 to the noise B 4 H W."""
    torch.manual_seed(seed)
    return UNet2DConditionModel(**{**UNET, **changes})


def new_text_encoder(tokenizer: Any, seed: int = 0, **changes: Any) -> CLIPTextModel:
    """Build the text encoder for a tokenizer, with random weights: B T tokens to B T 128."""
    torch.manual_seed(seed)
    special = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPTextModel(CLIPTextConfig(**{**TEXT, **special, **changes}))


def new_scheduler() -> PNDMScheduler:
    """Build the scheduler that goes with the weights."""
    return PNDMScheduler(**SCHEDULER)
