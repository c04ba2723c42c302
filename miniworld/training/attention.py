"""The attention that trains fastest on a processor; other devices keep the libraries' own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class PlainAttention:
    """Attention as two batched matrix products: on a processor its backward is three times as fast as the fused one."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Attend from hidden states B N C to themselves, or to the prompt B M D."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            self._split(x, attn.heads) for x in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        weights = torch.bmm(q * attn.scale, k.transpose(1, 2)).softmax(-1)
        out = torch.bmm(weights, v)
        b, n, d = hidden_states.shape[0], out.shape[1], out.shape[2]
        out = out.view(b, attn.heads, n, d).transpose(1, 2).reshape(b, n, attn.heads * d)
        return attn.to_out[0](out)

    @staticmethod
    def _split(x: Tensor, heads: int) -> Tensor:
        b, n, c = x.shape
        return x.view(b, n, heads, c // heads).transpose(1, 2).reshape(b * heads, n, c // heads)


class RecordedAttention(PlainAttention):
    """Cross-attention that also keeps its weights, float32 with their gradient, as B Q T; the mean over heads."""

    def __init__(self, weights: list[Tensor]) -> None:
        self.weights = weights

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **other: Any
    ) -> Tensor:
        """Attend from hidden states B N C to the prompt B M D."""
        if encoder_hidden_states is not None:
            q, k = (
                self._split(attn.to_q(hidden_states), attn.heads),
                self._split(attn.to_k(encoder_hidden_states), attn.heads),
            )
            scores = torch.bmm(q.float() * attn.scale, k.float().transpose(1, 2)).softmax(-1)
            self.weights.append(scores.view(len(hidden_states), attn.heads, *scores.shape[1:]).mean(1))
        return super().__call__(attn, hidden_states, encoder_hidden_states, **other)


def use_fast_attention(*networks: Any) -> None:
    """Give networks that lie on the CPU the attention that trains fastest there; on other devices, leave them alone.

    diffusers' networks get `PlainAttention`, and transformers' ones their eager attention, which is the same.
    """
    for network in networks:
        if next(network.parameters()).device.type != "cpu":
            continue
        if hasattr(network, "set_attn_processor"):
            network.set_attn_processor(PlainAttention())
        elif hasattr(network, "set_attn_implementation"):
            network.set_attn_implementation("eager")
