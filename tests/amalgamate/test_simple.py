from __future__ import annotations

import numpy as np
import pytest
import torch

from shiftless.amalgamate.simple import Concat, Mean
from shiftless.errors import BadInput


def test_mean_of_one_is_itself_and_half_precision_adds_up_in_single():
    one = torch.randn(1, 2, 3, 4, 5)
    assert torch.equal(Mean(3)(one), one[0])
    many = torch.full((300, 1, 3, 1, 1), 1 / 3, dtype=torch.bfloat16)
    torch.testing.assert_close(Mean(3)(many), many[0].float())


def test_concat_keeps_readings_in_order():
    readings = torch.arange(12.0).view(3, 1, 4, 1, 1)
    assert Concat(3, 4)(readings).flatten().tolist() == list(range(12))


def test_pca_agrees_with_numpy_and_has_no_sign_of_its_own():
    torch.manual_seed(0)
    readings = torch.randn(2, 3, 4, 6, 5) * torch.tensor([4.0, 1, 2, 0.5]).view(4, 1, 1)
    concat = Concat(2, 4, components=3).fit(readings)
    flat = readings.permute(1, 3, 4, 0, 2).reshape(-1, 8).numpy()
    values, axes = np.linalg.eigh(np.cov(flat.T))
    for ours, theirs in zip(concat.axes.numpy(), axes.T[::-1]):
        assert abs(ours @ theirs) == pytest.approx(1, abs=1e-4)
        assert ours[np.abs(ours).argmax()] > 0
    projected = concat(readings).movedim(1, -1).reshape(-1, 3)
    torch.testing.assert_close(projected.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    assert projected.var(0).tolist() == pytest.approx(values[::-1][:3].tolist(), rel=1e-3)
    again = Concat(2, 4, components=3).fit(readings)
    assert torch.equal(again.axes, concat.axes)


def test_bad_readings_and_components():
    with pytest.raises(BadInput, match="made for 3"):
        Concat(3, 4)(torch.randn(2, 1, 4, 2, 2))
    with pytest.raises(BadInput, match="give 1 to 12"):
        Concat(3, 4, components=13)
    with pytest.raises(BadInput, match="needs as many or more"):
        Concat(3, 4, components=5).fit(torch.randn(3, 1, 4, 2, 2))
    with pytest.raises(BadInput, match="C = 4"):
        Mean(4)(torch.randn(3, 1, 5, 2, 2))
