"""What needs no model scores by hand, and rows say what the counts say."""

import numpy as np
import pytest

from shiftless.bench.parts import colour_and_position, commonest, gain_of, rows_of, without_model
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.image import open_photo
from shiftless.metrics.segmentation import Confusion

PALETTE = np.array([[0, 0, 0], [255, 0, 0]], np.uint8)


def photos(*halves):
    """16 x 16 photos: a half is labelled 1, and is bright."""
    made = []
    for i, half in enumerate(halves):
        mask = np.zeros((16, 16), np.uint8)
        mask[:, :8] = half == "left"
        mask[:, 8:] = half == "right"
        pixels = np.repeat(mask[..., None] * 200 + 20, 3, 2).astype(np.uint8)
        made.append(LabelledPhoto(f"{i}", pixels, f"{i}.png", mask, 2))
    return LabelledPhotos(tuple(made), ("ground", "thing"), PALETTE)


def test_the_commonest_class_of_each_place():
    counted = commonest(photos("left", "left", "right"), photos("left", "right"))
    assert [one.pixel_accuracy() for one in counted] == [1.0, 0.0]


def test_colours_and_positions_are_read_where_they_are():
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 20:] = 255
    maps = colour_and_position(open_photo(pixels), side=4)
    assert maps["colour"][0, 0].tolist() == [[-1.0, -1.0, 1.0, 1.0]] * 2
    assert maps["position"][0, 0, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert maps["position"][0, 1, :, 0].tolist() == [-0.5, 0.5]


def test_a_head_on_colours_learns_what_colours_give_away():
    test = photos("left", "right")
    scores = {
        name: sum(counted[1:], counted[0]).miou()
        for name, counted in without_model(photos("left", "right"), test, members=2, layers=(8, 8))
    }
    by_place, by_colour = scores.values()
    assert by_colour > 0.95 > by_place


def test_rows_and_gains_by_hand():
    right, wrong = (Confusion(2).add(np.array([[0, 1]]), np.array([[0, found]])) for found in (1, 0))
    rows = {row.metric: row for row in rows_of("ours", [right, wrong])}
    assert rows["mIoU"].value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (rows["pixel accuracy"].value, rows["mean accuracy"].value) == (0.75, 0.75)
    assert rows["mIoU"].ci95 == (pytest.approx(0.25), 1.0)  # both photos wrong, both right
    gain = gain_of("ours - theirs", [right, right], [wrong, wrong])
    assert (gain.value, gain.ci95, gain.is_gain) == (0.75, (0.75, 0.75), True)
