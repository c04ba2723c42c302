"""The denoiser's training data: latents encoded once, with their captions as tokens."""

from __future__ import annotations

import hashlib
import json
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from miniworld.training.epochs import Epochs
from miniworld.training.pictures import PictureFolder
from miniworld.training.tokenizer import LENGTH
from miniworld.training.vae import to_tensor
from shiftless.conditions.silence import silenced
from shiftless.errors import BadInput
from shiftless.progress import count, reporting

GRAINS = ("empty", "a photo", "class", "fine")
"""The grains of a training caption, from empty to full."""
SHARES = (0.15, 0.15, 0.20, 0.50)
"""How often each grain is shown: the first is the 15% of captions that are dropped."""
WHOLE = 5
"""Words that a caption keeps when it is cut short: those of the class caption, "a photo of a horse"."""
CUT = 0.3
"""How often a caption is cut short at a random place, so that no word depends on what follows it."""
THINNED, LOST = 0.3, 0.3
"""How often a caption loses words, and how many of them, so that every word must act without the others."""
EVEN = ((0.0, 1.0), (0.0, 1000.0))
"""Timesteps in equal shares: up to this share of a batch, timesteps lie below this."""


@torch.no_grad()
def encode_pictures(
    vae: AutoencoderKL,
    tokenizer: Any,
    pictures: PictureFolder,
    folder: str | Path,
    *,
    batch: int = 25,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.bfloat16,
    progress: bool = False,
) -> None:
    """Write the latents (the posterior's mean, times the scaling factor) and tokens of every shard of a picture folder.

    A shard is `latents` N 4 H/4 W/4 float16 and `tokens` N 3 T int16 (the three grains). Shards that are there stay.
    The autoencoder computes in `dtype` on `device`, by default where it lies.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    missing = [one for one in zip(pictures.names, pictures.shards) if not (root / f"{one[0]}.npz").exists()]
    if not missing:
        return
    with silenced():
        vae = deepcopy(vae).eval().to(device, dtype, memory_format=torch.channels_last)  # the caller's stays as it is
    total = sum(len(images) for _, (images, _) in missing)
    with reporting(progress, f"encoding {count(total, 'picture')}", total, "picture") as encoded:
        for name, (images, about) in missing:
            latents = [encode(vae, images[i : i + batch]) for i in range(0, len(images), batch)]
            texts = [text for one in about for text in one["captions"]]
            tokens = tokenize(tokenizer, texts).reshape(len(images), 3, -1)
            part = root / f"{name}.{os.getpid()}.tmp"
            with part.open("wb") as handle:
                np.savez(handle, latents=torch.cat(latents).half().numpy(), tokens=tokens)
            os.replace(part, root / f"{name}.npz")
            encoded(len(images))


def fingerprint(vae: AutoencoderKL, tokenizer: Any) -> str:
    """Name what latents and tokens depend on, so that those of another encoder are not reused.

    A decoder that was trained further changes nothing. Weights are digested in bfloat16, so that those kept in half
    precision have the name of those that they were.
    """
    digest = hashlib.sha256(json.dumps([LENGTH, sorted(tokenizer.get_vocab().items())]).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        if name.startswith(("decoder.", "post_quant_conv.")):
            continue
        digest.update(name.encode())
        digest.update(tensor.bfloat16().float().numpy().tobytes())
    return digest.hexdigest()[:12]


@torch.no_grad()
def encode(vae: AutoencoderKL, images: np.ndarray) -> Tensor:
    """Encode B H W 3 uint8 where the autoencoder lies to scaled latents B 4 H/4 W/4, float32 on the CPU."""
    x = to_tensor(images, vae.dtype).contiguous(memory_format=torch.channels_last).to(vae.device)
    return vae.encode(x).latent_dist.mean.float().cpu() * vae.config.scaling_factor


def tokenize(tokenizer: Any, texts: list[str]) -> np.ndarray:
    """Turn texts into N T int16 tokens (T is `LENGTH`), padded and cut as the pipelines do."""
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=LENGTH).input_ids
    return np.asarray(ids, np.int16)


class EncodedPictures:
    """A folder of encoded shards, in memory (9 KB a picture)."""

    def __init__(self, folder: str | Path) -> None:
        paths = sorted(Path(folder).glob("*.npz"))
        if not paths:
            raise BadInput(f"{folder}: no encoded pictures here; run the stage that encodes them first")
        shards = [np.load(path) for path in paths]
        self.latents = torch.from_numpy(np.concatenate([s["latents"] for s in shards]))
        self.tokens = torch.from_numpy(np.concatenate([s["tokens"] for s in shards]))
        self._epochs = Epochs(len(self), stream=2)

    def __len__(self) -> int:
        return len(self.latents)

    def rows(self, size: int, seed: int, step: int) -> Tensor:
        """Say which pictures the batch of one step shows, as B indices; they come in shuffled epochs."""
        return torch.tensor(self._epochs.rows(size, seed, step))

    def batch(
        self,
        size: int,
        seed: int,
        step: int,
        empty: Tensor,
        *,
        shares: tuple[float, ...] = SHARES,
        levels: tuple[tuple[float, ...], tuple[float, ...]] = EVEN,
    ) -> dict[str, Tensor]:
        """Draw the batch of one step, the same for the same seed and step.

        Gives `latents` and `noise` B 4 H W of `rows`, `timesteps` B (stratified over `levels`, so that every batch sees
        all noise levels) and `tokens` B T of captions whose grain is drawn with `shares`,
        some of which are cut short (`CUT`) or lose words (`THINNED`).
        """
        rng = np.random.default_rng([seed, 1, step])
        index = self.rows(size, seed, step)
        grain = rng.choice(4, size, p=shares)
        tokens = torch.where(
            torch.from_numpy(grain == 0)[:, None],
            empty.long().expand(size, -1),
            self.tokens[index, torch.from_numpy(np.maximum(grain - 1, 0))].long(),
        )
        tokens = cut_short(tokens, rng.random(size) < CUT, rng.random(size))
        timesteps = stratified(rng, size, levels)
        lost = (rng.random(size) < THINNED)[:, None] & (rng.random(tuple(tokens.shape)) < LOST)
        tokens = without(tokens, torch.from_numpy(lost))
        noise = torch.randn(size, *self.latents.shape[1:], generator=torch.Generator().manual_seed(seed * 10**7 + step))
        return {
            "latents": self.latents[index].float(),
            "noise": noise,
            "timesteps": timesteps,
            "tokens": tokens,
        }


def stratified(
    rng: np.random.Generator, size: int, levels: tuple[tuple[float, ...], tuple[float, ...]] = EVEN
) -> Tensor:
    """Draw timesteps B for a batch, one in each of its equal shares of `levels`, in random order.

    >>> sorted(stratified(np.random.default_rng(0), 4).div(250, rounding_mode="floor").tolist())
    [0, 1, 2, 3]
    """
    slots = np.interp((rng.permutation(size) + rng.random(size)) / size, *levels)
    return torch.from_numpy(slots.astype(np.int64))


def cut_short(tokens: Tensor, which: np.ndarray, where: np.ndarray) -> Tensor:
    """Cut some of the captions B T short: from `where` (0 to 1) of what follows their first five words to their end.

    The last token is the end, which also pads. A caption of five words or fewer stays.

    >>> caption = torch.tensor([[8, 1, 2, 3, 4, 5, 6, 7, 9, 9]])  # 8 starts it, 9 ends it
    >>> cut_short(caption, np.array([True]), np.array([0.5]))
    tensor([[8, 1, 2, 3, 4, 5, 6, 9, 9, 9]])
    """
    end = tokens[:, -1:]
    lengths = tokens.shape[1] - (tokens == end).sum(1)  # with the start, without the end
    first = 1 + WHOLE
    kept = first + (torch.from_numpy(where) * (lengths - first).clamp(min=0)).long()
    kept = torch.where(torch.from_numpy(which), torch.minimum(kept, lengths), lengths)
    return torch.where(torch.arange(tokens.shape[1]) < kept[:, None], tokens, end)


def without(tokens: Tensor, lost: Tensor) -> Tensor:
    """Take words out of captions B T, where `lost` B T says so; later words move up.

    The first token stays, and the last is the end, which also pads.

    >>> caption = torch.tensor([[8, 1, 2, 3, 9, 9]])  # 8 starts it, 9 ends it
    >>> without(caption, torch.tensor([[True, False, True, False, True, False]]))
    tensor([[8, 1, 3, 9, 9, 9]])
    """
    end = tokens[:, -1:]
    lost = lost & (tokens != end)
    lost[:, 0] = False
    order = lost.long().argsort(dim=1, stable=True)
    kept = torch.arange(tokens.shape[1]) < (~lost).sum(1, keepdim=True)
    return torch.where(kept, tokens.gather(1, order), end)
