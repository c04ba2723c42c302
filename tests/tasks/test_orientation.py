"""Matching with a photo or its mirror image, whichever fits: by hand, by property, and on a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import shiftless
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.image import Frame
from shiftless.taps.names import Tap
from shiftless.tasks.correspondence import match
from shiftless.tasks.mutual import mutual_matches
from shiftless.tasks.orientation import SIDE, orientation_fit

PLACES = st.tuples(st.floats(0, 1), st.floats(0, 1))


def features(grid: torch.Tensor, original: tuple[int, int] = (64, 96), name: str = "image") -> FeatureMaps:
    return FeatureMaps({"up1": grid}, {"up1": Tap("up1", grid.shape[1], 8, "")}, Frame(original, (64, 96)), name=name)


def field(seed: int, channels: int = 24) -> torch.Tensor:
    coarse = torch.randn(1, channels, 4, 6, generator=torch.manual_seed(seed))
    return F.interpolate(coarse, (8, 12), mode="bicubic")


def facing(seed: int, channels: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """A map and that of the mirrored photo, by a network that sees which way things face: half of the channels know."""
    thing, here, there = field(seed, channels), torch.ones(1, channels, 8, 12), -torch.ones(1, channels, 8, 12)
    return torch.cat([thing, here], 1), torch.cat([thing.flip(3), there], 1)


@given(points=st.lists(PLACES, min_size=1, max_size=6), size=st.tuples(st.integers(8, 300), st.integers(8, 300)))
def test_points_go_to_the_mirrored_photo_and_come_back(points, size):
    frame = Frame(size, (64, 96))
    there = frame.from_unit(points)
    mirrored = frame.mirrored(there)
    np.testing.assert_allclose(mirrored[:, 0] + there[:, 0], size[1], atol=1e-9)
    np.testing.assert_array_equal(mirrored[:, 1], there[:, 1])
    np.testing.assert_allclose(frame.mirrored(mirrored), there, atol=1e-9)
    frame.check_points(mirrored)  # none leaves the photo by rounding


def test_a_pixel_of_a_photo_is_where_its_mirrored_point_says(picture):
    photo, turned = shiftless.mirror(picture, name="a.jpg"), shiftless.mirror(shiftless.mirror(picture))
    assert (photo.name, turned.digest != photo.digest) == ("a.jpg", True)
    np.testing.assert_array_equal(turned.array, picture)
    (x, y) = Frame(photo.hw, photo.hw).mirrored([(3.5, 7.5)])[0]
    np.testing.assert_array_equal(photo.array[int(y), int(x)], picture[7, 3])


@pytest.mark.parametrize("original", [(64, 96), (150, 201)])
@given(places=st.lists(PLACES, min_size=1, max_size=5), seed=st.integers(0, 20))
def test_a_mirrored_photo_is_matched_exactly(original, places, seed):
    as_is, turned = facing(seed)
    a, mirrored = features(as_is, original), features(turned, original)
    points = Frame(original, (1, 1)).from_unit(places)
    answer = match(a, mirrored, points, flip="auto", mirrored=mirrored, refine="soft")
    itself = match(mirrored, mirrored, a.frame.mirrored(points), refine="soft")
    assert answer.flipped
    np.testing.assert_array_equal(answer.points, itself.points)
    np.testing.assert_array_equal(answer.source, points)
    assert answer.fits is not None
    assert answer.fits[0] < answer.fits[1] == pytest.approx(1, abs=1e-5)


def test_what_faces_the_same_way_is_matched_as_without_flip():
    a, mirrored = map(features, facing(0))
    plain = match(a, a, [(10, 20), (80, 40)], mutual=True)
    either = match(a, a, [(10, 20), (80, 40)], mutual=True, flip="auto", mirrored=mirrored)
    assert (plain.flipped, plain.fits, either.flipped) == (False, None, False)
    np.testing.assert_array_equal(plain.points, either.points)


def test_a_symmetric_photo_is_kept_as_it_is():
    half = field(1)[..., :6]
    symmetric = features(torch.cat([half, half.flip(3)], 3))
    other, turned = map(features, (field(2), field(2).flip(3)))
    assert not match(symmetric, other, [(10, 20)], flip="auto", mirrored=symmetric).flipped
    assert not match(other, symmetric, [(10, 20)], flip="auto", mirrored=turned).flipped  # equal but for rounding


def test_true_flips_whatever_fits_and_the_way_back_ends_where_it_began():
    a, mirrored = map(features, facing(3))
    answer = match(a, a, [(20, 20)], flip=True, mirrored=mirrored)
    assert (answer.flipped, answer.fits) == (True, None)
    there = match(a, mirrored, [(20, 20), (70, 50)], flip="auto", mirrored=mirrored, mutual=True, refine="soft")
    assert there.mutual.tolist() == [True, True]
    assert np.abs(there.points - a.frame.mirrored([(20, 20), (70, 50)])).max() < 8
    best = mutual_matches(a, mirrored, count=4, flip="auto", mirrored=mirrored)
    assert (best.flipped, len(best)) == (True, 4)
    assert np.abs(best.points - a.frame.mirrored(best.source)).max() < 8


def test_the_fit_by_hand():
    a = torch.eye(4).view(1, 4, 1, 4)  # four cells in a row, each unlike the others
    b = a[..., :3]
    assert orientation_fit(a, b) == pytest.approx(3 / 4)
    assert orientation_fit(b, a) == 1
    assert orientation_fit(a, b, box=(0.3, 0, 0.6, 1)) == 1  # cells 1 and 2
    assert orientation_fit(a, b, box=(0.9, 0.4, 0.91, 0.6)) == 0  # a box inside cell 3 is that cell
    assert orientation_fit(3 * a, b) == pytest.approx(3 / 4)


def test_the_fit_ranks_as_the_published_distance_of_the_same_neighbours():
    a, b = field(4), field(5)
    one, two = (F.normalize(m[0].flatten(1).T, dim=1) for m in (a, b))
    nearest = torch.cdist(one, two).min(1).values
    assert orientation_fit(a, b) == pytest.approx(float((1 - nearest**2 / 2).mean()), abs=1e-5)


def test_large_maps_are_compared_on_the_published_grid():
    large = F.interpolate(field(6), (96, 130), mode="bicubic")
    small = F.interpolate(large, (SIDE, SIDE), mode="bilinear")
    assert orientation_fit(large, large) == orientation_fit(small, small)


def test_the_box_says_where_orientations_are_compared():
    """The thing, in the left third, faces the other way; the place round it is symmetric and does not."""
    thing, place = field(7)[..., :4], torch.zeros(1, 24, 8, 12)
    place[:, 0], place[:, 1, :, ::2] = 1, 0.2
    source, target = place.clone(), place.clone()
    source[..., :4] = thing
    target[..., 4:8] = thing.flip(3) * 0.3 + 0.7 * thing  # hardly like the thing mirrored
    a, b, turned = features(source), features(target), features(source.flip(3))
    whole = match(a, b, [(8, 8)], flip="auto", mirrored=turned)
    boxed = match(a, b, [(8, 8)], flip="auto", mirrored=turned, box=(0, 0, 32, 64))
    assert whole.fits is not None
    assert boxed.fits is not None
    alone = orientation_fit(source[..., :4], target), orientation_fit(source.flip(3)[..., 8:], target)
    assert boxed.fits == pytest.approx(alone)
    assert whole.fits != pytest.approx(alone)


def test_bad_input_is_one_clear_line():
    a, turned = map(features, facing(8))
    small = features(facing(8)[1], (32, 48), "small.jpg")
    lacking = replace(turned, maps={"mid": turned["up1"]}, taps={"mid": Tap("mid", 48, 8, "")})
    for options, says in [
        ({"flip": "auto"}, r"flip='auto' needs .* shiftless.mirror\('image'\)"),
        ({"flip": True}, "flip=True needs"),
        ({"flip": "always", "mirrored": turned}, "flip='always': must be False, True or 'auto'"),
        ({"mirrored": turned}, "flip is False"),
        ({"flip": "auto", "mirrored": small}, "small.jpg: is not image mirrored"),
        ({"flip": "auto", "mirrored": lacking}, "no tap 'up1'"),
        ({"box": (0, 0, 9, 9)}, "only flip='auto' does"),
        ({"flip": "auto", "mirrored": turned, "box": (9, 0, 9, 9)}, "empty or not finite"),
        ({"flip": "auto", "mirrored": turned, "box": (100, 0, 120, 9)}, "outside the 96x64 image"),
        ({"flip": "auto", "mirrored": turned, "box": (1, 2, 3)}, "four numbers"),
    ]:
        with pytest.raises(BadInput, match=says) as caught:
            match(a, a, [(4, 4)], **options)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["twin:sd15", "twin:dinov2-s"])
def test_any_model_finds_a_photo_in_its_mirror_image_by_flipping(name, picture):
    """Steered and prompted alike, the mirrored photo is read like any other: here it is the target itself."""
    model = shiftless.load(name, device="cpu", dtype="fp32")
    large = np.kron(picture, np.ones((4, 4, 1), np.uint8))
    a, b = shiftless.extract(model, [large, shiftless.mirror(large)])
    turned = shiftless.extract(model, shiftless.mirror(large))
    for tap in turned:
        torch.testing.assert_close(turned[tap], b[tap])  # the same noise: it depends on the pixels
    points = [(20.0, 30.0), (130.0, 70.0)]
    answer = match(a, b, points, flip="auto", mirrored=turned)
    assert answer.flipped
    (height, width), cells = a.frame.original, b[next(iter(b))].shape[-2:]
    apart = np.abs(answer.points - a.frame.mirrored(points))
    assert (apart <= (width / cells[1], height / cells[0])).all()
