"""Where a word looks while a denoiser is trained: the share of its attention map that lies on its thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from miniworld.datasets import seeds
from miniworld.training.attention import RecordedAttention
from miniworld.training.encoded_pictures import encode, tokenize
from miniworld.world.picture import SCENE_CLASSES, draw

WORDS = {"horse": "animal", "person": "person"}
"""Words of the prompt, and the class of the scene mask that each names."""
PROMPT = "a photo of a horse, ridden by a person"
EVERY, TIMESTEP = 500, 100
"""Steps between two measurements, and the noise level that maps are read at."""


@contextmanager
def recorded(unet: UNet2DConditionModel) -> Iterator[list[Tensor]]:
    """Inside the `with`, the cross-attention of the up blocks adds its weights to the list, B Q T each."""
    weights: list[Tensor] = []
    kept = unet.attn_processors
    unet.set_attn_processor(
        {
            name: RecordedAttention(weights) if name.startswith("up_blocks") and ".attn2." in name else processor
            for name, processor in kept.items()
        }
    )
    try:
        yield weights
    finally:
        unet.set_attn_processor(kept)


def attention_share(coder: AutoencoderKL, tokenizer: Any, n: int = 8) -> Callable[..., dict[str, float]]:
    """Make a function of (denoiser, text encoder) that says how much of a word's map lies on its thing, by word.

    It is a multiple of the thing's area, over `n` unseen horses with riders: 1 is a map that does not look at all. Maps
    are the mean of all cross-attention in the up blocks. `bench mini-attention` measures the horse's on more pictures,
    and for another prompt.
    """
    pictures = [draw(seed, kind="horse", rider=True) for seed in seeds("prove", n)]
    images = np.stack([picture.image for picture in pictures])
    latents = encode(coder.eval().float(), images)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    tokens = torch.from_numpy(tokenize(tokenizer, [PROMPT])).long()
    end = tokenizer.eos_token_id
    place = {word: int((tokens[0] == tokenizer.convert_tokens_to_ids(f"{word}</w>")).nonzero()[0]) for word in WORDS}
    assert all(tokens[0, at] != end for at in place.values())

    @torch.no_grad()
    def measure(unet: UNet2DConditionModel, text_encoder: CLIPTextModel, alphas: Tensor) -> dict[str, float]:
        weight = unet.conv_in.weight
        alpha = alphas[TIMESTEP].cpu()
        noisy = (alpha.sqrt() * latents + (1 - alpha).sqrt() * noise).to(weight.device, weight.dtype)
        prompt = text_encoder(tokens.to(weight.device))[0].to(weight.dtype).expand(n, -1, -1)
        with recorded(unet) as weights:
            unet(noisy, TIMESTEP, prompt)
        shares = {}
        for word, thing in WORDS.items():
            masks = np.stack([picture.scene == SCENE_CLASSES.index(thing) for picture in pictures])
            mass = np.mean([_maps(one[..., place[word]], masks.shape[1]) for one in weights], axis=0)
            shares[word] = float(((mass * masks).sum((1, 2)) / masks.mean((1, 2))).mean())
        return {f"map_{word}": value for word, value in shares.items()}

    return measure


def _maps(weights: Tensor, size: int) -> np.ndarray:
    """Maps B S S, each of sum 1, of one token's weights B Q on a square grid."""
    side = round(weights.shape[1] ** 0.5)
    small = weights.view(-1, side, side).float().cpu().numpy()
    large = np.stack([cv2.resize(one, (size, size), interpolation=cv2.INTER_LINEAR) for one in small])
    return np.asarray(large / large.sum((1, 2), keepdims=True))
