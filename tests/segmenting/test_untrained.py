"""GoCA and DiffCut as segmentors, on photos read by the embedded model; and the rows of the tables of scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from miniworld.tables.scene_untrained import DIFFCUT, GOCA, untrained_rows
from miniworld.tables.scenes import ScenePictures
from shiftless.backbones.registry import load
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.image import Frame
from shiftless.segmenting import NormalisedCuts, WordAttention
from shiftless.segmenting.goca import layers_of
from shiftless.taps.names import Tap


@pytest.fixture(scope="module")
def model():
    return load("mini", device="cpu")


def maps_of(tensors, words=()):
    taps = {name: Tap(name, one.shape[1], 8, "") for name, one in tensors.items()}
    return FeatureMaps(tensors, taps, Frame((64, 64), (64, 64)), name="made", words=words)


def test_features_of_two_kinds_are_two_segments_at_the_photos_size(model):
    features = torch.zeros(1, 2, 8, 8)
    features[:, 0, :, :4], features[:, 1, :, 4:] = 1, 1
    parts = NormalisedCuts(model).segment(maps_of({"any": features}))
    assert parts.mask.shape == (64, 64)
    assert (parts.mask[:, :30] == 0).all()
    assert (parts.mask[:, 34:] == 1).all()
    with pytest.raises(BadInput, match="2 taps"):
        NormalisedCuts(model).segment(maps_of({"a": features, "b": features}))


def test_attention_to_two_words_makes_two_classes_whatever_else_takes(model):
    method = WordAttention(model, ["horse", "sky"])
    words = ("", "a ", "photo ", "of ", "horse ", ", ", "sky ", "")
    cross = torch.zeros(1, 8, 8, 8)
    cross[:, 4, 4:], cross[:, 4, :4] = 0.02, 0.01
    cross[:, 6] = 0.001
    cross[:, 6, :4] = 0.002
    cross[:, 0] = 1 - cross[:, 1:].sum(1)
    own = torch.eye(64).view(1, 64, 8, 8)
    dense = torch.cat([cross[:, 4:5], cross[:, 6:7]], 1)
    tensors = {layer + ".cross.map": cross for layer in method.layers}
    tensors |= {layer + ".self.map": own for layer in method.layers}
    parts = method.segment(maps_of({**tensors, method.reference: dense}, words))
    assert (parts.mask[36:] == 0).all()  # the horse gets most everywhere, yet the sky more of its own above
    assert (parts.mask[:28] == 1).all()


def test_rows_are_the_same_for_every_seed_and_none_needs_a_clip(model, tmp_path):
    rows = untrained_rows(model, tmp_path)
    assert set(rows) == {GOCA, DIFFCUT}
    pictures = ScenePictures.drawn("scenes", (1, 1, 1))
    truth = np.count_nonzero(pictures.test[0].mask() < len(pictures.test.classes))
    for name, row in rows.items():
        one, other = row(pictures, 2)
        assert one[0].counts.sum() == truth, name
        assert np.array_equal(one[0].counts, other[0].counts)


def test_a_model_without_words_is_refused_and_has_no_rows(tmp_path):
    model = load("twin:dino-s16", device="cpu")
    with pytest.raises(BadInput, match="no attention to the words"):
        layers_of(model)
    assert untrained_rows(model, tmp_path) == {}
