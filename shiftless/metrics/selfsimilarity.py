"""Self-similarity: which cells of one feature map resemble which, compared with the same of another map."""

from __future__ import annotations

import torch
import torch.nn.functional as F

_FLAT = 1e-20  # a row's mean squared deviation that is nothing but rounding


def coarser(h: int, w: int, most: int) -> tuple[int, int]:
    """Return a grid of about the same shape with at most so many cells.

    >>> coarser(64, 48, 1024), coarser(4, 4, 1024)
    ((36, 28), (4, 4))
    """
    if h * w <= most:
        return h, w
    h = min(max(1, int(h * (most / (h * w)) ** 0.5)), most)
    return h, min(w, most // h)


def self_similarity(cells: torch.Tensor) -> torch.Tensor:
    """Return the cosine of every cell with every other: N C -> N N, float64.

    A cell without length resembles none. Source: Shechtman & Irani, "Matching local self-similarities", 2007.

    >>> self_similarity(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]))[0].tolist()
    [1.0, 0.0, 1.0]
    """
    unit = F.normalize(cells.detach().cpu().double(), dim=1)
    return unit @ unit.T


def agreement(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return for each of N cells how well two self-similarities N N agree about it: N float64 in [-1, 1].

    It is Pearson's correlation of the cell's two rows, the cell itself left out. A row in which nothing varies agrees
    with another such row and with no other. Source: Kriegeskorte et al., "Representational similarity analysis", 2008.

    >>> one = self_similarity(torch.randn(6, 4, generator=torch.manual_seed(0)))
    >>> torch.allclose(agreement(one, 2 * one + 1), torch.ones(6).double())
    True
    """
    a, b = _centred(a), _centred(b)
    squares = a.square().sum(1), b.square().sum(1)
    flat = [one <= _FLAT * (len(a) - 1) for one in squares]
    correlation = (a * b).sum(1) / (squares[0] * squares[1]).sqrt().clamp_min(1e-300)
    return torch.where(flat[0] | flat[1], (flat[0] & flat[1]).double(), correlation.clamp(-1, 1))


def _centred(rows: torch.Tensor) -> torch.Tensor:
    """Each row less its mean, its own cell left out and set to 0."""
    others = ~torch.eye(len(rows), dtype=torch.bool)
    kept = rows.double() * others
    return (kept - kept.sum(1, keepdim=True) / (len(rows) - 1)) * others
