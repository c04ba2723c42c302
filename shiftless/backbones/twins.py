"""Twins: random-weight copies of each family's architecture, tiny or full size, for tests, docs and timing."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

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
