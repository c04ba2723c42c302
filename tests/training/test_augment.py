"""Views of a photo and its mask: the same place of both, and nothing that was not there."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftless.metrics.segmentation import IGNORE
from shiftless.training.augment import augmented

SIDES = st.integers(8, 40)


def quarters(h, w):
    """A photo of four plain colours, and its mask of four classes."""
    mask = np.zeros((h, w), np.uint8)
    mask[h // 2 :] += 2
    mask[:, w // 2 :] += 1
    return np.stack([mask * 60, mask * 0, 255 - mask * 60], -1), mask


@settings(max_examples=20)
@given(SIDES, SIDES, st.integers(0, 999))
def test_photo_and_mask_stay_together(h, w, seed):
    photo, mask = quarters(h, w)
    view, labels = augmented(photo, mask, 32, np.random.default_rng(seed))
    assert view.shape == (32, 32, 3)
    assert labels.shape == (32, 32)
    assert (view.dtype, labels.dtype) == (np.uint8, np.uint8)
    assert set(np.unique(labels)) <= {0, 1, 2, 3, IGNORE}
    assert (labels != IGNORE).any()
    assert (view[labels == IGNORE] == (124, 116, 104)).all()
    known = labels != IGNORE
    exact = (view[..., 0] == labels * 60) & (view[..., 2] == 255 - labels * 60)
    borders = np.zeros((32, 32), bool)  # where the photo was enlarged, colours mix across a border
    for axis in (0, 1):
        change = np.diff(labels.astype(int), axis=axis) != 0
        for step in range(-3, 4):
            borders |= np.roll(np.pad(change, [(0, axis == 0), (0, axis == 1)]), step, axis)
    assert exact[known & ~borders].all()


def test_scale_and_place_and_side_are_drawn():
    photo, mask = quarters(20, 40)
    views = [augmented(photo, mask, 32, np.random.default_rng(seed)) for seed in range(200)]
    shares = np.array([(labels != IGNORE).mean() for _, labels in views])
    assert shares.min() < 0.2  # half as large: a quarter of the area, of which half is photo
    assert shares.max() == 1.0
    mirrored = [labels[:, -1].min() < labels[:, 0].min() for _, labels in views if (labels[0] != IGNORE).all()]
    assert 0.1 < np.mean(mirrored) < 0.9
    plain = [augmented(photo, mask, 32, np.random.default_rng(seed), flip=False)[1] for seed in range(50)]
    known = [[row for row in labels.T if (row != IGNORE).any()] for labels in plain]
    assert all(rows[0].min() <= rows[-1].min() for rows in known)


def test_at_a_scale_of_one_a_square_photo_comes_back():
    photo, mask = quarters(32, 32)
    view, labels = augmented(photo, mask, 32, np.random.default_rng(0), scales=(1.0, 1.0), flip=False)
    assert (view == photo).all()
    assert (labels == mask).all()
