"""Layout: how the tensors of one denoiser call lie over the image, so that each tap becomes a map B C H W."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from shiftless.taps.attention import attention_map
from shiftless.taps.names import Tap


class Layout:
    """The layout of networks whose maps are B C H W, or tokens B (H W) C in the order of rows, as in U-Nets.

    A family whose network differs (text beside the image, packed latents, registers, rotary positions) derives a class
    of its own and overrides what differs; `tapped` calls these methods.

    fed  (h, w) of the image in pixels, as the network was fed it

    >>> layout = Layout((32, 64))
    >>> layout.to_map(Tap("up1", 8, 16, "up_blocks.1"), torch.zeros(2, 8, 8)).shape
    torch.Size([2, 8, 2, 4])
    """

    def __init__(self, fed: tuple[int, int] = (0, 0)) -> None:
        self.fed = fed

    def grid(self, tap: Tap) -> tuple[int, int]:
        """Return the rows and columns of a tap's map."""
        return self.fed[0] // tap.stride, self.fed[1] // tap.stride

    def to_map(self, tap: Tap, output: Any) -> torch.Tensor:
        """Return what a tap's module gave back as B C H W."""
        value = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
        return self.unfold(tap, value) if value.ndim == 3 else value

    def unfold(self, tap: Tap, tokens: torch.Tensor) -> torch.Tensor:
        """B (H W) C, image tokens only -> B C H W."""
        return tokens.transpose(1, 2).unflatten(2, self.grid(tap))

    def projections(self, tap: Tap) -> tuple[str, ...]:
        """Return the submodules of an attention layer whose outputs a map is derived from."""
        return ("to_q", "to_k")

    def attention(
        self, tap: Tap, layer: nn.Module, projected: Mapping[str, torch.Tensor], call: Mapping[str, Any]
    ) -> torch.Tensor:
        """Return an attention map B T H W (T for each head, if the tap is of heads), float32.

        layer      the attention layer
        projected  what each of `projections` gave back, B N (heads d)
        call       the keyword arguments of the layer's own call, such as its rotary embedding
        """
        bias = call.get("attention_mask")
        value = attention_map(layer, projected["to_q"], projected["to_k"], per_head=tap.kind == "heads", bias=bias)
        return value.unflatten(2, self.grid(tap))
