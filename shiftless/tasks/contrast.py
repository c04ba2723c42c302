"""The loss that teaches a map to match: symmetric cross-entropy over cosines of annotated points."""

from __future__ import annotations

import torch
import torch.nn.functional as F

LOGIT_SCALE = 1 / 0.07  # CLIP's, as published
NEGATIVES = ("grid", "points")


def pair_loss(
    source: torch.Tensor,
    target: torch.Tensor,
    source_units: torch.Tensor,
    target_units: torch.Tensor,
    negatives: str = "grid",
    scale: float = LOGIT_SCALE,
) -> torch.Tensor:
    """Return the mean of both directions' cross-entropy for one pair.

    source, target  the maps, D H W and D H' W'
    ..._units       N 2 (x, y) in [0, 1] x [0, 1]: where point i of each lies
    negatives       what a point is told apart from: "grid", every cell of the other map (its answer is the cell that
                    holds the point); "points", the other annotated points, which is much cheaper
    scale           of the logits

    Source: Luo et al., "Diffusion Hyperfeatures", 2023, section 3.3; scale and form as in CLIP.

    >>> maps = torch.eye(16).view(16, 4, 4)
    >>> where = torch.tensor([[0.125, 0.125], [0.875, 0.375]])
    >>> bool(pair_loss(maps, maps, where, where) < pair_loss(maps, maps.flip(2), where, where))
    True
    """
    a, b = read(source, source_units), read(target, target_units)
    if negatives == "points":
        logits, answer = scale * a @ b.T, torch.arange(len(a), device=a.device)
        return (F.cross_entropy(logits, answer) + F.cross_entropy(logits.T, answer)) / 2
    there = scale * a @ F.normalize(target.flatten(1).to(a.dtype), dim=0)
    back = scale * b @ F.normalize(source.flatten(1).to(a.dtype), dim=0)
    return (
        F.cross_entropy(there, cells(target, target_units)) + F.cross_entropy(back, cells(source, source_units))
    ) / 2


def read(dense: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """Read a map D H W at N points in [0, 1] x [0, 1], bilinear, as unit vectors: N D."""
    where = units.to(dense.device).view(1, -1, 1, 2) * 2 - 1
    vectors = F.grid_sample(dense[None].float(), where, mode="bilinear", padding_mode="border", align_corners=False)
    return F.normalize(vectors[0, :, :, 0].T, dim=1)


def cells(dense: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """Return which cell of a map D H W, counted row by row, holds each of N points: N."""
    h, w = dense.shape[-2:]
    size = torch.tensor([w, h], dtype=units.dtype, device=units.device)
    x, y = (units * size).floor().long().clamp(min=torch.zeros_like(size).long(), max=(size - 1).long()).unbind(1)
    return (y * w + x).to(dense.device)
