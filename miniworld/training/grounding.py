"""A last, short stage of the denoiser: words are also told where they are, by the world's own masks."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from miniworld.datasets import drawer, seeds
from miniworld.training.attention import RecordedAttention, use_fast_attention
from miniworld.training.attention_share import attention_share
from miniworld.training.batches import Batch
from miniworld.training.control import load_pipeline, model_of
from miniworld.training.encoded_pictures import encode, stratified, tokenize
from miniworld.training.epochs import Epochs
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.pictures import TURNS
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage
from miniworld.training.unet import NoiseLoss, noise_step, save_pipeline
from miniworld.training.word_masks import word_masks
from miniworld.world.captions import article
from shiftless.progress import count, reporting

NAME = "grounded"
"""The folder of the pipeline that this stage writes."""
N_PICTURES = 3_000
"""How many pictures a run draws for itself, of the three worlds in turn."""
FIRST = 650_000
"""The number of the first one's seed: the stages before draw from 0 on."""
GRID, WORDS = 32, 6
"""Cells along a side of the masks that are kept, and how many words of a caption are taught."""
LISTED = 0.4
"""How often a creature's caption is the list of its parts in place of its fine caption."""
WEIGHT, INSIDE = 0.01, 0.3
"""What the loss of the maps weighs beside the noise's, and in it how strongly, not only where, a word must act."""
EVERY = 100
"""Steps between two measurements of the attention share."""
_PARTS = ", with a head, a neck, a tail, front legs and hind legs"


