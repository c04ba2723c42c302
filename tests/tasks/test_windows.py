"""Windows: they cover a photo, and their answers are put together where they belong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.image import Frame, open_photo
from shiftless.taps.names import Tap
from shiftless.tasks.levels import Levels
from shiftless.tasks.scenehead import SceneHead
from shiftless.tasks.windows import shorter_side, slide, windows


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(1, 20), st.data())
def test_windows_cover_every_pixel_and_stay_inside(hw, side, data):
    stride = data.draw(st.integers(max(1, side // 3), side))
    covered = np.zeros(hw, int)
    for top, left, bottom, right in windows(hw, side, stride):
        assert 0 <= top < bottom <= hw[0]
        assert 0 <= left < right <= hw[1]
        assert (bottom - top, right - left) == (min(side, hw[0]), min(side, hw[1]))
        covered[top:bottom, left:right] += 1
    assert covered.min() >= 1


def test_a_square_photo_of_the_window_s_size_is_one_window():
    assert windows((64, 64), 64, 64) == [(0, 0, 64, 64)]
    with pytest.raises(BadInput, match="stride=65: windows of 64 pixels need a stride from 1 to 64"):
        windows((64, 64), 64, 65)


def coloured(pictures):
    """A reader whose only feature is how red a pixel is."""
    for one in pictures:
        value = torch.tensor(one.array[None, None, :, :, 0] / 255.0).float()
        yield [FeatureMaps({"red": value}, {"red": Tap("red", 1, 1, "")}, Frame(one.hw, one.hw), name=one.name)]


@pytest.fixture(scope="module")
def red() -> SceneHead:
    """A head that finds class 1 where it is redder than half."""
    head = SceneHead(Levels(1, (("red", 1, 1),)), ["dark", "red"], "linear")
    with torch.no_grad():
        head.decoder.layers[0].weight[:, 0, 0, 0] = torch.tensor([0.0, 10.0])
        head.decoder.layers[0].bias[:] = torch.tensor([0.0, -5.0])
    return head.eval()


@pytest.mark.parametrize("stride", [16, 7])
def test_the_pieces_are_put_together_where_they_were_cut_out(red, stride):
    pixels = np.zeros((16, 44, 3), np.uint8)
    pixels[3:9, 20:37, 0] = 255
    parts = slide(red, open_photo(pixels, "a.jpg"), coloured, side=16, stride=stride)
    assert np.array_equal(parts.mask, pixels[..., 0] > 0)
    assert parts.name == "a.jpg"
    whole = red.predict(next(coloured([open_photo(pixels)])))
    assert np.allclose(parts.uncertainty, whole.uncertainty, atol=1e-5)


def test_a_photo_is_scaled_by_its_shorter_side_and_answered_at_its_own_size(red):
    photo = open_photo(np.zeros((32, 88, 3), np.uint8), "a.jpg")
    assert shorter_side(photo, 16).hw == (16, 44)
    assert shorter_side(photo, 32) is photo
    assert slide(red, photo, coloured, side=16, stride=16).mask.shape == (32, 88)
