"""GATE's amalgamation: a small network gives each reading a weight per channel; the readings are summed by them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from shiftless.amalgamate.saved import Saved
from shiftless.errors import BadInput
from shiftless.memory_format import memory_format
from shiftless.recipe import Recipe

LEVELS = ("image", "pixel")
NORMS = ("bucket", "reading")


class Gate(Saved):
    """Amalgamate K readings by weights that depend on what they hold: K B C H W -> B C H W.

    level    "image": one weight an image and channel; "pixel": one a cell and channel
    hidden   width of the weight assigner
    dropout  in the assigner, while training
    norm     while training, batch norm's statistics are of the whole "bucket", so that they agree with those in use;
             or of one "reading" after another, as in the published code, which hides how readings differ

    The assigner looks at each reading alone; softmax over the K answers makes them weights. At image level it is
    3x3 convolution, ReLU, batch norm, dropout, mean over the cells, linear; at pixel level linear, ReLU, batch norm,
    dropout, linear at each cell. Any floating dtype goes in; weights and sum are float32.

    Raises BadInput for another level or norm, and for readings that are not K B C H W with the gate's C.
    Source: GATE, NeurIPS 2024, section on feature amalgamation.

    >>> gate = Gate(8).eval()
    >>> one = torch.randn(1, 2, 8, 4, 6)
    >>> torch.equal(gate(one), one[0]), gate(one.expand(3, -1, -1, -1, -1)).shape
    (True, torch.Size([2, 8, 4, 6]))
    """

    kind = "gate"

    def __init__(
        self,
        channels: int,
        level: str = "image",
        hidden: int = 128,
        dropout: float = 0.5,
        norm: str = "bucket",
        recipes: Sequence[Recipe] = (),
    ) -> None:
        settings = {"channels": channels, "level": level, "hidden": hidden, "dropout": dropout, "norm": norm}
        super().__init__(settings, recipes)
        for name, value, legal in (("level", level, LEVELS), ("norm", norm, NORMS)):
            if value not in legal:
                raise BadInput(f"{name}={value!r}: must be one of {', '.join(legal)}")
        self.channels, self.level, self.norm, self.out_channels = channels, level, norm, channels
        self.assigner = _image_assigner(channels, hidden, dropout) if level == "image" else None
        self.pixel_assigner = _pixel_assigner(channels, hidden, dropout) if level == "pixel" else None

    def weights(self, readings: torch.Tensor) -> torch.Tensor:
        """Return the weights, which sum to one over K: K B C at image level, K B C H W at pixel level."""
        check_readings(readings, self.channels)
        kind = readings.device.type
        if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
            readings = readings.to(next(self.parameters()).dtype)
        if self.norm == "reading" and self.training:
            logits = torch.cat([self._logits(one[None]) for one in readings])
        else:
            logits = self._logits(readings)
        return logits.float().softmax(0)

    def _logits(self, readings: torch.Tensor) -> torch.Tensor:
        k, b, c, h, w = readings.shape
        if self.assigner is not None:
            maps = readings.flatten(0, 1).contiguous(memory_format=memory_format(readings.device))
            return self.assigner(maps).unflatten(0, (k, b))
        assert self.pixel_assigner is not None
        cells = readings.permute(0, 1, 3, 4, 2).reshape(-1, c)
        return self.pixel_assigner(cells).view(k, b, h, w, c).permute(0, 1, 4, 2, 3)

    def amalgamate(self, readings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the merged map B C H W and the weights that made it."""
        weights = self.weights(readings)
        spread = weights if weights.ndim == 5 else weights[..., None, None]
        return (spread * readings).sum(0), weights

    def forward(self, readings: torch.Tensor) -> torch.Tensor:
        return self.amalgamate(readings)[0]


def sparsity(weights: torch.Tensor) -> torch.Tensor:
    """Return minus the mean L2 norm of weights K ... over K: -1 when one reading takes all, -1/sqrt(K) when equal.

    Added to a loss it rewards peaked weights. Source: GATE, NeurIPS 2024.

    >>> round(float(sparsity(torch.full((4, 2, 3), 0.25))), 4)
    -0.5
    """
    return -torch.linalg.vector_norm(weights, dim=0).mean()


def strength(full: float, progress: float, ramp: float = 0.0) -> float:
    """Return the sparsity term's factor at a share `progress` of training: linear up to `full` over a share `ramp`.

    >>> [strength(0.1, p, ramp=0.5) for p in (0, 0.25, 1)]
    [0.0, 0.05, 0.1]
    """
    return full if ramp <= 0 else full * min(1.0, progress / ramp)


def check_readings(readings: torch.Tensor, channels: int) -> None:
    """Raise BadInput unless readings are K B C H W with K >= 1 and C = channels."""
    if readings.ndim != 5 or readings.shape[2] != channels or not readings.numel():
        raise BadInput(f"readings of shape {tuple(readings.shape)}: give K B C H W with C = {channels}")


def _image_assigner(channels: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(hidden),
        nn.Dropout(dropout),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(hidden, channels),
    )


def _pixel_assigner(channels: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, hidden),
        nn.ReLU(),
        nn.BatchNorm1d(hidden),
        nn.Dropout(dropout),
        nn.Linear(hidden, channels),
    )
