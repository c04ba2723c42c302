"""Amalgamation that learns nothing, or only from the features themselves: mean, and concatenation with PCA."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from shiftless.amalgamate.gate import check_readings
from shiftless.amalgamate.saved import Saved
from shiftless.errors import BadInput
from shiftless.recipe import Recipe

_ROWS = 8192  # vectors that a PCA is fitted on; more change its axes little


class Mean(Saved):
    """The mean of K readings: K B C H W -> B C H W, float32.

    Raises BadInput for readings of other channels.

    >>> Mean(2)(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1).expand(2, 1, 2, 1, 1)).flatten().tolist()
    [2.0, 2.0]
    """

    kind = "mean"

    def __init__(self, channels: int, recipes: Sequence[Recipe] = ()) -> None:
        super().__init__({"channels": channels}, recipes)
        self.channels = self.out_channels = channels

    def forward(self, readings: torch.Tensor) -> torch.Tensor:
        check_readings(readings, self.channels)
        return readings.float().mean(0)


class Concat(Saved):
    """K readings side by side, K B C H W -> B KC H W; with components, their projection by a fitted PCA.

    components  how many principal axes are kept; None keeps everything. `fit` before use.

    Raises BadInput for readings of another number or channels, and for more components than can be had.

    >>> concat = Concat(readings=3, channels=4, components=2).fit(torch.randn(3, 2, 4, 8, 8))
    >>> concat(torch.randn(3, 1, 4, 5, 7)).shape
    torch.Size([1, 2, 5, 7])
    """

    kind = "concat"
    mean: torch.Tensor
    axes: torch.Tensor

    def __init__(
        self, readings: int, channels: int, components: int | None = None, recipes: Sequence[Recipe] = ()
    ) -> None:
        super().__init__({"readings": readings, "channels": channels, "components": components}, recipes)
        size = readings * channels
        if components is not None and not 1 <= components <= size:
            raise BadInput(f"components={components}: give 1 to {size} (readings x channels)")
        self.readings, self.channels, self.components = readings, channels, components
        self.out_channels = size if components is None else components
        if components is not None:
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("axes", torch.eye(components, size))

    def fit(self, readings: torch.Tensor) -> Concat:
        """Find the principal axes of readings K B C H W; the same readings give the same axes and signs."""
        if self.components is None:
            return self
        flat = self._joined(readings).movedim(1, -1).flatten(0, -2)
        flat = flat[:: -(-len(flat) // _ROWS)]
        if len(flat) < self.components:
            raise BadInput(f"{len(flat)} vectors: a PCA of {self.components} components needs as many or more")
        mean = flat.mean(0)
        axes = torch.linalg.svd(flat - mean, full_matrices=False).Vh[: self.components]
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        self.mean.copy_(mean)
        self.axes.copy_(axes * torch.where(largest < 0, -1.0, 1.0))  # an axis has no sign of its own
        return self

    def forward(self, readings: torch.Tensor) -> torch.Tensor:
        joined = self._joined(readings)
        if self.components is None:
            return joined
        return torch.einsum("dc,bchw->bdhw", self.axes, joined - self.mean[:, None, None])

    def _joined(self, readings: torch.Tensor) -> torch.Tensor:
        check_readings(readings, self.channels)
        if len(readings) != self.readings:
            raise BadInput(f"{len(readings)} readings: this module was made for {self.readings}")
        return readings.float().movedim(0, 1).flatten(1, 2)
