"""Cosine maps: queries against every place of a map that is enlarged bilinearly, without enlarging its channels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

_CELLS = 16_000_000  # cosines held at once


def cosine_maps(
    queries: torch.Tensor,
    dense: torch.Tensor,
    grid: tuple[int, int],
    cells: int = _CELLS,
    *,
    norm: torch.Tensor | None = None,
) -> Iterator[torch.Tensor]:
    """Yield cosine maps of queries N C on a map 1 C h w resized to `grid` (H, W), as chunks n H W.

    Equal to resizing the C channels bilinearly (align_corners=False) and taking the cosine: a dot product commutes
    with the interpolation, and the norm of an interpolated vector needs only its neighbours' dot products.
    So the cost is h w C + N H W, in place of H W C; `cells` bounds the memory.

    norm  what `interpolated_norm` gives for the map and the grid, where it is kept from one call to the next

    >>> maps = torch.cat(list(cosine_maps(torch.randn(5, 8), torch.randn(1, 8, 4, 6), (32, 48))))
    >>> maps.shape, bool((maps.abs() <= 1.0001).all())
    (torch.Size([5, 32, 48]), True)
    """
    dense, queries = dense.float(), F.normalize(queries.float(), dim=1)
    channels, h, w = dense.shape[1:]
    norm = (interpolated_norm(dense, grid) if norm is None else norm).clamp_min(1e-12)
    flat = dense.reshape(channels, h * w)
    step = max(1, cells // (grid[0] * grid[1]))
    for start in range(0, len(queries), step):
        dots = (queries[start : start + step] @ flat).view(1, -1, h, w)
        if (h, w) != grid:
            dots = F.interpolate(dots, grid, mode="bilinear", align_corners=False)
        yield dots[0] / norm


def interpolated_norm(dense: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Return the length of each vector of a map 1 C h w once it is resized to H W: H W, float32.

    >>> interpolated_norm(torch.ones(1, 4, 2, 2), (3, 5)).unique().tolist()
    [2.0]
    """
    f = dense[0]
    same = f.square().sum(0)
    if f.shape[1:] == grid:
        return same.sqrt()
    right_f, down_f = _shift(f, 2), _shift(f, 1)
    right, down = (f * right_f).sum(0), (f * down_f).sum(0)
    falling, rising = (f * _shift(right_f, 1)).sum(0), (right_f * down_f).sum(0)
    y0, y1, fy = _taps_along(f.shape[1], grid[0], f.device)
    x0, x1, fx = _taps_along(f.shape[2], grid[1], f.device)
    fy, gy, fx, gx = fy[:, None], 1 - fy[:, None], fx[None], 1 - fx[None]

    def along_x(one: torch.Tensor, cross: torch.Tensor) -> torch.Tensor:
        return gx * gx * one[:, x0] + fx * fx * one[:, x1] + fx * gx * cross[:, x0]

    within_row = along_x(same, 2 * right)
    between_rows = along_x(down, falling + rising)
    square = gy * gy * within_row[y0] + fy * fy * within_row[y1] + 2 * fy * gy * between_rows[y0]
    return square.clamp_min(0).sqrt()


def _shift(f: torch.Tensor, dim: int) -> torch.Tensor:
    """Each cell's next neighbour along dim; the last repeats itself."""
    size = f.shape[dim]
    return torch.cat([f.narrow(dim, 1, size - 1), f.narrow(dim, size - 1, 1)], dim)


def _taps_along(size: int, new: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Left cell, right cell and weight of the right one, for each of `new` pixels over `size` cells."""
    centre = ((torch.arange(new, device=device, dtype=torch.float32) + 0.5) * (size / new) - 0.5).clamp(0, size - 1)
    left = centre.floor().long()
    return left, (left + 1).clamp_max(size - 1), centre - left


def soft_argmax(
    maps: torch.Tensor, row: torch.Tensor, column: torch.Tensor, temperature: float, window: int
) -> torch.Tensor:
    """Mean (x, y) of the cells around each map's best one, weighed by softmax(cosine / temperature): N 2, in cells.

    Returns float64 on the CPU.

    maps         N H W
    row, column  N, the best cell
    window       cells to each side; at the border it is cut evenly, so that it pulls to no side

    >>> bump = torch.tensor([[[0.0, 0.8, 1.0, 1.0, 0.8, 0.0]]]).expand(1, 5, 6)
    >>> soft_argmax(bump, torch.tensor([2]), torch.tensor([2]), 0.05, 1)[0].tolist()[0] > 2.4
    True
    """
    h, w = maps.shape[-2:]
    offsets = torch.arange(-window, window + 1, device=maps.device)
    dy, dx = (grid.flatten()[None] for grid in torch.meshgrid(offsets, offsets, indexing="ij"))
    reach_y = torch.minimum(row, h - 1 - row).clamp_max(window)[:, None]
    reach_x = torch.minimum(column, w - 1 - column).clamp_max(window)[:, None]
    # A cell in a corner or on the border keeps one neighbour inwards: an edge is no reason to stay on the grid.
    legal = (dy.abs() <= reach_y.clamp_min(1)) & (dx.abs() <= reach_x.clamp_min(1))
    ys, xs = row[:, None] + dy, column[:, None] + dx
    legal &= (ys >= 0) & (ys < h) & (xs >= 0) & (xs < w)
    values = maps.flatten(1).gather(1, ys.clamp(0, h - 1) * w + xs.clamp(0, w - 1)) / temperature
    weight = values.masked_fill(~legal, -torch.inf).softmax(1).cpu().double()  # Apple's devices have no float64
    return torch.stack([(weight * xs.cpu()).sum(1), (weight * ys.cpu()).sum(1)], 1)
