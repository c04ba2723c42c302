"""Attention to words: merged, rescaled and refined, by hand-worked cases."""

from __future__ import annotations

import pytest
import torch

from shiftless.errors import BadInput
from shiftless.tasks.wordattention import class_attention, class_columns, layer_weights, refined, rescaled


def test_what_every_class_gets_more_of_does_not_matter():
    torch.manual_seed(0)
    attention = torch.rand(3, 4, 5) + 0.1
    brightness = torch.rand(1, 4, 5) + 0.5  # what the token of the beginning takes differs from cell to cell
    torch.testing.assert_close(rescaled(attention * brightness), rescaled(attention))
    found = rescaled(attention)
    assert found.amin((1, 2)).tolist() == [0, 0, 0]
    assert found.amax((1, 2)).tolist() == pytest.approx([1, 1, 1])


def test_a_class_without_a_place_is_nowhere():
    even = torch.stack([torch.full((2, 2), 0.5), torch.tensor([[0.4, 0.1], [0.1, 0.4]])])
    even[0] = even[1]  # both get the same share at every cell
    assert rescaled(even).abs().max() == 0


def test_layers_that_agree_with_the_features_count_for_more():
    features = torch.zeros(2, 4, 4)
    features[0, :, :2], features[1, :, 2:] = 1, 1
    left = (torch.arange(16) % 4 < 2).float()
    agrees = (left[:, None] == left[None]).float().view(16, 4, 4) / 8
    even = torch.full((16, 4, 4), 1 / 16)
    weights = layer_weights(features, [agrees, even])
    assert weights.sum() == pytest.approx(1)
    # cosine similarity with itself is 1; with the even one sqrt(1/2)
    assert (weights[1] / weights[0]).item() == pytest.approx(0.5**0.5, abs=1e-5)


def test_maps_of_several_grids_are_summed_by_weight():
    coarse, fine = torch.full((2, 1, 1), 1.0), torch.full((2, 2, 2), 3.0)
    merged = class_attention([coarse, fine], torch.tensor([0.25, 0.75]), [[1], [0, 1]], (4, 4))
    torch.testing.assert_close(merged, torch.full((2, 4, 4), 2.5))


def test_refining_spreads_scores_to_what_is_attended():
    attention = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 2.0]]).view(3, 1, 3)
    scores = torch.tensor([[1.0, 0.0, 0.4]]).view(1, 1, 3)
    assert refined(scores, attention).flatten().tolist() == pytest.approx([0.5, 0.5, 0.4])
    assert torch.equal(refined(scores, attention, 0), scores)
    with pytest.raises(BadInput, match="same grid"):
        refined(scores, torch.ones(4, 2, 2))


def test_a_name_that_the_prompt_lacks_is_refused():
    with pytest.raises(BadInput, match="does not hold the word 'cat'"):
        class_columns(["", "a ", "dog ", ""], ["dog", "cat"])
