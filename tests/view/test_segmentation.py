"""Masks read back equal, colours lie where their classes do, and scales say what they show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from shiftless.errors import BadInput
from shiftless.view.segmentation import (
    indexed_png,
    overlay,
    region_borders,
    segmented,
    uncertainty_end,
    uncertainty_picture,
)

PALETTE = np.array([(90, 90, 90), (200, 0, 0), (0, 0, 200)], np.uint8)
CLASSES = ("ground", "ear", "mane")
GREY = np.full((8, 8, 3), 100, np.uint8)


def halves(left: int = 1, right: int = 2) -> np.ndarray:
    mask = np.full((8, 8), left, np.uint8)
    mask[:, 4:] = right
    return mask


@settings(max_examples=50)
@given(st.data())
def test_any_mask_reads_back_equal_with_its_colours(tmp_path_factory, data):
    count = data.draw(st.sampled_from([1, 2, 3, 16, 34, 255]))
    values = st.integers(0, count - 1) | st.just(255)
    mask = data.draw(arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=values))
    palette = np.stack([np.arange(count), 255 - np.arange(count), np.full(count, 7)], 1).astype(np.uint8)
    path = indexed_png(mask, palette, tmp_path_factory.getbasetemp() / "mask.png")
    with Image.open(path) as picture:
        assert (picture.mode, picture.format) == ("P", "PNG")
        np.testing.assert_array_equal(np.array(picture), mask)
        colours = np.array(picture.convert("RGB"))
    expected = np.full((256, 3), 255, np.uint8)
    expected[:count] = palette
    np.testing.assert_array_equal(colours, expected[mask])


@pytest.mark.parametrize(
    ("mask", "palette", "name", "message"),
    [
        ([[3, 7]], PALETTE, "a.png", r"a\.png: holds the values 3, 7; give class numbers from 0 to 2, or 255"),
        ([[-1]], PALETTE, "a.png", "values -1"),
        ([[0.5]], PALETTE, "a.png", "float64; give H W class numbers"),
        (np.zeros((0, 4), int), PALETTE, "a.png", "give H W class numbers"),
        ([[0]], PALETTE, "a.jpg", r"end the name in \.png"),
        ([[0]], PALETTE[0], "a.png", "give 1 to 255 colours"),
        ([[0]], np.zeros((256, 3), int), "a.png", "give 1 to 255 colours"),
        ([[0]], [(0, 0, 256)], "a.png", "from 0 to 256: give whole numbers"),
    ],
)
def test_masks_that_cannot_be_written_are_refused_and_nothing_is(mask, palette, name, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        indexed_png(mask, palette, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_an_overlay_mixes_by_hand_and_leaves_unlabelled_pixels():
    mask = halves(1, 255)
    drawn = overlay(GREY, mask, PALETTE, alpha=0.75, edges=False)
    assert drawn[3, 2].tolist() == [175, 25, 25]
    np.testing.assert_array_equal(drawn[:, 4:], GREY[:, 4:])
    np.testing.assert_array_equal(overlay(GREY, halves(), PALETTE, alpha=0, edges=False), GREY)
    np.testing.assert_array_equal(overlay(GREY, halves(), PALETTE, alpha=1, edges=False), PALETTE[halves()])


def test_borders_stand_between_regions_and_never_on_unlabelled_pixels():
    drawn = overlay(GREY, halves(), PALETTE)
    dark = (drawn == 20).all(2)
    assert dark[:, 3].all()
    assert dark.sum() == 8
    for mask in (halves(1, 255), halves(255, 1)):
        border = region_borders(mask)
        assert border.sum() == 8
        assert not (border & (mask == 255)).any()
        np.testing.assert_array_equal(overlay(GREY, mask, PALETTE)[mask == 255], GREY[mask == 255])
    assert not region_borders(np.ones((8, 8), np.uint8)).any()


def test_borders_of_large_photos_are_thicker():
    mask = np.ones((960, 960), np.uint8)
    mask[:, 480:] = 2
    assert region_borders(mask).sum(1).tolist() == [2] * 960


def test_uncertainty_is_brighter_where_it_is_higher_and_on_one_scale():
    doubt = np.linspace(0, 1, 64).reshape(8, 8)
    light = uncertainty_picture(GREY, doubt, 1.0).astype(int).sum(2).ravel()
    assert (np.diff(light) >= -6).all()  # grows but for rounding
    assert light[-1] > 1.5 * light[0]
    half = uncertainty_picture(GREY, doubt / 2, 1.0).astype(int).sum(2).ravel()
    assert half[-1] < light[-1]
    np.testing.assert_array_equal(
        uncertainty_picture(GREY, doubt), uncertainty_picture(GREY, doubt, uncertainty_end(doubt))
    )


def test_what_is_certain_everywhere_is_not_drawn_as_if_in_doubt():
    certain = uncertainty_picture(GREY, np.full((8, 8), 1e-7))
    np.testing.assert_array_equal(certain, uncertainty_picture(GREY, np.zeros((8, 8))))


@pytest.mark.parametrize(
    ("doubt", "most", "message"),
    [
        (np.zeros((4, 4)), None, "give H W of the photo's size"),
        (np.full((8, 8), np.nan), None, "not finite"),
        (np.full((8, 8), -0.1), None, "below 0"),
        (np.zeros((8, 8)), 0.0, "most=0"),
        (np.zeros((8, 8)), np.inf, "most=inf"),
    ],
)
def test_uncertainties_that_cannot_be_drawn_are_refused(doubt, most, message):
    with pytest.raises(BadInput, match=message):
        uncertainty_picture(GREY, doubt, most)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_segmented_photo_shows_its_pictures_in_order(theme):
    doubt = np.zeros((8, 8))
    doubt[:, 4:] = 0.5
    picture = segmented(GREY, halves(1, 1), doubt, CLASSES, PALETTE, truth=halves(2, 2), height=140, theme=theme)
    array = np.array(picture).astype(int)
    middles = [26 + 70 + 154 * i for i in range(4)]
    row = array[80:180]  # within the pictures, which lie below a line of titles
    photo, truth, parts, heat = (row[:, x - 50 : x + 50] for x in middles)
    assert np.ptp(photo) == 0
    assert (truth[..., 2] > truth[..., 0] + 60).all()
    assert (parts[..., 0] > parts[..., 2] + 60).all()
    assert heat[:, 60:].sum() > 1.3 * heat[:, :40].sum()


def test_a_segmented_photo_names_the_classes_that_are_there_and_what_is_unlabelled():
    doubt = np.zeros((8, 8))
    one, both = (segmented(GREY, halves(1, k), doubt, CLASSES, PALETTE, height=60) for k in (1, 2))
    blue = [(np.array(picture) == (0, 0, 200)).all(2).sum() for picture in (one, both)]
    assert blue[0] == 0 < 150 < blue[1]
    truth = segmented(GREY, halves(1, 1), doubt, CLASSES, PALETTE, truth=halves(1, 2), height=60)
    assert (np.array(truth) == (0, 0, 200)).all(2).sum() > 150
    none = segmented(GREY, halves(255, 255), doubt, CLASSES, PALETTE, height=60)
    assert (np.array(none) == (200, 0, 0)).all(2).sum() == 0


def test_a_long_legend_takes_the_place_below_the_scale_of_a_narrow_photo():
    names = tuple(f"part number {k}" for k in range(16))
    mask = np.arange(64, dtype=np.uint8).reshape(8, 8) % 16
    tall = [one.repeat(4, 0) for one in (GREY, mask, np.zeros((8, 8)))]
    palette = np.arange(48).reshape(16, 3)
    picture = segmented(*tall, names, palette, height=240)
    assert picture.width == 600
    assert picture.height < 240 + 16 * 27  # which one column would take


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": np.zeros((8, 9), np.uint8)}, "mask: is 9 x 8 pixels, the photo 8 x 8"),
        ({"truth": np.full((8, 8), 9, np.uint8)}, "truth: holds the values 9"),
        ({"classes": ("one",)}, "give 1 colours"),
        ({"theme": "sepia"}, "theme"),
    ],
)
def test_what_does_not_fit_the_photo_is_refused(changes, message):
    given = {"photo": GREY, "mask": halves(), "uncertainty": np.zeros((8, 8)), "classes": CLASSES, "palette": PALETTE}
    with pytest.raises(BadInput, match=message):
        segmented(**{**given, **changes})