class GroundedLoss(NoiseLoss):
    """The denoiser's training loss, and beside it that of its words' attention maps (`map_loss`)."""

    def keep_maps(self) -> None:
        """Let every cross-attention keep its weights."""
        self.maps: list[Tensor] = []
        kept = self.unet.attn_processors
        self.unet.set_attn_processor(
            {name: RecordedAttention(self.maps) if ".attn2." in name else each for name, each in kept.items()}
        )

    def forward(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, tokens: Tensor, *guides: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Give (weighted loss, plain squared error of each picture, B) of a batch of `GroundedPictures.batch`."""
        self.maps.clear()
        loss, errors = super().forward(latents, noise, timesteps, tokens)
        places, masks = guides
        return loss + WEIGHT * torch.stack([map_loss(one, places, masks) for one in self.maps]).mean(), errors


def map_loss(weights: Tensor, places: Tensor, masks: Tensor) -> Tensor:
    """Say how badly attention weights B Q T of words at places B W fit masks B W G G (0 to 1), Q a square grid.

    For each word this is -log of the share of its map that lies on its mask, and `INSIDE` times -log of its mean weight
    there. Words without a mask do not count. Sources: attention maps are taught by masks in TokenCompose (Wang et al.,
    CVPR 2024), with other distances.

    >>> weights = torch.tensor([[[0.5, 0.5], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])  # a grid of 2 x 2, two tokens
    >>> mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    >>> round(float(map_loss(weights, torch.tensor([[1]]), mask)), 3)  # all on the mask: what is left is 0.3 log 2
    0.208
    """
    side = round(weights.shape[1] ** 0.5)
    there = F.adaptive_avg_pool2d(masks, side).flatten(2).transpose(1, 2)  # B Q W
    read = weights.gather(2, places[:, None].expand(-1, weights.shape[1], -1))
    on, area = (read * there).sum(1), there.sum(1)
    share, strength = on / read.sum(1).clamp(min=1e-6), on / area.clamp(min=1e-6)
    each = -share.clamp(min=1e-4).log() - INSIDE * strength.clamp(min=1e-4).log()
    counts = (area > 0).float()
    return (each * counts).sum() / counts.sum().clamp(min=1)


@dataclass(frozen=True, eq=False)
class GroundedPictures:
    """Pictures with their fine captions, lists of parts ("" where there is none), and masks G G in 0 to 1 by word."""

    latents: Tensor
    captions: list[str]
    lists: list[str]
    masks: list[dict[str, np.ndarray]]

    def batch(self, tokenizer: Any, size: int, seed: int, step: int, epochs: Epochs) -> dict[str, Tensor]:
        """Draw the batch of one step, the same for the same seed and step.

        Gives `latents` and `noise` B 4 H W, `timesteps` B, `tokens` B T, `places` B W of words in them, and their
        `masks` B W G G: zeros where a caption has fewer words to be taught.
        """
        rng = np.random.default_rng([seed, 11, step])
        index = [int(i) for i in epochs.rows(size, seed, step)]
        listed = rng.random(size) < LISTED
        texts = [self.lists[i] if say and self.lists[i] else self.captions[i] for i, say in zip(index, listed)]
        tokens = torch.from_numpy(tokenize(tokenizer, texts)).long()
        places, masks = torch.zeros(size, WORDS, dtype=torch.long), torch.zeros(size, WORDS, GRID, GRID)
        for row, i in enumerate(index):
            found = {word: at for word in self.masks[i] if (at := place_of(tokenizer, tokens[row], word)) is not None}
            chosen = rng.permutation(sorted(found))[:WORDS]
            for column, word in enumerate(chosen):
                places[row, column] = found[word]
                masks[row, column] = torch.from_numpy(self.masks[i][word])
        noise = torch.randn(size, *self.latents.shape[1:], generator=torch.Generator().manual_seed(seed * 10**7 + step))
        return {
            "latents": self.latents[index],
            "noise": noise,
            "timesteps": stratified(rng, size),
            "tokens": tokens,
            "places": places,
            "masks": masks,
        }


def place_of(tokenizer: Any, tokens: Tensor, word: str) -> int | None:
    """Say where a word stands in a caption's tokens T; None where it does not, or more than once."""
    at = (tokens == tokenizer.convert_tokens_to_ids(f"{word}</w>")).nonzero().flatten()
    return int(at[0]) if len(at) == 1 else None


def grounded_pictures(coder: AutoencoderKL, n: int, size: int, device: torch.device) -> GroundedPictures:
    """Draw `n` pictures of the three worlds in turn, with marks and livelier poses, and encode them."""
    vae, latents = deepcopy(coder).eval().float().to(device), []
    captions, lists, masks = [], [], []
    with reporting(True, f"drawing {count(n, 'picture')} and their masks", n, "picture") as drawn:
        for number, seed in enumerate(seeds("model", n, FIRST)):
            world = TURNS[number % len(TURNS)]
            how = {"lively": True, "marked": True} if world == "creatures" else {}
            picture = drawer(world)(seed, size=size, **how)
            found = word_masks(picture, world)
            latents.append(encode(vae, picture.image[None]))
            captions.append(picture.captions[2])
            lists.append(_list(picture.kind, found) if "head" in found else "")
            masks.append({word: _coverage(mask) for word, mask in found.items()})
            drawn(1)
    return GroundedPictures(torch.cat(latents), captions, lists, masks)


def _list(kind: str, found: dict[str, Any]) -> str:
    text = f"a photo of {article(kind)} {kind}{_PARTS}"
    return text + ", ridden by a person" if "person" in found else text


def _coverage(mask: np.ndarray) -> np.ndarray:
    """The share of each of G G cells that a mask H W covers."""
    whole = torch.from_numpy(mask.astype(np.float32))[None]
    return F.adaptive_avg_pool2d(whole, GRID)[0].numpy()


def train_grounding(
    stage: Stage,
    *,
    start_from: str | Path | None = None,
    batch: int = 16,
    lr: float = 2e-4,
) -> Path:
    """Train denoiser and text encoder a little further, on noise and maps, and write the pipeline to `grounded`.

    `start_from` is the pipeline's folder: by default `mini` of the run's folder, or else the embedded one. Raises
    `BadInput` when it is none.
    """
    source = model_of(stage.out) if start_from is None else Path(start_from)
    coder, tokenizer, text_encoder, unet = load_pipeline(source)
    with stage.begin("grounding"):
        size = int(coder.config.sample_size)
        data = grounded_pictures(coder, stage.n_pictures or N_PICTURES, size, stage.device)
        epochs = Epochs(len(data.captions), stream=6)
        network = GroundedLoss(unet.float().requires_grad_(True), text_encoder.float().requires_grad_(True))
        network.train().to(stage.device)
        unet.to(memory_format=torch.channels_last)
        use_fast_attention(unet, text_encoder)
        network.keep_maps()
        optimiser = Fp32MasterAdamW(network.parameters(), dtype=stage.dtype, weight_decay=0.01, ema_max=0.99)
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            return tuple(data.batch(tokenizer, batch, stage.seed, number, epochs).values())

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            logged = share()(unet, text_encoder, network.alphas) if number % EVERY == EVERY - 1 else {}
            loss, images, numbers = noise_step(loss_of, batches(number))
            return loss, images, {**numbers, **logged}

        share = cache(partial(attention_share, coder, tokenizer))
        loss_of, batches = stage.compiled(network, batch_of(0)), stage.batches(batch_of)
        stage.ready(network, len(data.captions))
        run.go(step)

        def save(path: Path) -> None:
            use_fast_attention(unet)
            save_pipeline(path, coder, unet, text_encoder, tokenizer)

        return stage.write(optimiser, save, NAME)
