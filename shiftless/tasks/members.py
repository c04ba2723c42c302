"""Members: several small networks of one shape that are computed, and trained, in one call."""

from __future__ import annotations

import math

import torch
from torch import nn


class MemberLinear(nn.Module):
    """One linear layer for each of M members: M N C (or 1 N C, the same for all) -> M N D.

    std  of the normal distribution that weights are drawn from; None draws weights and biases as `torch.nn.Linear` does

    >>> layer = MemberLinear(3, 8, 5)
    >>> layer(torch.randn(1, 7, 8)).shape, layer(torch.randn(3, 7, 8)).shape
    (torch.Size([3, 7, 5]), torch.Size([3, 7, 5]))
    """

    def __init__(self, members: int, channels: int, out: int, std: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, out, channels))
        self.bias = nn.Parameter(torch.zeros(members, out))
        if std is None:
            bound = 1 / math.sqrt(channels)
            nn.init.uniform_(self.weight, -bound, bound)
            nn.init.uniform_(self.bias, -bound, bound)
        else:
            nn.init.normal_(self.weight, std=std)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.expand(len(self.weight), -1, -1)
        return torch.baddbmm(self.bias[:, None], x, self.weight.transpose(1, 2))


class MemberNorm(nn.BatchNorm1d):
    """Batch norm of each member's own channels over its own rows: M N C -> M N C.

    >>> norm = MemberNorm(3, 5)
    >>> norm(torch.randn(3, 7, 5)).shape
    torch.Size([3, 7, 5])
    """

    def __init__(self, members: int, channels: int) -> None:
        super().__init__(members * channels)
        self.members = members

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.transpose(0, 1).reshape(x.shape[1], -1)  # every member's channels are channels of their own
        return super().forward(rows).view(x.shape[1], self.members, -1).transpose(0, 1)


class MemberGate(nn.Module):
    """A pixel-level weight assigner for each of M members: readings M N K C (or 1 N K C) -> M N C.

    Each reading of a pixel goes through linear, ReLU, batch norm, dropout, linear; softmax over the K answers gives a
    weight for each reading and channel, and the readings are summed by them. With one reading there is nothing to
    weigh. While training, batch norm sees the K readings of a batch together.
    Source: GATE, NeurIPS 2024, section on feature amalgamation.

    >>> gate = MemberGate(3, channels=8).eval()
    >>> one = torch.randn(1, 7, 1, 8)
    >>> torch.allclose(gate(one.expand(-1, -1, 4, -1)), one[:, :, 0], atol=1e-6)
    True
    """

    def __init__(self, members: int, channels: int, hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        self.members = members
        self.first, self.norm = MemberLinear(members, channels, hidden), MemberNorm(members, hidden)
        self.dropout, self.last = nn.Dropout(dropout), MemberLinear(members, hidden, channels)

    def weights(self, readings: torch.Tensor) -> torch.Tensor:
        """Return the weights M N K C, which sum to one over K."""
        _, n, k, c = readings.shape
        hidden = self.norm(self.first(readings.reshape(-1, n * k, c)).relu())
        logits: torch.Tensor = self.last(self.dropout(hidden))
        return logits.view(self.members, n, k, c).softmax(2)

    def forward(self, readings: torch.Tensor) -> torch.Tensor:
        return (self.weights(readings) * readings).sum(2)


class MemberMLP(nn.Module):
    """The pixel classifiers of M members: M N C -> M N L logits.

    Linear, ReLU, batch norm, twice, and a linear layer: C -> 128 -> 32 -> L, or C -> 256 -> 128 -> L for 30 classes and
    more; weights are drawn from N(0, 0.02). Source: Baranchuk et al., ICLR 2022 (Label-Efficient Semantic Segmentation
    with Diffusion Models), section 4.

    >>> MemberMLP(3, channels=8, classes=5)(torch.randn(3, 7, 8)).shape
    torch.Size([3, 7, 5])
    """

    def __init__(self, members: int, channels: int, classes: int, hidden: tuple[int, int] | None = None) -> None:
        super().__init__()
        first, second = hidden or ((256, 128) if classes >= 30 else (128, 32))
        self.first, self.norm1 = MemberLinear(members, channels, first, 0.02), MemberNorm(members, first)
        self.second, self.norm2 = MemberLinear(members, first, second, 0.02), MemberNorm(members, second)
        self.last = MemberLinear(members, second, classes, 0.02)
        self.widths = (first, second, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(self.first(x).relu())
        x = self.norm2(self.second(x).relu())
        logits: torch.Tensor = self.last(x)
        return logits
