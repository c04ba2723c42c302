"""MaskProposals are transformers' own Mask2Former; what classifies the masks is ODISE's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor, SwinConfig

from shiftless.errors import BadInput
from shiftless.tasks.mask2former import MaskProposals, log_scores
from shiftless.tasks.openvocab import combined_classes, mask_pooled, semantic_scores


def test_the_masks_are_those_of_the_whole_model():
    backbone = SwinConfig(image_size=32, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
                          out_features=["stage1", "stage2", "stage3", "stage4"])  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=backbone, feature_size=64, mask_feature_size=64, hidden_dim=64, encoder_feedforward_dim=256,
        dim_feedforward=512, encoder_layers=1, decoder_layers=3, num_queries=5, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    whole = Mask2FormerForUniversalSegmentation(config).eval()
    ours = MaskProposals((8, 16, 32, 64), 3, width=64, queries=5, layers=2).eval()
    ours.parts.pixel_decoder.load_state_dict(whole.model.pixel_level_module.decoder.state_dict())
    ours.parts.transformer.load_state_dict(whole.model.transformer_module.state_dict())
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        levels = whole.model.pixel_level_module.encoder(pixels).feature_maps
        found, expected = ours.proposals(levels), whole(pixels)
    assert len(found.masks) == len(found.classes) == 3
    torch.testing.assert_close(found.masks[-1], expected.masks_queries_logits)


def test_semantic_inference_is_transformers_own():
    draw = torch.Generator().manual_seed(1)
    classes, masks = torch.randn(2, 6, 5, generator=draw), 4 * torch.randn(2, 6, 12, 16, generator=draw)
    outputs = SimpleNamespace(class_queries_logits=classes, masks_queries_logits=masks)
    sizes = [(20, 30), (33, 17)]
    expected = Mask2FormerImageProcessor().post_process_semantic_segmentation(outputs, sizes)
    for i, size in enumerate(sizes):
        scores = semantic_scores(classes, masks, (384, 384))[i : i + 1]  # the size that it goes through
        large = F.interpolate(scores, size, mode="bilinear", align_corners=False)
        assert torch.equal(large[0].argmax(0), expected[i])
    logs = log_scores(classes, masks, (24, 32))
    assert torch.equal(logs.argmax(1), semantic_scores(classes, masks, (24, 32)).argmax(1))


def test_a_mask_goes_to_the_word_that_its_embedding_fits():
    torch.manual_seed(0)
    head = MaskProposals((8, 8, 8), 3, width=64, queries=4, layers=1, words=6).eval()
    words = torch.randn(3, 6)
    head.set_words(words)
    levels = [torch.randn(1, 8, n, n) for n in (8, 4, 2)]
    with torch.no_grad():
        own = head.proposals(levels).classes[-1]
        turned = head.proposals(levels, words[[2, 0]]).classes[-1]
    torch.testing.assert_close(turned, own[..., [2, 0, 3]])  # the last of no class
    assert own.abs().max() <= 1 / 0.07 + 1e-4
    with pytest.raises(BadInput, match=r"words \(3, 5\): this head was made for \(3, 6\)"):
        head.set_words(torch.zeros(3, 5))
    with pytest.raises(BadInput, match=r"words \(2, 5\): give L 6"):
        head.proposals(levels, torch.zeros(2, 5))


def test_two_classifiers_are_joined_by_their_geometric_mean():
    own = torch.tensor([0.6, 0.2, 0.2]).log().view(1, 1, 3)  # the last of no class
    clip = torch.tensor([0.1, 0.9]).log().view(1, 1, 2)
    found = combined_classes(own, clip, torch.tensor([True, False]), alpha=0.5, beta=1.0)[0, 0].exp()
    first, second = (0.75 * 0.1) ** 0.5, 0.9  # of the classes alone the first classifier says 0.75 and 0.25
    expected = torch.tensor([0.8 * first / (first + second), 0.8 * second / (first + second), 0.2])
    torch.testing.assert_close(found, expected)
    alone = combined_classes(own, clip, torch.tensor([True, True]), alpha=0.0)
    torch.testing.assert_close(alone.exp(), own.exp())
    published = combined_classes(own, clip, torch.tensor([True, False]))[0, 0].exp()
    shares = torch.tensor([0.75**0.7 * 0.1**0.3, 0.25**0.3 * 0.9**0.7])
    torch.testing.assert_close(published[:2], 0.8 * shares / shares.sum())
    with pytest.raises(BadInput, match="logits of 2 and of 3 classes"):
        combined_classes(own, torch.zeros(1, 1, 3), torch.ones(3, dtype=torch.bool))


def test_features_are_pooled_where_a_mask_is_and_cells_count_by_their_share():
    features = torch.tensor([[2.0, 6.0]]).view(1, 1, 1, 2)
    masks = torch.tensor([[9.0, 9.0, 9.0, -9.0], [-9.0] * 4]).view(1, 2, 1, 4).expand(-1, -1, 2, -1).requires_grad_()
    pooled = mask_pooled(features, masks)
    torch.testing.assert_close(pooled.flatten(), torch.tensor([(2 + 0.5 * 6) / 1.5, 0.0]))
    assert not pooled.requires_grad


def test_what_it_cannot_be_is_refused():
    with pytest.raises(BadInput, match="width=48: mask2former norms 32 groups of channels; give 64, 96"):
        MaskProposals((8,), 3, width=48)
    with pytest.raises(BadInput, match="queries=0"):
        MaskProposals((8,), 3, width=64, queries=0)
