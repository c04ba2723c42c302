"""Content shift is 0 for what has not moved, is found where it happened, and each measure answers its own question."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as multiscale

from shiftless.errors import BadInput
from shiftless.metrics.content_shift import (
    colour,
    edges,
    features,
    latent,
    perceptual,
    scales,
    smoothed,
    spread,
    structure,
)

OF_PICTURES = {"structure": structure, "scales": scales, "edges": edges, "colour": colour}
OF_MAPS = {"latent": latent, "features": features, "perceptual": perceptual}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.manual_seed(seed))


def ground(h: int = 96, w: int = 128) -> np.ndarray:
    """A grey picture with a slight texture, H W 3."""
    rng = np.random.default_rng(1)
    return np.repeat(np.clip(0.45 + 0.02 * rng.standard_normal((h, w, 1)), 0, 1), 3, 2)


def disc(x: int, y: int, radius: int = 12, h: int = 96, w: int = 128) -> np.ndarray:
    return np.hypot(*np.meshgrid(np.arange(w) - x, np.arange(h) - y)) <= radius


def with_disc(x: int, y: int) -> np.ndarray:
    picture = ground()
    picture[disc(x, y)] = (0.9, 0.8, 0.2)
    return picture


# ---- pictures


@pytest.mark.parametrize("measure", OF_PICTURES.values(), ids=OF_PICTURES)
@settings(max_examples=12)
@given(st.data())
def test_any_two_pictures_have_a_finite_shift_and_equal_ones_none(measure, data):
    h, w = data.draw(st.integers(11, 40)), data.draw(st.integers(11, 40))
    values = st.sampled_from([0.0, 1.0, 0.5, 0.2, 0.73])
    a, b = (data.draw(arrays(np.float64, (h, w, 3), elements=values)) for _ in range(2))
    result, none = measure(a, b), measure(a, a.copy())
    assert np.isfinite(result.value)
    assert result.value >= 0
    assert result.where.shape == (h, w)
    assert result.where.dtype == np.float32
    assert np.isfinite(result.where).all()
    assert result.where.min() >= 0
    assert none.value == 0
    assert none.where.max() < 1e-6


@pytest.mark.parametrize("measure", OF_PICTURES.values(), ids=OF_PICTURES)
def test_a_disc_that_moves_is_found_where_it_was_and_where_it_came(measure):
    old, new = with_disc(35, 40), with_disc(92, 58)
    window = np.ones((9, 9), np.uint8)  # SSIM looks around a pixel, an edge lies on the rim
    places = [cv2.dilate(disc(*at).astype(np.uint8), window) > 0 for at in ((35, 40), (92, 58))]
    where = measure(old, new).where
    assert measure(old, new).value > 0.01
    assert where[places[0] | places[1]].sum() / where.sum() > 0.8
    shares = [where[place].sum() / where.sum() for place in places]
    assert min(shares) > 0.3


@pytest.mark.parametrize("measure", OF_PICTURES.values(), ids=OF_PICTURES)
def test_constant_pictures_are_measured_too(measure):
    grey, white = np.full((48, 48, 3), 0.37), np.ones((48, 48, 3))
    assert measure(grey, grey.copy()).value == 0
    assert np.isfinite(measure(grey, white).value)
    assert (measure(grey, white).value > 0) == (measure is not edges)


def test_colour_is_where_the_disc_is_to_the_pixel():
    where = colour(with_disc(35, 40), with_disc(92, 58)).where
    assert where[disc(35, 40) | disc(92, 58)].sum() == pytest.approx(where.sum())


def test_a_recolouring_is_a_matter_of_colour_alone():
    light = 55 + 12 * np.random.default_rng(3).standard_normal((64, 64)).clip(-1, 1)
    light[16:48, 16:48] += 20
    hues = (0.3, 1.9)
    a, b = (lab2rgb(np.stack([light, 14 * np.cos(hue) + light * 0, 14 * np.sin(hue) + light * 0], 2)) for hue in hues)
    assert colour(a, b).value > 10
    for measure in (structure, scales, edges):
        assert measure(a, b).value < 1e-3
    assert structure(a, np.clip(a + 0.2 * (light > 60)[..., None], 0, 1)).value > 0.05  # lightness is seen by structure


def test_a_blur_is_a_matter_of_structure():
    sharp = with_disc(60, 50)
    blurred = [cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in (1, 3)]
    for measure in (structure, scales):
        once, twice = (measure(sharp, one).value for one in blurred)
        assert 0.01 < once < twice


@pytest.mark.parametrize("measure", OF_PICTURES.values(), ids=OF_PICTURES)
def test_it_does_not_matter_which_picture_is_first(measure):
    a, b = with_disc(35, 40), cv2.GaussianBlur(with_disc(60, 50), (0, 0), 1)
    assert measure(a, b).value == pytest.approx(measure(b, a).value, rel=1e-9)
    assert measure(a, b).value > 0


def test_structure_is_scikit_images_ssim_and_colour_its_mean_difference():
    a, b = (np.random.default_rng(seed).random((30, 22, 3)) for seed in (0, 1))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    theirs = structural_similarity(rgb2lab(a)[..., 0] / 100, rgb2lab(b)[..., 0] / 100, **options)
    assert structure(a, b).value == pytest.approx(1 - theirs, abs=1e-12)
    assert colour(a, b).value == pytest.approx(deltaE_ciede2000(rgb2lab(a), rgb2lab(b)).mean(), abs=1e-12)


@pytest.mark.parametrize(("side", "count"), [(11, 1), (22, 2), (43, 2), (44, 3), (99, 4), (128, 4), (176, 5)])
def test_scales_takes_as_many_as_fit(side, count):
    a, b = (np.random.default_rng(seed).random((side, side + 5, 3)) for seed in (0, 1))
    b = 0.5 * a + 0.5 * b
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:count]
    light = [torch.from_numpy(rgb2lab(one)[..., 0] / 100)[None, None] for one in (a, b)]
    theirs = multiscale(*light, data_range=1.0, betas=tuple((weights / weights.sum()).tolist()))
    assert scales(a, b).value == pytest.approx(1 - float(theirs), abs=1e-5)


@pytest.mark.parametrize("grey", [0.0, 0.37, 0.93])
def test_scales_is_as_exact_where_a_picture_is_flat(grey):
    a = np.full((128, 128, 3), grey)
    b = a.copy()
    b[40:60, 40:60] = 0.5
    c = np.clip(a + 1e-6, 0, 1)  # equal to the eye and to SSIM, not to the bit
    light = [torch.from_numpy(rgb2lab(one)[..., 0] / 100)[None, None] for one in (a, b)]
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363])
    theirs = multiscale(*light, data_range=1.0, betas=tuple((weights / weights.sum()).tolist()))
    assert scales(a, b).value == pytest.approx(1 - float(theirs), abs=2e-4)
    assert scales(a, c).value < 2e-4


def test_scales_forgives_fine_noise_that_structure_does_not():
    a = with_disc(60, 50)
    b = np.clip(a + 0.08 * np.random.default_rng(5).standard_normal(a.shape), 0, 1)
    assert scales(a, b).value < structure(a, b).value


@pytest.mark.parametrize(("moved", "value"), [(0, 0.0), (1, 0.0), (2, 1.0), (6, 1.0)])
def test_an_edge_may_be_a_pixel_off_in_a_small_picture(moved, value):
    def step(at: int) -> np.ndarray:
        picture = np.zeros((40, 60, 3))
        picture[:, at:] = 1
        return picture

    result = edges(step(20), step(20 + moved))
    assert result.value == value
    assert (result.where > 0).sum() == (80 if value else 0)  # a line of 40 pixels lost, another invented


def test_edges_lost_and_invented_count_by_their_f1():
    a, b = np.zeros((60, 400, 3)), np.zeros((60, 400, 3))  # the tolerance is 3 pixels here
    a[:, 50:], a[:, 100:] = 0.5, 1.0  # two lines in a
    b[:, 53:], b[:, 200:], b[:, 250:], b[:, 300:] = 0.5, 1.0, 0.5, 1.0  # one of them, 3 off, and three of its own in b
    assert edges(a, b).value == pytest.approx(1 - 2 * (1 / 4) * (1 / 2) / (1 / 4 + 1 / 2))


def test_without_edges_there_is_agreement_or_none():
    flat, step = np.full((20, 20, 3), 0.5), np.zeros((20, 20, 3))
    step[10:] = 1
    assert edges(flat, flat * 0).value == 0
    assert edges(flat, step).value == edges(step, flat).value == 1
    assert (edges(flat, step).where > 0).sum() == 20


def test_smoothed_keeps_a_maps_mass_and_place():
    point = np.zeros((21, 31), np.float32)
    point[10, 20] = 1
    result = smoothed(point, 2)
    assert result.sum() == pytest.approx(1, abs=1e-5)
    assert np.unravel_index(result.argmax(), result.shape) == (10, 20)
    assert np.array_equal(smoothed(point, 0), point)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((16, 16, 3)), np.zeros((16, 17, 3)), "two of the same size"),
        (np.zeros((16, 16)), np.zeros((16, 16)), "H W 3 floats"),
        (np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16, 3), np.uint8), "uint8: give H W 3 floats"),
        (np.full((16, 16, 3), 2.0), np.zeros((16, 16, 3)), "from 2 to 2: give floats in"),
        (np.zeros((16, 16, 3)), np.full((16, 16, 3), np.nan), "from nan to nan: give floats in"),
        (np.zeros((0, 16, 3)), np.zeros((0, 16, 3)), "H W 3 floats"),
    ],
)
@pytest.mark.parametrize("measure", OF_PICTURES.values(), ids=OF_PICTURES)
def test_what_is_no_pair_of_pictures_is_refused_in_one_line(measure, a, b, message):
    with pytest.raises(BadInput, match=message) as caught:
        measure(a, b)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("measure", [structure, scales])
def test_a_picture_smaller_than_the_window_is_refused(measure):
    with pytest.raises(BadInput, match=r"10 x 20: SSIM needs at least 11"):
        measure(np.zeros((10, 20, 3)), np.zeros((10, 20, 3)))


# ---- latents and feature maps


@pytest.mark.parametrize("measure", OF_MAPS.values(), ids=OF_MAPS)
@settings(max_examples=25)
@given(
    arrays(np.float32, (2, 1, 3, 4, 5), elements=st.sampled_from([0.0, 1.0, -1.0, 0.25, 1e-3, 1e3])),
)
def test_any_two_maps_have_a_finite_shift_and_equal_ones_none(measure, values):
    a, b = torch.from_numpy(values)
    result, none = measure(a, b), measure(a, a.clone())
    assert np.isfinite(result.value)
    assert result.value >= 0
    assert np.isfinite(result.where).all()
    assert result.where.min() >= 0
    assert result.where.shape == (4, 5)
    assert none.value == 0
    assert none.where.max() < 1e-6


def test_a_latents_error_is_in_variances_of_the_clean_one():
    clean = torch.tensor([[[[0.0, 2.0]], [[0.0, 6.0]]]])  # variances 1 and 9: the unit is 5
    wrong = clean + torch.tensor([[[[0.0, 1.0]], [[0.0, 3.0]]]])  # squared errors 1 and 9 in the second cell
    result = latent(clean, wrong)
    assert result.value == pytest.approx((1 + 9) / 4 / 5)
    np.testing.assert_allclose(result.where, [[0, 1]])
    means = clean.mean((-2, -1), keepdim=True).expand_as(clean)
    assert latent(clean, means).value == pytest.approx(1)


def test_spread_is_the_unbiased_variance_over_seeds():
    clean = noise(1, 4, 3, 5)
    predicted = [noise(1, 4, 3, 5, seed=seed) for seed in (1, 2, 3)]
    expected = np.var([one[0].numpy() for one in predicted], axis=0, ddof=1)
    unit = np.var(clean[0].numpy(), axis=(1, 2)).mean()
    result = spread(predicted, clean)
    np.testing.assert_allclose(result.where, expected.mean(0) / unit, rtol=1e-5)
    assert result.value == pytest.approx(expected.mean() / unit, rel=1e-5)
    assert spread([clean] * 3, noise(1, 4, 3, 5, seed=9)).value == 0
    with pytest.raises(BadInput, match="at least two noise seeds"):
        spread(predicted[:1], clean)


def test_features_are_compared_as_an_explicit_loop_would():
    a, b = noise(1, 6, 3, 4), noise(1, 9, 3, 4, seed=1)  # another number of channels: only the grid is shared
    result = features(a, b)
    cells = [one[0].flatten(1).T.double().numpy() for one in (a, b)]
    expected = []
    for i in range(12):
        rows = []
        for map_cells in cells:
            lengths = np.linalg.norm(map_cells, axis=1)
            rows.append([map_cells[i] @ map_cells[j] / lengths[i] / lengths[j] for j in range(12) if j != i])
        expected.append(1 - np.corrcoef(*rows)[0, 1])
    np.testing.assert_allclose(result.where.ravel(), expected, rtol=1e-5)
    assert result.value == pytest.approx(np.mean(expected))


def test_turning_and_scaling_the_feature_space_shifts_nothing():
    one = noise(1, 8, 5, 6)
    turn = torch.linalg.qr(noise(8, 8, seed=2))[0]
    assert features(one, 1e-3 * torch.einsum("ij,bjhw->bihw", turn, one)).value < 1e-9
    assert features(one, noise(1, 8, 5, 6, seed=3)).value > 0.5


def test_a_cell_that_looks_like_others_is_found():
    one = torch.cat(
        [noise(1, 4, 1, 1) + 0.1 * noise(1, 4, 4, 3, seed=1), noise(1, 4, 1, 1, seed=2) * torch.ones(4, 3)], 3
    )
    other = one.clone()
    other[..., 2, 5] = one[..., 1, 0]  # a cell of the right half now holds what the left half is
    where = features(one, other).where
    assert np.unravel_index(where.argmax(), where.shape) == (2, 5)


def test_maps_in_which_nothing_varies_agree_with_their_like_only():
    flat, varied = torch.ones(1, 3, 4, 4), noise(1, 3, 4, 4)
    assert features(flat, 5 * flat).value == features(flat, flat * 0).value == 0
    assert features(flat, varied).value == features(varied, flat).value == 1


def test_large_maps_are_averaged_down_first():
    fine = noise(1, 5, 8, 12)
    coarse = torch.nn.functional.avg_pool2d(fine, 2)
    other = noise(1, 5, 8, 12, seed=1)
    result = features(fine, other, most=24)
    assert result.where.shape == (4, 6)
    assert result.value == pytest.approx(features(coarse, torch.nn.functional.avg_pool2d(other, 2)).value, rel=1e-6)
    assert features(noise(1, 2, 1, 90), noise(1, 2, 1, 90, seed=1), most=20).where.shape == (1, 20)
    assert features(noise(1, 2, 90, 1), noise(1, 2, 90, 1, seed=1), most=20).where.size <= 20


def test_perceptual_is_one_minus_the_cosine_of_each_cell():
    a = torch.tensor([[[[1.0, 1.0, 0.0]], [[0.0, 0.0, 0.0]]]])
    b = torch.tensor([[[[2.0, 1.0, 0.0]], [[0.0, 1.0, 0.0]]]])
    np.testing.assert_allclose(perceptual(a, b).where, [[0, 1 - 0.5**0.5, 0]], atol=1e-6)


@pytest.mark.parametrize("measure", OF_MAPS.values(), ids=OF_MAPS)
def test_what_is_no_pair_of_maps_is_refused_in_one_line(measure):
    good = noise(1, 3, 4, 4)
    with pytest.raises(BadInput, match="two of the same grid"):
        measure(good, noise(1, 3, 4, 5))
    with pytest.raises(BadInput, match="give 1 C h w"):
        measure(good[0], good[0])
    with pytest.raises(BadInput, match="give 1 C h w"):
        measure(good.expand(2, -1, -1, -1), good.expand(2, -1, -1, -1))
    with pytest.raises(BadInput, match="not finite"):
        measure(good, good / 0)


def test_self_similarity_needs_cells_to_compare():
    with pytest.raises(BadInput, match="1 x 2 cells, at most 1024; self-similarity needs three"):
        features(noise(1, 3, 1, 2), noise(1, 3, 1, 2))
