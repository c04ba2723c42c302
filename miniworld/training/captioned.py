"""Pictures with their fine captions as tokens, in batches for the captioner."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from miniworld.training.epochs import Epochs
from miniworld.training.pictures import PictureFolder
from shiftless.errors import BadInput

LENGTH = 96
"""Tokens of a caption with its start and end: the longest of 30,000 fine captions, of a bedroom, has 80."""
FINE = 2
"""Which of a picture's three captions is learned."""


def caption_tokens(tokenizer: Any, texts: list[str], length: int = LENGTH) -> np.ndarray:
    """Turn captions into N `length` int16 tokens: start, words, end, and the end again as padding.

    Raises `BadInput` when a caption is longer, because the captioner must learn where captions end.

    >>> from miniworld.training.tokenizer import new_tokenizer
    >>> caption_tokens(new_tokenizer(["cow"]), ["a cow"], 6).shape
    (1, 6)
    """
    rows = tokenizer(texts, truncation=False).input_ids
    longest = max(range(len(rows)), key=lambda i: len(rows[i]))
    if len(rows[longest]) > length:
        raise BadInput(f"caption {texts[longest]!r} has {len(rows[longest])} tokens; a captioner is given {length}")
    padded = [row + [tokenizer.eos_token_id] * (length - len(row)) for row in rows]
    return np.asarray(padded, np.int16)


class CaptionedPictures:
    """A picture folder and the tokens of its fine captions, N `LENGTH`; pixels stay on disk, memory-mapped."""

    def __init__(self, pictures: PictureFolder, tokenizer: Any) -> None:
        captions = [one["captions"][FINE] for _, about in pictures.shards for one in about]
        self.pictures = pictures
        self.tokens = torch.from_numpy(caption_tokens(tokenizer, captions))
        self._epochs = Epochs(len(pictures), stream=4)
        self._sides = tuple(tokenizer.convert_tokens_to_ids([f"{side}</w>" for side in ("left", "right")]))

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, size: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Draw the batch of one step, the same for the same seed and step: B H W 3 uint8, and tokens B `LENGTH`.

        Pictures come in shuffled epochs. Every second one, by chance, is mirrored, and so is what its caption says of
        left and right: a mirrored picture with its old caption would teach a random facing.
        """
        index = self._epochs.rows(size, seed, step)
        mirror = np.random.default_rng([seed, 3, step]).random(size) < 0.5
        images = np.stack([self.pictures[i][0][:, ::-1] if m else self.pictures[i][0] for i, m in zip(index, mirror)])
        tokens = self.tokens[index].long()
        left, right = self._sides
        swapped = torch.where(tokens == left, right, torch.where(tokens == right, left, tokens))
        return torch.from_numpy(images), torch.where(torch.from_numpy(mirror)[:, None], swapped, tokens)
