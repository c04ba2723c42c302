"""MaskCLIP as a segmentor: what it says of photos is what its parts say, one after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shiftless.backbones.clip_folder import Cells
from shiftless.errors import BadInput
from shiftless.segmenting.maskclip import MaskClip
from shiftless.segmenting.untrained import check_names, parts_of


class TwoColours:
    """A stand-in of a CLIP whose cells of 4 pixels show red in the first channel, and green in the second."""

    fingerprint = "two colours"

    def words(self, names, templates):
        return torch.stack([torch.eye(3)[{"red": 0, "green": 1, "blue": 2}[name]] for name in names])

    def cells(self, photo):
        mean = photo.array.astype(np.float32).reshape(photo.hw[0] // 4, 4, photo.hw[1] // 4, 4, 3).mean((1, 3))
        dense = torch.from_numpy(mean).permute(2, 0, 1)[None]
        return Cells(dense, dense)


def halves():
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8, 0], pixels[:, 8:, 1] = 200, 200
    return pixels


@pytest.mark.parametrize("options", [{}, {"smooth": True}, {"least": 0.9}])
def test_each_cell_goes_to_the_name_that_fits_it(options):
    method = MaskClip(TwoColours(), ["green", "blue", "red"], **options)
    parts = method.segment(halves())
    assert parts.mask.shape == (8, 16)
    assert (parts.mask[:, :8] == 2).all()
    assert (parts.mask[:, 8:] == 0).all()


def test_a_photo_that_cannot_be_read_is_named_and_left_out(tmp_path):
    method = MaskClip(TwoColours(), ["green", "red"])
    missing = str(tmp_path / "missing.png")
    skipped = []
    assert len(list(method.segmented([missing, halves()], skipped=skipped))) == 1
    assert len(skipped) == 1
    assert "missing.png" in skipped[0]
    with pytest.raises(BadInput, match=r"missing\.png"):
        list(method.segmented([missing]))


def test_its_mark_tells_apart_all_that_changes_an_answer():
    names = ["green", "red"]
    options = [{}, {"smooth": True}, {"least": 0.5}, {"templates": ("{}",)}]
    methods = [MaskClip(TwoColours(), names, **one) for one in options] + [MaskClip(TwoColours(), names[::-1])]
    assert len({one.mark for one in methods}) == 5


def test_uncertainty_is_the_entropy_of_the_softmax():
    parts = parts_of(torch.zeros(3, 2, 2), (4, 4), "a")
    np.testing.assert_allclose(parts.uncertainty, np.log(3), atol=1e-5)


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a"], "1 classes"), (["a", " "], "empty name"), (["a", "b", "a"], "'a' is in the list twice")],
)
def test_names_that_are_none_are_refused(names, message):
    with pytest.raises(BadInput, match=message):
        check_names(names)
