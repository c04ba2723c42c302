"""The Lovász-softmax loss against hand-worked cases, the Jaccard loss it extends, and finite differences."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE, Confusion
from shiftless.training.lovasz import jaccard_steps, lovasz_softmax


def test_steps_by_hand():
    """Of four pixels two are of the class; in order of their errors: other, class, class, other."""
    losses = [Fraction(1, 3), Fraction(2, 3), Fraction(1), Fraction(1)]  # 1 - 2/3, 1 - 1/3, 1 - 0/3, 1 - 0/4
    steps = [float(b - a) for a, b in zip([Fraction(0), *losses], losses)]
    assert jaccard_steps(torch.tensor([False, True, True, False])).tolist() == pytest.approx(steps)


def test_loss_by_hand():
    """Shares of class 1 of three pixels labelled 1, 1, 0: 0.9, 0.4, 0.2."""
    shares = torch.tensor([0.9, 0.4, 0.2])
    logits = torch.stack([(1 - shares).log(), shares.log()])[None, :, None]
    # class 1: errors 0.6 (there), 0.2 (not), 0.1 (there), losses 1/2, 2/3, 1
    # class 0: errors 0.6 (not), 0.2 (there), 0.1 (not), losses 1/2, 1, 1
    one = 0.6 * (1 / 2) + 0.2 * (2 / 3 - 1 / 2) + 0.1 * (1 - 2 / 3)
    zero = 0.6 * (1 / 2) + 0.2 * (1 - 1 / 2) + 0.1 * (1 - 1)
    assert float(lovasz_softmax(logits, torch.tensor([[[1, 1, 0]]]))) == pytest.approx((one + zero) / 2)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_of_sure_answers_it_is_one_minus_the_mean_iou_of_the_labelled_classes(seed):
    draw = torch.Generator().manual_seed(seed)
    labels, found = (torch.randint(0, 4, (2, 3, 4), generator=draw) for _ in range(2))
    labels[torch.rand(2, 3, 4, generator=draw) < 0.2] = IGNORE
    logits = 200.0 * torch.nn.functional.one_hot(found, 4).movedim(-1, 1)
    counted = Confusion(4).add(labels.flatten(1).numpy(), found.flatten(1).numpy())
    labelled = counted.totals()[1] > 0
    expected = 1 - counted.ious()[labelled].mean() if labelled.any() else 0
    assert float(lovasz_softmax(logits, labels)) == pytest.approx(expected, abs=1e-5)


def test_its_gradient_is_that_of_finite_differences():
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(1, 3, 2, 3, generator=draw).requires_grad_()
    labels = torch.tensor([[[0, 1, 2], [2, IGNORE, 1]]])
    (gradient,) = torch.autograd.grad(lovasz_softmax(logits, labels), logits)
    step, flat = 1e-3, logits.detach().flatten()
    for i in range(flat.numel()):
        moved = [flat.clone() for _ in range(2)]
        moved[0][i] += step
        moved[1][i] -= step
        up, down = (float(lovasz_softmax(one.view_as(logits), labels)) for one in moved)
        assert (up - down) / (2 * step) == pytest.approx(float(gradient.flatten()[i]), abs=2e-3)
    assert gradient[:, :, 1, 1].abs().max() == 0  # the pixel without a label


def test_without_labels_it_is_zero_and_has_a_gradient():
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)
    loss = lovasz_softmax(logits, torch.full((1, 2, 2), IGNORE))
    loss.backward()
    assert (float(loss.detach()), float(logits.grad.abs().max())) == (0, 0)
    with pytest.raises(BadInput, match=r"logits \(1, 2, 2, 2\) and labels \(1, 2, 3\)"):
        lovasz_softmax(logits, torch.zeros(1, 2, 3))
