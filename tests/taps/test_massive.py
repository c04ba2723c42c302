"""Massive channels: the published rule, put to channels, on maps made by hand."""

from __future__ import annotations

import pytest
import torch

from shiftless.taps.massive import massive_channels, without_channels


def ordinary(channels=64, seed=0):
    return torch.randn(1, channels, 8, 8, generator=torch.Generator().manual_seed(seed)) * 0.1


def test_channels_that_are_large_in_every_cell_are_found_whatever_their_sign():
    value = ordinary()
    value[:, 9] -= 400
    value[:, 50] += 150
    assert massive_channels(value) == (9, 50)
    assert massive_channels(value.to(torch.bfloat16)) == (9, 50)


@pytest.mark.parametrize(
    ("median", "large", "found"),
    [(1.0, 1001.0, True), (1.0, 999.0, False), (0.01, 101.0, True), (0.01, 99.0, False), (0.0, 99.0, False)],
)
def test_both_limits_count(median, large, found):
    value = torch.full((1, 16, 4, 4), median)
    value[:, 3] = large
    assert massive_channels(value) == ((3,) if found else ())


def test_a_channel_that_is_large_in_few_cells_is_kept():
    value = ordinary()
    value[:, 9, :2] = 1e6
    assert massive_channels(value) == ()
    value[:, 9, :5] = 1e6
    assert massive_channels(value) == (9,)


def test_an_ordinary_map_and_one_that_is_not_finite_lose_nothing():
    assert massive_channels(ordinary()) == massive_channels(torch.full((1, 4, 2, 2), torch.nan)) == ()
    assert torch.equal(without_channels(ordinary(), ()), ordinary())


def test_discarding_leaves_the_given_map_alone():
    value = ordinary()
    kept = value.clone()
    assert not without_channels(value, (1, 2))[:, 1:3].any()
    assert torch.equal(value, kept)
