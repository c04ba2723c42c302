"""UperNet is transformers' own: equal answers with equal weights."""

from __future__ import annotations

import pytest
import torch
from transformers import ResNetConfig, UperNetConfig, UperNetForSemanticSegmentation

from shiftless.errors import BadInput
from shiftless.tasks.upernet import UperNet

SIZES = (4, 8, 8)


@pytest.fixture(scope="module")
def whole():
    """A whole UperNetForSemanticSegmentation of a tiny ResNet, in training mode."""
    backbone = ResNetConfig(embedding_size=4, hidden_sizes=list(SIZES), depths=[1, 1, 1], layer_type="basic",
                            out_features=["stage1", "stage2", "stage3"])  # fmt: skip
    config = UperNetConfig(backbone_config=backbone, hidden_size=6, pool_scales=[1, 2, 3], num_labels=5,
                           auxiliary_channels=6)  # fmt: skip
    torch.manual_seed(0)
    model = UperNetForSemanticSegmentation(config)
    model.auxiliary_head.in_index = 1
    return model


def test_it_answers_as_the_whole_model_does(whole):
    ours = UperNet(SIZES, 5, width=6)
    ours.main.load_state_dict(whole.decode_head.state_dict())
    ours.auxiliary.load_state_dict(whole.auxiliary_head.state_dict())
    whole.train()
    pixels = torch.randn(2, 3, 32, 48)
    levels = whole.backbone(pixels).feature_maps
    main, auxiliary = ours(levels)
    assert torch.equal(main, whole.decode_head(levels))
    assert torch.equal(auxiliary, whole.auxiliary_head(levels))
    assert (tuple(main.shape), tuple(auxiliary.shape)) == ((2, 5, 8, 12), (2, 5, 4, 6))
    ours.eval(), whole.eval()
    levels = whole.backbone(pixels).feature_maps
    logits = torch.nn.functional.interpolate(ours(levels)[0], (32, 48), mode="bilinear", align_corners=False)
    whole.decode_head.load_state_dict(ours.main.state_dict())  # with the statistics of one batch
    assert torch.allclose(logits, whole(pixels).logits, atol=1e-5)
    assert ours(levels)[1] is None


def test_one_level_is_enough_and_one_picture_is_not():
    one = UperNet((8,), 3, width=4)
    assert [tuple(answer.shape) for answer in one([torch.randn(2, 8, 4, 6)])] == [(2, 3, 4, 6)] * 2
    with pytest.raises(BadInput, match="a batch of one picture"):
        one([torch.randn(1, 8, 4, 6)])
    assert one.eval()([torch.randn(1, 8, 4, 6)])[0].shape == (1, 3, 4, 6)
