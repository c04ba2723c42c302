"""How the tokens of a vision transformer lie over the image: patches in rows, after a class token and registers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from shiftless.taps.attention import attention_map
from shiftless.taps.layout import Layout
from shiftless.taps.names import Tap


class PatchLayout(Layout):
    """The layout of tokens B (before + H W) C, of which the last H W are patches in the order of rows.

    heads   of its attention
    qk      what its attention layers call the projections of queries and keys
    last    what "last" is passed through: the last layer norm, where the model itself calls it on one token only

    >>> layout = PatchLayout((28, 42), 2, ("q_proj", "k_proj"), nn.Identity())
    >>> layout.to_map(Tap("block0", 8, 14, ""), torch.zeros(1, 1 + 6, 8)).shape
    torch.Size([1, 8, 2, 3])
    """

    def __init__(self, fed: tuple[int, int], heads: int, qk: tuple[str, str], last: nn.Module) -> None:
        super().__init__(fed)
        self.heads, self.qk, self.last = heads, qk, last

    def unfold(self, tap: Tap, tokens: torch.Tensor) -> torch.Tensor:
        """B (before + H W) C -> B C H W."""
        patches = tokens[:, -self._patches(tap) :]
        return super().unfold(tap, self.last(patches) if tap.name == "last" else patches)

    def projections(self, tap: Tap) -> tuple[str, ...]:
        """Return the submodules of an attention layer whose outputs a map is derived from."""
        return self.qk

    def attention(
        self, tap: Tap, layer: nn.Module, projected: Mapping[str, torch.Tensor], call: Mapping[str, Any]
    ) -> torch.Tensor:
        """Return what patches attend to: B T H W for the T patches, or what attends to them from the class token.

        The softmax is over all tokens, so the patches' shares add up to less than 1 where others stand before them.
        """
        query, key = (projected[name] for name in self.qk)
        if call.get("position_embeddings") is not None:
            cos, sin = call["position_embeddings"]
            query, key = (_rotated(x, cos, sin, self.heads) for x in (query, key))
        patches, of_class = self._patches(tap), ".cls." in tap.name
        query = query[:, :1] if of_class else query[:, -patches:]
        layer = _Heads(self.heads, query.shape[2])
        weights = attention_map(layer, query, key, per_head=tap.kind == "heads")
        weights = weights.unflatten(1, (-1, key.shape[1]))[:, :, -patches:]  # B (heads or 1) T N
        return (weights[..., 0] if of_class else weights.flatten(1, 2)).unflatten(2, self.grid(tap))

    def _patches(self, tap: Tap) -> int:
        h, w = self.grid(tap)
        return h * w


class _Heads(nn.Module):
    """What `attention_map` asks of a layer."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width / heads) ** -0.5


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int) -> torch.Tensor:
    """Rotate the patches among tokens B N (heads d) by angles of their positions, patches d (RoFormer, Su et al.)."""
    before, patches = x[:, : -len(cos)], x[:, -len(cos) :].unflatten(2, (heads, -1))
    first, second = patches.chunk(2, -1)
    turned = torch.cat([-second, first], -1)
    rotated = patches * cos[:, None] + turned * sin[:, None]
    return torch.cat([before, rotated.flatten(2)], 1)
