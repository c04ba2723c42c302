"""Pooling keeps the place of what it averages, also where it does not divide the grid."""

from __future__ import annotations

import pytest
import torch

from shiftless.features import FeatureMaps
from shiftless.image import Frame
from shiftless.store.pool import pooled
from shiftless.taps.names import Tap


@pytest.mark.parametrize(("grid", "pool", "expected"), [((8, 12), 2, (4, 6)), ((5, 9), 2, (3, 5)), ((3, 3), 8, (1, 1))])
def test_a_ramp_stays_where_it_is(grid, pool, expected):
    """Each cell of the ramp holds its own centre, as a share of the image; so does each pooled cell."""
    h, w = grid
    ys, xs = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    frame = Frame((h * 8, w * 8), (h * 8, w * 8))
    small = pooled(FeatureMaps({"xy": torch.stack([xs, ys])[None]}, {"xy": Tap("xy", 2, 8, "")}, frame), pool)
    assert small["xy"].shape == (1, 2, *expected)
    ys, xs = torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in expected), indexing="ij")
    even = h % pool == 0 and w % pool == 0  # else the cells that are cut count with their whole value: a little off
    torch.testing.assert_close(small["xy"][0], torch.stack([xs, ys]), atol=1e-6 if even else 0.014, rtol=0)
    torch.testing.assert_close(small["xy"].mean((2, 3)), torch.full((1, 2), 0.5))  # the whole image's mean is kept
    assert pooled(small, 1) is small
    assert (small.taps["xy"].stride, small.origin.pool) == (8 * pool, pool)


def test_cells_are_shared_by_area():
    """Three cells in two: the middle one belongs half to each."""
    maps = FeatureMaps({"a": torch.tensor([[[[0.0, 3.0, 6.0]]]])}, {"a": Tap("a", 1, 8, "")}, Frame((8, 24), (8, 24)))
    torch.testing.assert_close(pooled(maps, 2)["a"].flatten(), torch.tensor([1.0, 5.0]))
