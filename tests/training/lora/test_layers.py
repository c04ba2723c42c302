"""New LoRA layers: which parts of a model get some."""

from __future__ import annotations

import dataclasses

from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from shiftless.training.lora import Settings
from shiftless.training.lora.layers import in_training


def test_a_text_encoder_without_layers_is_left_out():
    unet = UNet2DConditionModel(
        block_out_channels=(8,), down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
        layers_per_block=1, cross_attention_dim=8, attention_head_dim=8, norm_num_groups=2,
    )  # fmt: skip
    sizes = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    text_encoder = CLIPTextModel(CLIPTextConfig(**sizes, num_hidden_layers=0, max_position_embeddings=7))
    settings = dataclasses.replace(Settings(), rank=2, targets="all")
    with in_training({"unet": unet, "text_encoder": text_encoder}, settings) as layers:
        assert list(layers.parts) == ["unet"]
        assert {key.partition(".")[0] for key in layers.saved()} == {"unet"}
