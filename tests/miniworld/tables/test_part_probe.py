"""The probe of parts: it finds what is linear in the features, not what is not there, and counts as IoU is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from miniworld.tables.part_probe import PartProbe

RNG = np.random.default_rng(0)


def pictures(n):
    for _ in range(n):
        yield RNG.integers(0, 3, (8, 8)).astype(np.uint8).repeat(4, 0).repeat(4, 1)


def features_of(parts, noise):
    cells = (
        torch.nn.functional.one_hot(torch.from_numpy(parts[::4, ::4].astype(np.int64)), 3)
        .permute(2, 0, 1)[None]
        .float()
    )
    return cells + noise * torch.randn(cells.shape, generator=torch.Generator().manual_seed(int(parts.sum())))


def scored(noise):
    probe = PartProbe(3)
    for parts in pictures(6):
        probe.learn(features_of(parts, noise), parts)
    for parts in pictures(4):
        probe.score(features_of(parts, noise), parts)
    return probe.miou()


def test_clear_features_tell_the_parts_and_noise_tells_nothing():
    assert scored(0.05) > 0.8
    assert scored(100.0) < 0.35


def test_iou_is_pooled_over_pictures_and_absent_labels_do_not_count():
    probe = PartProbe(4)
    slope = torch.linspace(-1, 1, 8).expand(1, 1, 8, 8)
    halves = (np.arange(8) >= 4).astype(np.uint8)[None].repeat(8, 0)
    probe.learn(slope, halves)
    probe.score(slope, halves)
    assert probe.miou() == 1.0  # labels 2 and 3 were neither there nor found
    probe.score(slope, np.zeros((8, 8), np.uint8))
    assert probe.miou() == pytest.approx(((32 + 32) / (32 + 64) + 32 / 64) / 2)


def test_what_is_scored_before_anything_is_learned_is_an_error():
    with pytest.raises(AssertionError):
        PartProbe(2).score(torch.zeros(1, 1, 4, 4), np.zeros((4, 4), np.uint8))
