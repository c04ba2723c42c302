"""Normalised cuts, by hand-worked cases and against a search of all cuts."""

from __future__ import annotations

import itertools

import pytest
import torch

from shiftless.errors import BadInput
from shiftless.tasks.cuts import affinities, best_cut, cut_cost, normalised_cuts, segment_likeness


def test_the_cost_is_that_of_the_definition():
    weights = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])
    # {0, 1} and {2}: the cut is 0.5, the associations are 3 + 3.5 and 1.5
    assert float(cut_cost(weights, torch.tensor([[1, 1, 0]]))) == pytest.approx(0.5 / 6.5 + 0.5 / 1.5)


def test_the_best_cut_of_clear_groups_is_the_best_of_all():
    torch.manual_seed(0)
    blocks = torch.block_diag(torch.ones(3, 3), torch.ones(4, 4)) + 0.1 * torch.rand(7, 7)
    weights = (blocks + blocks.T) / 2
    every = torch.tensor(list(itertools.product([0, 1], repeat=7)))
    side, cost = best_cut(weights)
    assert cost == pytest.approx(float(cut_cost(weights, every).min()), abs=1e-6)
    assert side[:3].unique().tolist() != side[3:].unique().tolist()
    assert best_cut(torch.ones(1, 1))[1] == float("inf")


def grid_of_four():
    """A map of 4 x 6 cells with four kinds of vectors, two of which resemble each other."""
    kinds = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0.25, 1.0]])
    labels = torch.zeros(4, 6, dtype=torch.int64)
    labels[:2, 3:], labels[2:, :3], labels[2:, 3:] = 1, 2, 3
    return kinds[labels].permute(2, 0, 1), labels


def test_segments_are_parted_until_a_cut_costs_too_much():
    features, truth = grid_of_four()
    weights = affinities(features)
    three = normalised_cuts(weights).view(4, 6)
    assert torch.equal(three, truth.clamp_max(2))  # the two that resemble each other are one
    assert normalised_cuts(weights + 0.1, most_cost=1e-9).max() == 0
    assert len(normalised_cuts(weights, most=2).unique()) == 2
    assert len(normalised_cuts(affinities(features, power=200)).unique()) == 4


def test_a_uniform_map_is_one_segment():
    assert normalised_cuts(affinities(torch.ones(3, 4, 4))).unique().tolist() == [0]


def test_a_finer_grid_keeps_the_segments():
    features, truth = grid_of_four()
    labels = normalised_cuts(affinities(features))
    large = segment_likeness(features, labels, (16, 24)).argmax(0)
    assert torch.equal(large[2::4, 2::4], truth.clamp_max(2))


@pytest.mark.parametrize("wrong", [{"most_cost": 0.0}, {"most": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(BadInput, match="above 0"):
        normalised_cuts(torch.eye(2), **wrong)
