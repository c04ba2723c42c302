"""Labelled photos of two plain colours, and a SegFormer small enough to learn them in seconds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CLASSES = ("ground", "disc")
PALETTE = [[60, 60, 60], [240, 70, 110]]
TINY = {
    "num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16], "patch_sizes": [7, 3],
    "strides": [4, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2], "decoder_hidden_size": 16,
}  # fmt: skip


class Coloured(NamedTuple):
    name: str
    photo: np.ndarray
    labels: np.ndarray

    def mask(self) -> np.ndarray:
        return self.labels


def coloured(seed: int, hw: tuple[int, int] = (32, 32)) -> Coloured:
    """A dark photo with a bright rectangle somewhere."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(hw, np.uint8)
    y, x = rng.integers(0, hw[0] // 2), rng.integers(0, hw[1] // 2)
    mask[y : y + hw[0] // 2, x : x + hw[1] // 2] = 1
    photo = np.where(mask[..., None] == 1, (230, 210, 60), (40, 60, 90)).astype(np.uint8)
    return Coloured(f"photo {seed}", photo, mask)
