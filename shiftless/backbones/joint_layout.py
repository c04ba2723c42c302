"""JointLayout: the layout of transformers that attend to text and image at once, such as SD3's and Flux's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from shiftless.taps.attention import weights_of_keys
from shiftless.taps.layout import Layout
from shiftless.taps.names import Tap

FUSED = "to_qkv_mlp_proj"
"""FLUX.2's projection that gives queries, keys, values and the inside of the feed-forward layer at once."""


class JointLayout(Layout):
    """Tokens of an image that stand alone or behind those of the text; blocks that return (text, image).

    >>> tokens = torch.arange(5).reshape(1, 5, 1)  # three words, then two cells of the image
    >>> JointLayout((16, 32)).to_map(Tap("single0", 1, 16, "single_transformer_blocks.0"), tokens)
    tensor([[[[3, 4]]]])
    """

    def to_map(self, tap: Tap, output: Any) -> torch.Tensor:
        """Return the image's part of what a module gave back, B C H W."""
        image = 0 if tap.name.endswith(".self.out") else 1  # attention returns (image, text), a block (text, image)
        return self.unfold(tap, output[image] if isinstance(output, tuple) else output)

    def unfold(self, tap: Tap, tokens: torch.Tensor) -> torch.Tensor:
        """B N C, the image's tokens last -> B C H W."""
        return super().unfold(tap, tokens[:, -self._cells(tap) :])

    def projections(self, tap: Tap) -> tuple[str, ...]:
        """Queries and keys; those of the text too, in a layer that has weights of its own for it."""
        separate = tap.block and not tap.module.startswith("single_")
        return ("to_q", "to_k", "add_k_proj") if separate else ("to_q", "to_k")

    def queries_and_keys(
        self, tap: Tap, layer: nn.Module, projected: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the queries and the keys of a layer, B heads N d each, normed; the text's keys stand first."""
        query, key = (_heads(layer, projected[f"to_{letter}"], f"norm_{letter}") for letter in ("q", "k"))
        if "add_k_proj" in projected:
            key = torch.cat([_heads(layer, projected["add_k_proj"], "norm_added_k"), key], 2)
        return query, key

    def rotated(
        self, query: torch.Tensor, key: torch.Tensor, call: Mapping[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the image's queries and all keys, B heads N d each, rotated for their places."""
        from diffusers.models.embeddings import apply_rotary_emb

        rotary = call.get("image_rotary_emb")
        if rotary is None:
            return query, key
        of_image = tuple(part[-query.shape[2] :] for part in rotary)
        return apply_rotary_emb(query, of_image), apply_rotary_emb(key, rotary)

    def bias(self, key: torch.Tensor, call: Mapping[str, Any]) -> torch.Tensor | None:
        """Return what is added to the scores of each key, B 1 N, or None."""
        return None

    def attention(
        self, tap: Tap, layer: nn.Module, projected: Mapping[str, torch.Tensor], call: Mapping[str, Any]
    ) -> torch.Tensor:
        """Return how much each cell of the image looks at the text's tokens or at the image's, as `tap.block` says."""
        query, key = self.queries_and_keys(tap, layer, projected)
        cells = self._cells(tap)
        query, key = self.rotated(query[:, :, -cells:], key, call)
        shown = {"text": slice(None, -cells), "image": slice(-cells, None)}.get(tap.block, slice(None))
        options: dict[str, Any] = {"per_head": tap.kind == "heads", "bias": self.bias(key, call), "shown": shown}
        value = weights_of_keys(query, key, query.shape[-1] ** -0.5, **options)
        return value.unflatten(2, self.grid(tap))

    def _cells(self, tap: Tap) -> int:
        rows, columns = self.grid(tap)
        return rows * columns


class FusedLayout(JointLayout):
    """The layout of FLUX.2, whose single blocks have one projection for queries, keys, values and more."""

    def to_map(self, tap: Tap, output: Any) -> torch.Tensor:
        """Return the image's part of what a module gave back, or of its queries, keys or values, B C H W."""
        if tap.module.endswith(FUSED):
            output = output.split(tap.channels, -1)["qkv".index(tap.name[-1])]
        return super().to_map(tap, output)

    def projections(self, tap: Tap) -> tuple[str, ...]:
        """The one projection of a single block; those of `JointLayout` in a double one."""
        return (FUSED,) if tap.module.startswith("single_") else super().projections(tap)

    def queries_and_keys(
        self, tap: Tap, layer: nn.Module, projected: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the queries and the keys of a layer, B heads N d each, normed; the text's keys stand first."""
        if FUSED in projected:
            query, key = projected[FUSED].split(int(layer.inner_dim), -1)[:2]  # type: ignore[arg-type]
            projected = {"to_q": query, "to_k": key}
        return super().queries_and_keys(tap, layer, projected)


class RotatedLayout(JointLayout):
    """The layout of Qwen-Image, whose rotary embeddings are complex numbers, and whose padding is masked."""

    def rotated(
        self, query: torch.Tensor, key: torch.Tensor, call: Mapping[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the image's queries and all keys, B heads N d each, rotated for their places."""
        image, text = call["image_rotary_emb"]
        return turned(query, image), turned(key, torch.cat([text, image]))

    def bias(self, key: torch.Tensor, call: Mapping[str, Any]) -> torch.Tensor | None:
        """Return what is added to the scores of each key, B 1 N: -inf for padding."""
        mask = call.get("encoder_hidden_states_mask")
        if mask is None:
            return None
        hidden = torch.zeros(len(key), 1, key.shape[2], device=key.device)
        hidden[:, 0, : mask.shape[1]].masked_fill_(~mask.bool(), -torch.inf)
        return hidden


def _heads(layer: nn.Module, tokens: torch.Tensor, norm: str) -> torch.Tensor:
    """B N (heads d) -> B heads N d, normed by the layer's own norm of that name, if it has one."""
    split = tokens.unflatten(2, (int(layer.heads), -1)).transpose(1, 2)  # type: ignore[arg-type]
    own = getattr(layer, norm, None)
    return split if own is None else own(split)


def turned(tokens: torch.Tensor, rotary: torch.Tensor) -> torch.Tensor:
    """Rotate queries or keys, B heads N d, as pairs of numbers, by complex N d/2; return them in float32.

    >>> turned(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[1j]])).tolist()
    [[[[-2.0, 1.0]]]]
    """
    pairs = torch.view_as_complex(tokens.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotary.to(pairs.dtype)).flatten(-2)
