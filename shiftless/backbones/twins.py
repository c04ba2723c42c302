"""Twins: random-weight copies of each family's architecture, tiny or full size, for tests, docs and timing."""

from __future__ import annotations

import json
import tempfile
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from shiftless.conditions.prompt import byte_alphabet
from shiftless.noise import seeded
from shiftless.taps.lock import construction


def twin_parts(entry: dict[str, Any], *, full: bool = False, seed: int = 0) -> dict[str, Any]:
    """Build every part of a Stable Diffusion model with random weights; diffusers' own classes.

    entry  a row of models.json
    full   the real widths (for timing) instead of a tiny copy with the same blocks
    """
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    unet, vae, text = dict(entry["unet"]), dict(entry["vae"]), dict(entry["text"])
    if not full:
        unet |= {"block_out_channels": [32, 64, 64, 64], "attention_head_dim": 8, "cross_attention_dim": 32}
        unet |= {"norm_num_groups": 8, "sample_size": 16}
        vae |= {"block_out_channels": [16, 32, 32, 32], "layers_per_block": 1, "norm_num_groups": 8}
        text |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    blocks = len(vae["block_out_channels"])
    tokenizer = byte_tokenizer()
    with construction(), seeded(seed):
        return {
            "unet": UNet2DConditionModel(**unet),
            "vae": AutoencoderKL(
                **vae,
                down_block_types=["DownEncoderBlock2D"] * blocks,
                up_block_types=["UpDecoderBlock2D"] * blocks,
                sample_size=unet["sample_size"] * 8,
            ),
            "text_encoder": CLIPTextModel(
                CLIPTextConfig(
                    **text,
                    vocab_size=49408 if full else len(tokenizer),
                    projection_dim=text["hidden_size"],
                    bos_token_id=tokenizer.bos_token_id,
                    eos_token_id=tokenizer.eos_token_id,
                    pad_token_id=tokenizer.pad_token_id,
                )
            ),
            "tokenizer": tokenizer,
            "scheduler": DDIMScheduler(**entry["scheduler"], clip_sample=False, set_alpha_to_one=False),
        }


def twin_control(unet: Any, stride: int, seed: int = 0, *, channels: int = 4) -> Any:
    """Make a ControlNet with random weights for a denoiser whose latents shrink images `stride` times.

    channels  of a latent: a UNet for inpainting takes more, its ControlNets do not
    """
    from diffusers import ControlNetModel

    widths = tuple(4 * 2**i for i in range(stride.bit_length()))
    with construction(), seeded(seed):
        net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=widths)
        if channels != net.config.in_channels:
            net = ControlNetModel.from_config({**net.config, "in_channels": channels})
        for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
            torch.nn.init.normal_(layer.weight, std=0.05)  # initialised to zero, they would have no effect
    return net


def twin_union(unet: Any, stride: int, seed: int = 0) -> Any:
    """Make a union of ControlNets with random weights for an SDXL denoiser; it has the eight kinds of "ProMax" ones."""
    from diffusers import ControlNetUnionModel

    widths, first = tuple(4 * 2**i for i in range(stride.bit_length())), unet.config.block_out_channels[0]
    settings = {name: unet.config[name] for name in signature(ControlNetUnionModel).parameters if name in unet.config}
    settings |= {
        "in_channels": unet.config.out_channels,
        "num_control_type": 8,
        "num_trans_channel": first,
        "num_proj_channel": first,
    }
    with construction(), seeded(seed):
        net = ControlNetUnionModel(**settings, conditioning_embedding_out_channels=widths)
        added = (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out)
        for layer in (*added, net.spatial_ch_projs):
            torch.nn.init.normal_(layer.weight, std=0.05)  # initialised to zero, they would have no effect
    return net


def twin_adapter(unet: Any, stride: int, seed: int = 0) -> Any:
    """Make a T2I-Adapter with random weights for a denoiser whose latents shrink images `stride` times."""
    from diffusers import T2IAdapter

    widths, kind = list(unet.config.block_out_channels), "full_adapter"
    if not unet.config.down_block_types[0].startswith("CrossAttn"):  # SDXL's, which adds its first at half the size
        widths, kind, stride = [*widths, widths[-1]], "full_adapter_xl", 2 * stride
    with construction(), seeded(seed):
        return T2IAdapter(channels=widths, num_res_blocks=1, downscale_factor=stride, adapter_type=kind)


def byte_tokenizer() -> Any:
    """A CLIP tokenizer whose tokens are single bytes: any text, no vocabulary to download.

    >>> byte_tokenizer()("horse", add_special_tokens=False)["input_ids"].__len__()
    5
    """
    from transformers import CLIPTokenizer

    # In CLIP's own order: printable bytes, which stand for themselves, then the others.
    alphabet = sorted(byte_alphabet())
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        vocab, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        vocab.write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
        merges.write_text("#version: 0.2\n", encoding="utf-8")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def save_folder(parts: dict[str, Any], folder: Path) -> None:
    """Save parts as a diffusers folder that `shiftless.load` and StableDiffusionPipeline both read."""
    from diffusers import StableDiffusionPipeline

    StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    ).save_pretrained(folder, safe_serialization=True)
