"""Normalised cuts: the cells of a map parted into segments by the affinity of their vectors, again and again.

Sources: Shi and Malik, "Normalized Cuts and Image Segmentation", PAMI 2000; Couairon et al., "DiffCut: Catalyzing
Zero-Shot Semantic Segmentation with Diffusion Features and Recursive Normalized Cut", NeurIPS 2024.
"""

from __future__ import annotations

import heapq

import torch
import torch.nn.functional as F

from shiftless.errors import BadInput

MOST_COST, POWER = 0.5, 10.0
"""DiffCut's: the largest cost of a cut that is made, and the power of affinities."""
_SAME = 1e-5  # vectors that differ by less are all the same
_THRESHOLDS = 100  # of the eigenvector, as in DiffCut's code


def affinities(features: torch.Tensor, power: float = POWER) -> torch.Tensor:
    """Return how alike the cells of a map D h w are: N N in [0, 1].

    Cosine similarities, scaled so that the smallest is 0 and the largest 1, to a power.

    >>> affinities(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).view(2, 1, 3)).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if power <= 0:
        raise BadInput(f"power={power:g}: give a number above 0")
    unit = F.normalize(features.float().flatten(1), dim=0)
    likeness = unit.T @ unit
    low, high = likeness.min(), likeness.max()
    if high - low < _SAME:
        return torch.ones_like(likeness)
    return ((likeness - low) / (high - low)).clamp(0, 1) ** power


def cut_cost(weights: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    """Return the normalised cost of cuts: cut / association of the one side + cut / association of the other.

    weights  N N, symmetric      sides  K N, 1 where a cell is on the one side and 0 where it is not

    A cut with nothing on a side costs infinity. Source: Shi and Malik 2000, equation 2.

    >>> two = torch.tensor([[3.0, 1.0], [1.0, 3.0]])
    >>> cut_cost(two, torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist()
    [0.5, inf]
    """
    sides = sides.to(weights.dtype)
    degrees = weights.sum(1)
    one = sides @ degrees
    between = one - ((sides @ weights) * sides).sum(1)
    other = degrees.sum() - one
    costs = between / one.clamp_min(1e-12) + between / other.clamp_min(1e-12)
    none = (sides.sum(1) == 0) | (sides.sum(1) == sides.shape[1])
    return costs.masked_fill(none, torch.inf)


def best_cut(weights: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Part cells in two where the cost is least: (N bool, the cost).

    The second smallest eigenvector of D^-1/2 (D - W) D^-1/2, times D^-1/2, is cut at the best of a hundred values. A
    single cell cannot be parted: the cost is infinite.

    >>> blocks = torch.block_diag(torch.ones(2, 2), torch.ones(3, 3)) + 0.01
    >>> side, cost = best_cut(blocks)
    >>> sorted([int(side.sum()), int((~side).sum())]), round(cost, 3)
    ([2, 3], 0.021)
    """
    n = len(weights)
    if n < 2:
        return torch.zeros(n, dtype=torch.bool), float("inf")
    weights = weights.double()
    scale = weights.sum(1).clamp_min(1e-12).rsqrt()
    eye = torch.eye(n, dtype=torch.float64)
    _, vectors = torch.linalg.eigh(eye - scale[:, None] * weights * scale[None])
    vector = scale * vectors[:, 1]
    vector = vector * torch.sign(vector[vector.abs().argmax()])
    low, high = 0.99 * float(vector.min()), 0.99 * float(vector.max())
    sides = vector[None] > torch.linspace(low, high, _THRESHOLDS, dtype=torch.float64)[:, None]
    costs = cut_cost(weights, sides)
    best = int(costs.argmin())
    return sides[best], float(costs[best])


def normalised_cuts(weights: torch.Tensor, most_cost: float = MOST_COST, most: int = 32) -> torch.Tensor:
    """Part cells into segments: N int64, numbered by the order in which they first occur.

    weights    N N, as `affinities` gives them
    most_cost  a segment is parted where that costs less
    most       how many segments there are at most; where there could be more, the cheapest cuts are made

    >>> normalised_cuts(torch.block_diag(torch.ones(2, 2), torch.ones(3, 3), torch.ones(1, 1)) + 0.01).tolist()
    [0, 0, 1, 1, 1, 2]
    """
    if not most_cost > 0 or most < 1:
        raise BadInput(f"most_cost={most_cost:g}, most={most}: give numbers above 0")
    weights = weights.cpu()
    waiting: list[tuple[float, int, torch.Tensor, torch.Tensor]] = []  # (cost, first cell, cells, the one side)
    labels = torch.zeros(len(weights), dtype=torch.int64)

    def consider(cells: torch.Tensor) -> None:
        side, cost = best_cut(weights[cells][:, cells])
        if cost < most_cost:
            heapq.heappush(waiting, (cost, int(cells[0]), cells, side))

    consider(torch.arange(len(weights)))
    count = 1
    while waiting and count < most:
        _, _, cells, side = heapq.heappop(waiting)
        labels[cells[side]] = count
        count += 1
        consider(cells[side])
        consider(cells[~side])
    _, first = torch.unique(labels, return_inverse=True)
    order = sorted(range(count), key=lambda k: int((first == k).nonzero()[0]))
    places = torch.empty(count, dtype=torch.int64)
    places[torch.tensor(order)] = torch.arange(count)
    return places[first]


def segment_likeness(features: torch.Tensor, labels: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Return how like each segment every cell of a finer grid is: S H W, dot products with the segments' means.

    features  D h w      labels  N int64, the segment of each cell      grid  (H, W)

    Both are of unit vectors, which are enlarged bilinearly, as in DiffCut.

    >>> two = torch.eye(2).view(2, 1, 2)
    >>> segment_likeness(two, torch.tensor([0, 1]), (1, 4)).argmax(0).tolist()
    [[0, 0, 1, 1]]
    """
    unit = F.normalize(features.float().cpu(), dim=0)
    members = F.one_hot(labels).float()
    means = members.T @ unit.flatten(1).T / members.sum(0)[:, None]
    large = F.interpolate(unit[None], grid, mode="bilinear", align_corners=False)[0]
    return torch.einsum("sd,dhw->shw", means, large)
