"""What the model is fed is what the references feed, and coordinates come back to the original's pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shiftless.errors import BadInput
from shiftless.image import Frame, open_photo, plan, to_pixels, to_uint8

# ---- feeding


def test_the_squashed_golden_is_equal_bit_for_bit(goldens):
    photo = open_photo(goldens / "input_180x150.png")
    fed = to_uint8(to_pixels(photo, plan(photo.hw, 128, 64, "squash")))[0]
    np.testing.assert_array_equal(fed, np.asarray(Image.open(goldens / "input_180x150_as_fed.png").convert("RGB")))


def test_pixels_are_what_the_reference_codes_feed(picture):
    photo = open_photo(picture)
    pixels = to_pixels(photo, Frame(photo.hw, photo.hw))
    assert pixels.shape == (1, 3, 24, 40)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    expected = 2.0 * (picture.astype(np.float32) / 255.0) - 1.0
    np.testing.assert_array_equal(pixels[0].permute(1, 2, 0).numpy(), expected)


def test_all_levels_survive_the_way_there_and_back():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    photo = open_photo(levels)
    pixels = to_pixels(photo, Frame(photo.hw, photo.hw))
    np.testing.assert_array_equal(to_uint8(pixels)[0], levels)
    np.testing.assert_array_equal(open_photo(pixels).array, levels)
    assert (to_uint8(torch.full((2, 3, 1, 1), 7.0)) == 255).all()
    with pytest.raises(BadInput, match="not finite"):
        to_uint8(torch.full((1, 3, 1, 1), float("nan")))


def test_a_frame_of_another_photo_is_refused(picture):
    with pytest.raises(BadInput, match=r"frame is for \(9, 9\), the photo is \(24, 40\)"):
        to_pixels(open_photo(picture), Frame((9, 9), (8, 8)))


def test_plans_by_hand():
    assert plan((512, 512), 512, 64).fed == (512, 512)
    assert plan((150, 180), 128, 8).fed == (104, 128)  # 106.67 is nearer to 104
    assert plan((150, 180), 100, 64).fed == (128, 128)  # 100 rounds to 128, 106.67 too
    assert plan((10, 1000), 512, 64).fed == (64, 512)  # at least one multiple
    assert plan((3, 4), 32, 16).fed == (32, 32)  # 24 is half way and goes up
    assert plan((150, 180), 130, 64, "squash").fed == (128, 128)
    with pytest.raises(BadInput, match="fit='pad': must be one of aspect, squash"):
        plan((9, 9), 64, 8, "pad")


sides = st.integers(8, 5000)


@given(sides, sides, st.integers(16, 2048), st.sampled_from([1, 8, 14, 16, 64]), st.sampled_from(["aspect", "squash"]))
def test_plans_keep_their_promises(h, w, size, multiple, fit):
    frame = plan((h, w), size, multiple, fit)
    assert frame.original == (h, w)
    assert all(side >= multiple and side % multiple == 0 for side in frame.fed)
    assert abs(max(frame.fed) - size) <= max(multiple / 2, multiple - size)
    if fit == "aspect":
        exact = max(frame.fed) / max(h, w)
        for fed, side in zip(frame.fed, (h, w)):
            assert fed == multiple or abs(fed - side * exact) <= multiple / 2


# ---- coordinates

fractions = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5)
frames = st.builds(lambda h, w, fh, fw: Frame((h, w), (fh, fw)), sides, sides, sides, sides)


@given(frames, fractions, st.tuples(st.integers(1, 200), st.integers(1, 200)))
def test_points_come_back_and_stay_inside(frame, unit, grid):
    h, w = frame.original
    points = np.minimum(np.asarray(unit) * (w, h), (w, h))
    for there, back in [
        (frame.to_fed(points), frame.to_original),
        (frame.to_unit(points), frame.from_unit),
        (frame.to_grid(points, grid), lambda p: frame.from_grid(p, grid)),
    ]:
        np.testing.assert_allclose(back(there), points, rtol=1e-12, atol=1e-300)
    frame.check_points(frame.to_original(np.minimum(frame.to_fed(points), frame.fed[::-1])))
    np.testing.assert_array_equal(frame.to_fed([(w, h)]), [frame.fed[::-1]])
    np.testing.assert_array_equal(frame.to_unit([(w, h)]), [(1, 1)])


@given(frames, fractions)
def test_points_do_not_depend_on_their_batch(frame, unit):
    together = frame.to_fed(unit)
    for i, point in enumerate(unit):
        np.testing.assert_array_equal(frame.to_fed([point]), together[i : i + 1])


def test_coordinates_by_hand():
    frame = Frame(original=(100, 300), fed=(64, 128))
    np.testing.assert_allclose(frame.to_fed([(150, 25)]), [(64, 16)])
    np.testing.assert_allclose(frame.to_unit([(150, 25)]), [(0.5, 0.25)])
    np.testing.assert_allclose(frame.from_grid([(0.5, 0.5)], (4, 6)), [(25, 12.5)])  # the centre of the first cell
    np.testing.assert_allclose(frame.to_grid([(25, 12.5)], (4, 6)), [(0.5, 0.5)])


def test_the_rule_is_the_one_that_resizing_follows():
    tall = np.zeros((64, 96, 3), np.uint8)
    tall[40:48, 20:28] = 255  # a square whose centre is (24, 44)
    photo = open_photo(tall)
    frame = Frame(photo.hw, (32, 24))
    bright = to_pixels(photo, frame)[0, 0].numpy().astype(float) + 1
    ys, xs = np.mgrid[:32, :24] + 0.5
    centre = ((xs * bright).sum() / bright.sum(), (ys * bright).sum() / bright.sum())
    np.testing.assert_allclose(frame.to_original([centre]), [(24, 44)], atol=0.15)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([(1, 1), (float("nan"), 2)], r"a.jpg: point 1 \(nan, 2\) is not finite"),
        ([(float("inf"), 2)], r"point 0 \(inf, 2\) is not finite"),
        ([(1, 1), (3, 3), (41, 2)], r"point 2 \(41, 2\) is outside the image; x goes from 0 to 40, y from 0 to 24"),
        ([(1, -0.5)], r"point 0 \(1, -0.5\) is outside"),
        ([], "at least one"),
        ((1, 2), r"shape \(2,\)"),
        ([(1, 2, 3)], r"shape \(1, 3\)"),
        ("here", "not numbers"),
        ([(1, 2), (3,)], "not numbers"),
    ],
)
def test_bad_points_are_named(points, message):
    with pytest.raises(BadInput, match=message):
        Frame((24, 40), (32, 32)).check_points(points, "a.jpg")


def test_good_points_come_as_float64():
    for points in ([(0, 0), (40, 24)], np.array([[0, 0], [40, 24]], np.float32), torch.tensor([[0, 0], [40, 24]])):
        result = Frame((24, 40), (32, 32)).check_points(points)
        assert result.dtype == np.float64
        np.testing.assert_array_equal(result, [[0, 0], [40, 24]])
