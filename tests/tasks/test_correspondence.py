from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.image import Frame
from shiftless.taps.names import Tap
from shiftless.tasks.correspondence import heat, match, sample
from shiftless.tasks.dense import cosine_maps

GOLDENS = Path(__file__).parents[1] / "goldens" / "nn_correspondences.safetensors"


def features(grid: torch.Tensor, original: tuple[int, int], fed: tuple[int, int], name: str = "image") -> FeatureMaps:
    return FeatureMaps({"up1": grid}, {"up1": Tap("up1", grid.shape[1], 8, "")}, Frame(original, fed), name=name)


def smooth(seed: int, h: int, w: int, channels: int = 24) -> torch.Tensor:
    coarse = torch.randn(1, channels, 5, 5, generator=torch.manual_seed(seed))
    return F.interpolate(coarse, (h, w), mode="bicubic", align_corners=True)


def inside(seed: int, n: int, h: float, w: float, margin: float) -> np.ndarray:
    return margin + np.random.default_rng(seed).random((n, 2)) * (np.array([w, h]) - 2 * margin)


@given(
    seed=st.integers(0, 99),
    cells=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    grid=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
@settings(max_examples=40, deadline=None)
def test_cosine_maps_equal_enlarging_every_channel(seed, cells, grid):
    generator = torch.manual_seed(seed)
    dense, queries = torch.randn(1, 6, *cells, generator=generator), torch.randn(3, 6, generator=generator)
    large = F.normalize(F.interpolate(dense, grid, mode="bilinear", align_corners=False)[0], dim=0)
    expected = torch.einsum("nc,chw->nhw", F.normalize(queries, dim=1), large)
    ours = torch.cat(list(cosine_maps(queries, dense, grid, cells=grid[0] * grid[1])))
    # Where opposite vectors meet, the interpolated one is nearly nothing and its direction is all rounding.
    solid = F.interpolate(dense, grid, mode="bilinear", align_corners=False)[0].norm(dim=0) > 0.05
    assert torch.allclose(ours[:, solid], expected[:, solid], atol=2e-5)


@pytest.mark.parametrize("pair", ["a", "b"])
def test_equals_the_reference_where_it_has_no_tie(pair):
    golden = {k[2:]: v for k, v in load_file(GOLDENS).items() if k.startswith(f"{pair}.")}
    (h, w), (rows, columns) = golden["feat1"].shape[2:], golden["load_size"].tolist()
    a, b = (features(golden[name], (rows, columns), (rows, columns)) for name in ("feat1", "feat2"))
    # The reference rounds (y, x) to a pixel of the enlarged map, after cutting it to the picture.
    yx = golden["points_yx"].numpy()
    requested = np.rint(np.clip(yx, 0, (rows - 1, columns - 1)))
    assert (requested[:, 0] * columns + requested[:, 1]).tolist() == golden["source_index"].tolist()
    result = match(a, b, requested[:, ::-1] + 0.5, normalise=False)
    clear = (golden["gap"] > 1e-5).numpy()
    assert clear.sum() >= 15
    assert (result.points[clear][:, ::-1] - 0.5).tolist() == golden["pred_yx"].numpy()[clear].tolist()
    assert result.scores == pytest.approx(golden["top1"].numpy(), abs=2e-6)
    # Its rescale_points to a picture of 333 x 250: (y, x) scaled apart, which is what Frame does.
    resized = Frame(original=(250, 333), fed=(rows, columns)).to_original(yx[:, ::-1])
    assert resized[:, ::-1] == pytest.approx(golden["rescaled"].numpy())
    assert (h, w) != (rows, columns)


@pytest.mark.parametrize("refine", ["upsample", "soft"])
@pytest.mark.parametrize(
    ("original", "fed", "grid"), [((128, 128), (128, 128), (16, 16)), ((90, 200), (64, 128), (8, 16))]
)
def test_identical_features_give_the_points_back_to_less_than_a_cell(refine, original, fed, grid):
    maps = features(smooth(0, *grid), original, fed)
    points = inside(1, 40, *original, margin=12)
    result = match(maps, maps, points, refine=refine)
    cell = np.array([original[1] / grid[1], original[0] / grid[0]])
    error = np.abs(result.points - points) / cell
    assert np.median(error) < 0.25
    assert error.max() < 0.75
    assert result.scores.min() > (0.98 if refine == "upsample" else 0.9)  # soft keeps the score of its cell


def test_a_shifted_image_gives_shifted_points_in_original_pixels():
    field = smooth(2, 20, 40)
    a = features(field[..., :32], (100, 320), (80, 128))
    b = features(field[..., 5:37], (200, 160), (80, 128))  # 5 cells further left, and of other original size
    points = inside(3, 30, 100, 320, 60)[:, [0, 1]]
    points[:, 1] = np.clip(points[:, 1], 10, 90)
    expected = (points - [50, 0]) * [0.5, 2]
    result = match(a, b, points, refine="soft").points
    assert np.abs(result - expected)[:, 0].max() < 5  # one cell of b is 5 x 10 pixels
    assert np.abs(result - expected)[:, 1].max() < 10
    assert np.median(np.abs(result - expected) / [5, 10]) < 0.25


def test_soft_is_nearer_than_the_cell():
    # Features that vary smoothly over the plane, sampled on two grids half a cell apart.
    field = smooth(4, 128, 128)
    a = features(F.avg_pool2d(field[..., 4:124, 4:124], 8), (120, 120), (120, 120))
    b = features(F.avg_pool2d(field[..., 8:128, 8:128], 8), (120, 120), (120, 120))
    points = inside(5, 200, 120, 120, 16)
    errors = {}
    for refine in ("cell", "upsample", "soft"):
        result = match(a, b, points, refine=refine)
        errors[refine] = np.hypot(*(result.points - (points - 4)).T).mean()
    assert errors["soft"] < 0.6 * errors["cell"]
    assert errors["soft"] < 0.25 * 8
    assert errors["upsample"] < errors["cell"]


def test_mutual_is_true_where_the_way_back_returns_and_false_where_it_does_not():
    grid = torch.eye(16).reshape(1, 16, 4, 4).clone()
    a = features(grid, (32, 32), (32, 32))
    two = grid.clone()
    two[0, :, 0, 1] = two[0, :, 0, 0]  # in b cell 1 looks like cell 0, and nothing looks like cell 1
    b = features(two, (32, 32), (32, 32))
    points = [(4, 4), (12, 4), (20, 20)]
    result = match(a, b, points, refine="cell", mutual=True, tolerance=1)
    assert result.mutual is not None
    assert result.mutual.tolist() == [True, False, True]
    assert match(a, b, points).mutual is None
    assert match(a, a, points, mutual=True).mutual.all()


def test_matches_read_like_an_array():
    maps = features(smooth(6, 8, 8), (64, 64), (64, 64))
    result = match(maps, maps, points=[(12, 20), (40, 40)])
    assert np.asarray(result).shape == (2, 2)
    assert np.asarray(result, dtype=np.float32).dtype == np.float32
    assert result.points.dtype == np.float64
    assert [tuple(p) for p in result] == [tuple(result[0]), tuple(result[1])]
    x, y = result[1]
    assert (x, y) == tuple(result.points[1])
    assert len(result) == 2
    assert "->" in repr(result)


def test_heat_peaks_where_match_points():
    a, b = features(smooth(7, 8, 8), (64, 64), (64, 64)), features(smooth(7, 8, 8).roll(2, 3), (64, 64), (64, 64))
    picture = heat(a, b, (20, 30))
    y, x = np.unravel_index(picture.argmax(), picture.shape)
    assert (x + 0.5, y + 0.5) == tuple(match(a, b, [(20, 30)])[0])
    assert picture.max() <= 1 + 1e-5


def test_many_points_in_chunks_equal_one_by_one():
    maps = features(smooth(8, 8, 8), (64, 64), (64, 64))
    points = inside(9, 12, 64, 64, 1)
    queries = sample(maps.dense(), maps, points)
    whole = torch.cat(list(cosine_maps(queries, maps.dense(), (64, 64))))
    parts = list(cosine_maps(queries, maps.dense(), (64, 64), cells=5 * 64 * 64))
    assert [len(p) for p in parts] == [5, 5, 2]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)


