"""A small CLIP with random weights, as a folder: for tests of what reads with one."""

from __future__ import annotations

from pathlib import Path

import torch


def small_clip(place: Path) -> Path:
    """Write it, with a tokenizer of some words; it shares a space of 8 dimensions with pictures of 32 pixels."""
    from transformers import CLIPConfig, CLIPModel

    from miniworld.training.clip import save_clip
    from miniworld.training.tokenizer import new_tokenizer

    tokenizer = new_tokenizer(["a", "photo", "of", "the", "grass", "sky"])
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "max_position_embeddings": 32}
    config = CLIPConfig(
        vision_config={**small, "image_size": 32, "patch_size": 8}, text_config={**small, **text}, projection_dim=8
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_clip(place, CLIPModel(config), tokenizer)
    return place
