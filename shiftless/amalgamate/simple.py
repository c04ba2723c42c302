"""Amalgamation that learns nothing, or only from the features themselves: mean, and concatenation with PCA."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

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
    """K readings side by side, B C_1 + ... + C_K H W; with components, their projection by a fitted PCA.

    channels    of each reading: one number, or K of them where readings come from several models
    components  how many principal axes are kept; None keeps everything. `fit` before use.
    normalise   make each reading's vectors unit length, so that none drowns the others
    weights     K numbers that the readings are scaled by; None is 1 each. Of unit vectors, the cosine of two joined
                ones is the mean of the readings' cosines, weighted by the squares
                (A Tale of Two Features, Zhang et al., NeurIPS 2023)

    It takes readings K B C H W, or a sequence of K readings B C_k H W on one grid. Raises BadInput for readings of
    another number or channels, for weights that are not positive, and for more components than can be had.

    >>> concat = Concat(readings=3, channels=4, components=2).fit(torch.randn(3, 2, 4, 8, 8))
    >>> concat(torch.randn(3, 1, 4, 5, 7)).shape
    torch.Size([1, 2, 5, 7])
    >>> two = [torch.ones(1, 4, 2, 2), torch.ones(1, 9, 2, 2)]
    >>> Concat(2, (4, 9), normalise=True, weights=(2, 1))(two)[0, :, 0, 0].square().sum().item()
    5.0
    """

    kind = "concat"
    mean: torch.Tensor
    axes: torch.Tensor

    def __init__(
        self,
        readings: int,
        channels: int | Sequence[int],
        components: int | None = None,
        recipes: Sequence[Recipe] = (),
        *,
        normalise: bool = False,
        weights: Sequence[float] | None = None,
    ) -> None:
        each = (channels,) * readings if isinstance(channels, int) else tuple(channels)
        scales = (1.0,) * readings if weights is None else tuple(map(float, weights))
        if len(each) != readings or len(scales) != readings:
            raise BadInput(f"{len(each)} channels and {len(scales)} weights: give one for each of {readings} readings")
        if not all(math.isfinite(scale) and scale > 0 for scale in scales):
            raise BadInput(f"weights={scales}: give positive numbers; leave a reading out that shall not count")
        settings: dict[str, Any] = {"readings": readings, "components": components}
        settings["channels"] = channels if isinstance(channels, int) else list(each)
        settings |= {"normalise": normalise, "weights": None if weights is None else list(scales)}
        super().__init__(settings, recipes)
        size = sum(each)
        if components is not None and not 1 <= components <= size:
            raise BadInput(f"components={components}: give 1 to {size} (readings x channels)")
        self.readings, self.channels, self.components = readings, each, components
        self.normalise, self.weights = normalise, scales
        self.out_channels = size if components is None else components
        if components is not None:
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("axes", torch.eye(components, size))

    def fit(self, readings: torch.Tensor | Sequence[torch.Tensor]) -> Concat:
        """Find the principal axes of readings; the same readings give the same axes and signs."""
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

    def forward(self, readings: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
        joined = self._joined(readings)
        if self.components is None:
            return joined
        return torch.einsum("dc,bchw->bdhw", self.axes, joined - self.mean[:, None, None])

    def _joined(self, readings: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
        if len(readings) != self.readings:
            raise BadInput(f"{len(readings)} readings: this module was made for {self.readings}")
        for one, channels in zip(readings, self.channels):
            check_readings(one[None], channels)
        if len({(len(one), *one.shape[2:]) for one in readings}) > 1:
            shapes = ", ".join(str(tuple(one.shape)) for one in readings)
            raise BadInput(f"readings of shapes {shapes}: bring them to one grid first, as `fuse` does")
        parts = [F.normalize(one.float(), dim=1) if self.normalise else one.float() for one in readings]
        return torch.cat([part if weight == 1 else part * weight for part, weight in zip(parts, self.weights)], 1)
