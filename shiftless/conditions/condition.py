"""Condition: what a backbone is told besides the noisy latent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Condition:
    """What steers one denoiser call, for B images at once.

    embeds  B T D prompt embeddings, or None for a model that takes no text
    words   for each image, the T token texts ("" for padding), so that maps can be read per word
    extra   whatever else a family's denoiser takes (pooled embeddings, size tokens, residuals), each B ...

    >>> Condition(torch.zeros(1, 77, 8), (("horse",),)).repeat(3).embeds.shape
    torch.Size([3, 77, 8])
    """

    embeds: torch.Tensor | None = None
    words: tuple[tuple[str, ...], ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def repeat(self, times: int) -> Condition:
        """Repeat each image's condition `times` times in place (a a b b ...), as an ensemble needs."""
        return self._map(lambda x: x.repeat_interleave(times, 0), [w for w in self.words for _ in range(times)])

    def take(self, rows: Sequence[int]) -> Condition:
        """Return the condition of some of the images, in the order given."""
        index = torch.as_tensor(list(rows), dtype=torch.long)
        return self._map(lambda x: x[index.to(x.device)], [self.words[i] for i in rows] if self.words else [])

    def _map(self, change: Any, words: Sequence[tuple[str, ...]]) -> Condition:
        extra = {name: change(x) if isinstance(x, torch.Tensor) else x for name, x in self.extra.items()}
        return Condition(None if self.embeds is None else change(self.embeds), tuple(words), extra)
