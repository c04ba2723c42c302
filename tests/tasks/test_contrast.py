from __future__ import annotations

import math

import pytest
import torch

from shiftless.tasks.contrast import LOGIT_SCALE, cells, pair_loss, read

ONE_HOT = torch.eye(16).view(16, 4, 4)
CENTRES = torch.tensor([[0.125, 0.125], [0.625, 0.375], [0.875, 0.875]])


@pytest.mark.parametrize(("negatives", "others"), [("grid", 15), ("points", 2)])
def test_loss_by_hand(negatives, others):
    # Each point's vector is its own and orthogonal to all others: cosine 1 with its answer, 0 with the rest.
    expected = math.log(1 + others * math.exp(-LOGIT_SCALE))
    result = float(pair_loss(ONE_HOT, ONE_HOT, CENTRES, CENTRES, negatives))
    assert result == pytest.approx(expected, rel=0.05, abs=1e-6)
    blank = torch.ones(16, 4, 4)  # nothing tells cells apart
    assert float(pair_loss(blank, blank, CENTRES, CENTRES, negatives)) == pytest.approx(math.log(others + 1), rel=1e-4)


@pytest.mark.parametrize("negatives", ["grid", "points"])
def test_loss_is_the_same_both_ways_and_least_for_what_is_alike(negatives):
    torch.manual_seed(0)
    a, b = torch.randn(12, 4, 6), torch.randn(12, 5, 3)
    here, there = torch.rand(5, 2), torch.rand(5, 2)
    forward = pair_loss(a, b, here, there, negatives)
    torch.testing.assert_close(forward, pair_loss(b, a, there, here, negatives))
    assert pair_loss(ONE_HOT, ONE_HOT, CENTRES, CENTRES, negatives) < pair_loss(
        ONE_HOT, ONE_HOT.flip(1), CENTRES, CENTRES, negatives
    )


def test_cells_and_vectors_of_points():
    assert cells(ONE_HOT, torch.tensor([[0.0, 0.0], [0.3, 0.1], [0.1, 0.3], [1.0, 1.0]])).tolist() == [0, 1, 4, 15]
    assert cells(torch.zeros(3, 2, 5), torch.tensor([[0.99, 0.2], [0.5, 0.7]])).tolist() == [4, 7]
    torch.testing.assert_close(read(ONE_HOT, CENTRES), torch.eye(16)[[0, 6, 15]])
    between = read(ONE_HOT, torch.tensor([[0.25, 0.125]]))[0]  # half way between two cells
    torch.testing.assert_close(between[:2], torch.full((2,), 2**-0.5))
