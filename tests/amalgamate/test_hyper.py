from __future__ import annotations

import pytest
import torch

from shiftless.amalgamate.hyper import Hyper
from shiftless.errors import BadInput


@pytest.fixture
def hyper():
    torch.manual_seed(0)
    return Hyper([6, 4], readings=3, width=32)


def test_shares_begin_equal_and_sum_to_one(hyper):
    torch.testing.assert_close(hyper.shares(), torch.full((2, 3), 1 / 6))
    with torch.no_grad():
        hyper.mixing.copy_(torch.randn(2, 3))
    assert hyper.shares().sum().item() == pytest.approx(1)


def test_the_sum_is_that_of_each_bottleneck_by_its_share(hyper):
    with torch.no_grad():
        hyper.mixing.copy_(torch.randn(2, 3))
    first, second = torch.randn(3, 2, 6, 4, 5), torch.randn(3, 2, 4, 4, 5)
    by_hand = sum(
        hyper.shares()[layer, k] * hyper.bottlenecks[layer](maps[k])
        for layer, maps in enumerate((first, second))
        for k in range(3)
    )
    torch.testing.assert_close(hyper([first, second]), by_hand)
    torch.testing.assert_close(hyper(torch.cat([first, second], 2)), by_hand)


def test_a_share_of_one_leaves_the_rest_out(hyper):
    with torch.no_grad():
        hyper.mixing.copy_(torch.tensor([[50.0, 0, 0], [0, 0, 0]]))
    maps = torch.randn(3, 1, 10, 4, 4)
    torch.testing.assert_close(hyper(maps), hyper.bottlenecks[0](maps[0, :, :6]))


def test_half_precision_and_gradients(hyper):
    maps = torch.randn(3, 1, 10, 5, 4)
    result = hyper(maps.bfloat16())
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, hyper(maps), atol=0.1, rtol=0.1)
    result.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in hyper.parameters())
    assert hyper.mixing.grad.abs().sum() > 0


def test_bad_readings(hyper):
    with pytest.raises(BadInput, match="made for 3"):
        hyper(torch.randn(2, 1, 10, 4, 4))
    with pytest.raises(BadInput, match="1 layers: this module was made for 2"):
        hyper([torch.randn(3, 1, 6, 4, 4)])
    with pytest.raises(BadInput, match="C = 10"):
        hyper(torch.randn(3, 1, 9, 4, 4))
    with pytest.raises(BadInput, match="multiple of 16"):
        Hyper([6], readings=1, width=20)