@pytest.mark.parametrize("refine", ["upsample", "cell", "soft"])
def test_every_answer_lies_inside_the_picture(refine):
    a, b = features(torch.randn(1, 8, 3, 7), (30, 70), (24, 56)), features(torch.randn(1, 8, 7, 3), (91, 41), (56, 24))
    result = match(a, b, inside(0, 64, 30, 70, 0), refine=refine).points
    assert ((result >= 0) & (result <= (41, 91))).all()


def test_bad_input_is_one_clear_line():
    a = features(torch.randn(1, 8, 4, 4), (32, 32), (32, 32), "a.jpg")
    b = features(torch.randn(1, 6, 4, 4), (32, 32), (32, 32), "b.jpg")
    other = FeatureMaps({"mid": torch.randn(1, 8, 4, 4)}, {"mid": Tap("mid", 8, 8, "")}, a.frame, name="c.jpg")
    for call, says in [
        (lambda: match(a, a, [(40, 4)]), "a.jpg"),
        (lambda: match(a, a, [(float("nan"), 4)]), "finite"),
        (lambda: match(a, a, [(4, 4)], refine="best"), "upsample, cell, soft"),
        (lambda: match(a, a, [(4, 4)], taps=["up9"]), "up9"),
        (lambda: match(a, b, [(4, 4)]), "8 channels in a.jpg and 6 in b.jpg"),
        (lambda: match(a, other, [(4, 4)]), "no tap in common"),
        (lambda: match(a, a, [(4, 4)], temperature=0), "temperature"),
        (lambda: heat(a, a, (99, 4)), "a.jpg"),
    ]:
        with pytest.raises(BadInput, match=says) as caught:
            call()
        assert "\n" not in str(caught.value)
