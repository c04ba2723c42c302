"""Attention to words: cross-attention maps of several layers merged, rescaled so that classes can be compared, refined.

Source: GoCA (Meng et al., "Making Training-Free Diffusion Segmentors Scale with the Generative Power", CVPR 2026).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from shiftless.errors import BadInput
from shiftless.taps.attention import word_columns

_SMALL = 1e-12


def layer_weights(features: torch.Tensor, attentions: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the weight of each attention layer, M with sum 1: how like its self-attention is to that of features.

    features    D h w, dense features
    attentions  N h w each, a layer's self-attention on its own grid: channel k says how much each cell attends cell k

    The features' own attention is the positive part of their cosine similarities on the layer's grid, each cell's
    summing to 1; the likeness is the cosine similarity of both, over all pairs of cells.

    >>> halves = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]).view(2, 1, 4)
    >>> same = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)).view(4, 1, 4) / 2
    >>> layer_weights(halves, [same, 1 - 2 * same]).tolist()
    [1.0, 0.0]
    """
    likeness = []
    for attention in attentions:
        grid = attention.shape[-2:]
        small = F.interpolate(features[None].float(), grid, mode="bilinear", align_corners=False, antialias=True)[0]
        unit = F.normalize(small.flatten(1), dim=0)
        expected = (unit.T @ unit).clamp_min(0)
        expected = expected / expected.sum(0, keepdim=True).clamp_min(_SMALL)
        found = attention.float().flatten(1)
        likeness.append(F.cosine_similarity(expected.flatten(), found.flatten(), dim=0).clamp_min(0))
    found_all = torch.stack(likeness)
    total = found_all.sum()
    return found_all / total if total > _SMALL else torch.full_like(found_all, 1 / len(found_all))


def class_columns(words: Sequence[str], classes: Sequence[str]) -> list[list[int]]:
    """Return the prompt's columns of each class; a column belongs to the longest name that it spells.

    Raises BadInput for a class that the prompt does not hold.

    >>> class_columns(["", "traffic ", "sign ", ", ", "sign ", ""], ["sign", "traffic sign"])
    [[4], [1, 2]]
    """
    found: dict[str, list[int]] = {}
    taken: set[int] = set()
    for name in sorted(classes, key=len, reverse=True):
        columns = word_columns(words, name)
        found[name] = [one for one in columns if one not in taken] or columns
        taken.update(columns)
    return [found[name] for name in classes]


def class_attention(
    maps: Sequence[torch.Tensor], weights: torch.Tensor, columns: Sequence[Sequence[int]], grid: tuple[int, int]
) -> torch.Tensor:
    """Return the attention to each class, L H W: the mean over its tokens, summed over layers by their weights.

    maps  T h w each, cross-attention of each layer      columns  of each class      grid  (H, W)

    >>> one = torch.tensor([[0.2], [0.4], [0.6]]).view(3, 1, 1)
    >>> both = class_attention([one, one], torch.tensor([0.5, 0.5]), [[0, 1], [2]], (1, 1))
    >>> both.flatten().round(decimals=2).tolist() == torch.tensor([0.3, 0.6]).tolist()
    True
    """
    total = torch.zeros(len(columns), *grid)
    for one, weight in zip(maps, weights.tolist(), strict=True):
        classes = torch.stack([one[list(some)].float().mean(0) for some in columns]).cpu()
        total += weight * F.interpolate(classes[None], grid, mode="bilinear", align_corners=False)[0]
    return total


def rescaled(attention: torch.Tensor) -> torch.Tensor:
    """Rescale attention to classes, L H W: at each cell they sum to 1, then each class's least is 0 and its largest 1.

    A class that gets the same share everywhere is 0 everywhere.

    >>> rescaled(torch.tensor([[1.0, 3.0], [1.0, 1.0]]).view(2, 1, 2)).flatten(1).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    shares = attention.float() / attention.float().sum(0, keepdim=True).clamp_min(_SMALL)
    low, high = shares.amin((1, 2), keepdim=True), shares.amax((1, 2), keepdim=True)
    return torch.where(high - low > 1e-6, (shares - low) / (high - low).clamp_min(1e-6), torch.zeros_like(shares))


def refined(scores: torch.Tensor, attention: torch.Tensor, times: int = 1) -> torch.Tensor:
    """Return the scores of classes, L H W, in which each cell has the mean of the cells that it attends to.

    attention  N H W, self-attention on the same grid: channel k says how much each cell attends cell k
    times      how often, 0 for not at all

    Raises BadInput for another grid.

    >>> swapped = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).view(2, 1, 2)
    >>> refined(torch.tensor([[3.0, 5.0]]).view(1, 1, 2), swapped).flatten().tolist()
    [5.0, 3.0]
    """
    if attention.shape[-2:] != scores.shape[-2:] or len(attention) != scores[0].numel():
        raise BadInput(
            f"attention {tuple(attention.shape)} for scores {tuple(scores.shape)}: give one of the same grid"
        )
    weights = attention.float().flatten(1)
    weights = weights / weights.sum(0, keepdim=True).clamp_min(_SMALL)
    flat = scores.float().flatten(1)
    for _ in range(times):
        flat = flat @ weights
    return flat.view_as(scores)
