"""Open vocabulary: the decisions of MaskCLIP against cases worked out by hand."""

from __future__ import annotations

import pytest
import torch

from shiftless.errors import BadInput
from shiftless.tasks.openvocab import ABSENT, class_logits, smooth_by_keys, without_absent


def test_logits_are_cosines_whatever_the_lengths():
    dense = torch.tensor([[3.0, 4.0], [0.0, 2.0]]).T.reshape(1, 2, 1, 2)
    names = torch.tensor([[10.0, 0.0], [1.0, 1.0]])
    expected = torch.tensor([[60.0, 0.0], [98.9949, 70.7107]]).view(1, 2, 1, 2)
    torch.testing.assert_close(class_logits(dense, names), expected)
    with pytest.raises(BadInput, match="cells of 2 channels"):
        class_logits(dense, torch.ones(1, 3))


def test_smoothing_is_the_sum_over_cells_by_the_cosine_of_their_keys():
    generator = torch.Generator().manual_seed(0)
    logits, keys = torch.randn(2, 3, 2, 3, generator=generator), torch.randn(2, 5, 2, 3, generator=generator)
    found = smooth_by_keys(logits, keys)
    for b in range(2):
        for i in range(6):
            total = torch.zeros(3)
            for j in range(6):
                a, c = keys[b].flatten(1)[:, i], keys[b].flatten(1)[:, j]
                total += logits[b].flatten(1)[:, j] * (a @ c / (a.norm() * c.norm()))
            torch.testing.assert_close(found[b].flatten(1)[:, i], total)
    with pytest.raises(BadInput, match="the same cells"):
        smooth_by_keys(logits, keys[:, :, :1])


def test_a_class_that_no_cell_is_sure_of_is_never_the_answer():
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0], [4.0, 4.9]]).view(1, 3, 1, 2)
    kept = without_absent(logits, least=0.52)
    assert kept.argmax(1).flatten().tolist() == [0, 1]
    assert (kept[0, 2] == ABSENT).all()
    assert torch.equal(without_absent(logits, least=1.0), logits)  # none is sure: all stay
