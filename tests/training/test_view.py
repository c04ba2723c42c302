"""Views: pixels, labels and features of one part of a photo lie in the same places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftless.metrics.segmentation import IGNORE
from shiftless.training.view import GREY, View, recoloured

H, W = 12, 20
INDEX = np.arange(H * W, dtype=np.uint8).reshape(H, W)  # each pixel has a number of its own


def test_the_whole_photo_is_itself_and_mirrored_the_other_way():
    whole = View(0, 0, 1, 1)
    square = INDEX[:, :H]
    assert np.array_equal(whole.labels(square, H), square)
    assert np.array_equal(View(0, 0, 1, 1, True).labels(square, H), square[:, ::-1])
    maps = torch.randn(3, 2, 8, 8)
    assert torch.allclose(whole.features(maps, 8), maps, atol=1e-5)
    assert torch.allclose(View(0, 0, 1, 1, True).features(maps, 8), maps.flip(-1), atol=1e-5)
    photo = np.random.default_rng(0).integers(0, 256, (H, H, 3), dtype=np.uint8)
    assert np.array_equal(whole.picture(photo, H), photo)
    assert np.array_equal(View(0, 0, 1, 1, True).picture(photo, H), photo[:, ::-1])


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_pixels_labels_and_features_agree(seed):
    """A photo of one colour a half, its mask, and a feature that is 1 in the right half."""
    mask = np.zeros((H, W), np.uint8)
    mask[:, W // 2 :] = 1
    photo = np.repeat(mask[..., None] * 255, 3, 2)
    maps = torch.from_numpy(mask.astype(np.float32))[None, None]
    view = View.draw((H, W), np.random.default_rng(seed), (0.5, 2.0))
    labels, seen = view.labels(mask, 24), view.features(maps, 24)[0, 0].numpy()
    picture = view.picture(photo, 24)[..., 0] / 255
    known = labels != IGNORE
    assert (np.abs(seen - labels)[known] < 0.5 + 1e-4).all()
    sure = known & ((picture < 0.1) | (picture > 0.9))  # not where two colours meet
    assert ((picture > 0.5) == (labels == 1))[sure].all()
    beyond = view.picture(photo, 24)[~known]
    if view.left < -0.1 and len(beyond):
        assert (beyond == GREY).all(1).mean() > 0.7  # but for the rim, which is rounded to pixels


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([(1.0, 1.0), (0.5, 0.5), (2.0, 2.0)]))
def test_a_window_is_square_and_lies_as_it_should(seed, scales):
    view = View.draw((H, W), np.random.default_rng(seed), scales, flip=False)
    assert view.width * W == pytest.approx(view.height * H)
    assert view.height == pytest.approx(1 / scales[0])
    for start, length in ((view.top, view.height), (view.left, view.width)):
        low, high = min(0.0, 1 - length), max(0.0, 1 - length)
        assert low - 1e-9 <= start <= high + 1e-9
    assert not view.mirrored


def test_beyond_the_photo_nothing_is_labelled():
    view = View(-0.5, 0, 2, 1)
    labels = view.labels(np.ones((H, H), np.uint8), 8)
    assert labels.tolist() == [[IGNORE] * 2 + [1] * 4 + [IGNORE] * 2] * 8
    picture = view.picture(np.full((H, H, 3), 7, np.uint8), 8)
    assert (picture[:, [0, 1, 6, 7]] == GREY).all()
    assert (picture[:, 2:6] == 7).all()


def test_a_view_of_one_class_alone_is_drawn_again():
    mask = np.zeros((40, 40), np.uint8)
    mask[:, :6] = 1
    shares = []
    for most in (1.0, 0.75):
        views = [View.balanced(mask, np.random.default_rng(i), (4.0, 4.0), most=most) for i in range(40)]
        shares.append(np.mean([len(np.unique(view.labels(mask, 16))) > 1 for view in views]))
    assert shares[0] < 0.4 < shares[1]


def test_colours_vary_and_shapes_stay():
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    made = [recoloured(picture, np.random.default_rng(seed)) for seed in range(12)]
    assert {one.shape for one in made} == {picture.shape}
    assert {one.dtype for one in made} == {np.dtype(np.uint8)}
    assert len({one.tobytes() for one in made}) > 6
    assert np.array_equal(made[3], recoloured(picture, np.random.default_rng(3)))
