"""Depth maps come from a transformers model on disk, and their absence is told with the command that fetches one."""

from __future__ import annotations

import pytest
import torch

from shiftless.conditions.depth import _load, depth
from shiftless.errors import BadInput


@pytest.fixture(scope="module")
def estimator(tmp_path_factory):
    from transformers import DPTConfig, DPTForDepthEstimation

    folder = tmp_path_factory.mktemp("dpt")
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
    )  # fmt: skip
    model = DPTForDepthEstimation(config)
    with torch.no_grad():
        model.head.head[4].bias.fill_(1.0)  # random weights alone end below zero, where the last ReLU flattens them
    model.save_pretrained(folder)
    settings = '{"size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.5, 0.5]}'
    (folder / "preprocessor_config.json").write_text(settings)
    return str(folder)


def test_each_image_has_its_own_range_and_size(estimator):
    pixels = torch.rand(2, 3, 40, 56, generator=torch.manual_seed(0)) * 2 - 1
    pixels[1] = torch.linspace(-1, 1, 56).expand(3, 40, 56)
    maps = depth(pixels, estimator)
    assert maps.shape == (2, 3, 40, 56)
    for one in maps:
        assert (float(one.min()), float(one.max())) == pytest.approx((0, 1), abs=1e-5)
        assert torch.equal(one[0], one[1])
    torch.testing.assert_close(depth(pixels[1:], estimator), maps[1:], atol=1e-4, rtol=0)


def test_a_missing_estimator_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("SHIFTLESS_DEPTH", "someone/never-fetched-depth")
    _load.cache_clear()
    with pytest.raises(BadInput, match="shiftless fetch someone/never-fetched-depth"):
        depth(torch.zeros(1, 3, 32, 32))
    with pytest.raises(BadInput, match="not a depth model that can be loaded"):
        depth(torch.zeros(1, 3, 32, 32), str(tmp_path))
