"""Pictures show what they should: known colours at known places, sizes, and errors that say what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from shiftless.errors import BadInput
from shiftless.view import (
    Column,
    Outline,
    contact_sheet,
    enlarge,
    heat_overlay,
    match_sheet,
    matches_picture,
    method_picture,
    pca_rgb,
    save_picture,
)
from shiftless.view.matches import RIGHT, WRONG, mark_point
from shiftless.view.method import outlined
from shiftless.view.pca import principal_axes
from shiftless.view.sheet import THEMES, wrap


@pytest.fixture
def hidden():
    """Three independent patterns of falling strength, hidden in 12 channels by an orthogonal mix, with a mean."""
    generator = torch.manual_seed(0)
    patterns = torch.rand(3, 20, 30, generator=generator) - 0.5
    mix, _ = torch.linalg.qr(torch.randn(12, 12, generator=generator))
    strong = patterns * torch.tensor([9.0, 3.0, 1.0]).view(3, 1, 1)
    return patterns, torch.einsum("ck,khw->chw", mix[:, :3], strong) + 5


def test_pca_finds_the_directions_that_were_put_in(hidden):
    patterns, maps = hidden
    (picture,) = pca_rgb([maps], normalise=False)
    for channel in range(3):
        result = picture[..., channel].astype(float).ravel()
        assert abs(np.corrcoef(result, patterns[channel].ravel())[0, 1]) > 0.99


def test_axes_are_orthonormal_and_sorted_by_variance(hidden):
    _, maps = hidden
    flat = maps.flatten(1).T
    mean, axes = principal_axes(flat, 3)
    assert torch.allclose(axes.T @ axes, torch.eye(3, dtype=torch.float64), atol=1e-8)
    spread = ((flat.double() - mean) @ axes).var(0)
    assert spread[0] > 4 * spread[1] > 16 * spread[2] > 0


def test_maps_share_their_colours_whatever_their_grids(hidden):
    _, maps = hidden
    whole, left, right = pca_rgb([maps[None], maps[:, :, :14], maps[:, :, 14:]])
    assert whole.shape == (20, 30, 3)
    np.testing.assert_array_equal(whole, np.concatenate([left, right], 1))


def test_equal_maps_give_equal_pictures_in_any_company(hidden):
    _, maps = hidden
    first, second = pca_rgb([maps, maps.clone()])
    np.testing.assert_array_equal(first, second)


def test_centring_takes_away_what_moves_a_whole_map(hidden):
    _, maps = hidden
    first, second = pca_rgb([maps, maps + 40 * torch.randn(12, 1, 1)], normalise=False, centre=True)
    assert np.abs(first.astype(int) - second).max() <= 1
    first, second = pca_rgb([maps, maps + 40], normalise=False)
    assert np.abs(first.astype(int) - second).max() > 50


def test_a_mask_fits_the_colours_inside_and_fades_the_outside(hidden):
    patterns, maps = hidden
    maps = maps.clone()
    maps[:, :, 15:] += 100 * torch.randn(12, 1, 1, generator=torch.manual_seed(3))
    mask = np.zeros((40, 60), bool)
    mask[:, :30] = True
    (picture,) = pca_rgb([maps], [mask], normalise=False)
    inside = picture[:, :15, 0].astype(float).ravel()
    assert abs(np.corrcoef(inside, patterns[0][:, :15].ravel())[0, 1]) > 0.99
    assert np.abs(picture[:, 15:].astype(int) - 128).max() < 20 < np.abs(picture[:, :15].astype(int) - 128).max()


def test_few_channels_and_constant_maps_still_give_pictures():
    assert pca_rgb([torch.rand(1, 2, 4, 4)], normalise=False)[0].shape == (4, 4, 3)
    assert np.ptp(pca_rgb([torch.ones(8, 4, 4)])[0]) == 0


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([], "at least one"),
        ([torch.zeros(4, 4)], "give 1 C H W"),
        ([torch.zeros(2, 8, 4, 4)], "give 1 C H W"),
        ([torch.zeros(8, 4, 4), torch.zeros(6, 4, 4)], "map 1 has 6 channels"),
        ([torch.full((8, 4, 4), torch.nan)], "not finite"),
    ],
)
def test_maps_that_cannot_be_shown_are_refused(maps, message):
    with pytest.raises(BadInput, match=message):
        pca_rgb(maps)


def test_matches_stand_where_they_should():
    a, b = np.zeros((100, 50, 3), np.uint8), np.full((200, 300, 3), 90, np.uint8)
    picture = matches_picture(a, b, [(25, 50), (10, 90)], [(150, 100), (250, 40)], correct=[True, False], height=400)
    assert picture.size == (200 + 28 + 600, 400)
    array = np.array(picture).astype(int)

    def close(place, colour):
        x, y = place
        window = array[y - 9 : y + 9, x - 9 : x + 9].reshape(-1, 3)
        return int((np.abs(window - colour).max(1) < 12).sum()) > 60

    for place, colour in (((100, 200), RIGHT), ((40, 360), WRONG), ((528, 200), RIGHT), ((728, 80), WRONG)):
        assert close(place, colour)
    assert not close((450, 350), RIGHT)
    assert not close((450, 350), WRONG)


def test_truth_is_ringed_only_where_the_match_is_wrong():
    a = np.zeros((100, 100, 3), np.uint8)
    same = {"points_a": [(50, 50)], "points_b": [(20, 20)], "height": 200}
    plain = np.array(matches_picture(a, a, **same, correct=[True]))
    np.testing.assert_array_equal(plain, matches_picture(a, a, **same, correct=[True], truth=[(80, 80)]))
    assert (plain != np.array(matches_picture(a, a, **same, correct=[False], truth=[(80, 80)]))).any()


def test_weak_matches_and_scores_change_the_picture():
    a = np.zeros((100, 100, 3), np.uint8)
    same = {"points_a": [(50, 50)], "points_b": [(20, 20)], "height": 200}
    pictures = [matches_picture(a, a, **same), matches_picture(a, a, **same, mutual=[False])]
    pictures.append(matches_picture(a, a, **same, scores=[0.5]))
    assert len({picture.tobytes() for picture in pictures}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points_b": [(1, 2), (3, 4)]}, "points_b has shape"),
        ({"points_a": [(np.nan, 2)]}, "point 0 is not finite"),
        ({"correct": [True, False]}, "correct has 2 values for 1 points"),
        ({"truth": [(1, 2, 3)]}, "truth has shape"),
        ({"theme": "purple"}, "light, dark"),
    ],
)
def test_points_that_do_not_fit_are_refused(changes, message):
    photo = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(BadInput, match=message):
        matches_picture(photo, photo, **{"points_a": [(1, 2)], "points_b": [(3, 4)], **changes})


def test_heat_glows_where_it_is_high():
    heat = np.zeros((8, 12))
    heat[2, 9] = 1
    shown = heat_overlay(np.full((160, 240, 3), 100, np.uint8), heat, mark=False).astype(int).sum(2)
    y, x = np.unravel_index(shown.argmax(), shown.shape)
    assert (y // 20, x // 20) == (2, 9)
    assert shown[50, 190] > 2 * shown[140, 40]


def test_flat_heat_and_bad_heat():
    assert heat_overlay(np.zeros((20, 20, 3), np.uint8), np.ones((4, 4))).shape == (20, 20, 3)
    for bad in (np.ones((2, 4, 4)), np.full((4, 4), np.inf)):
        with pytest.raises(BadInput, match="h w of finite values"):
            heat_overlay(np.zeros((20, 20, 3), np.uint8), bad)


def test_a_marked_point_is_a_copy():
    photo = np.zeros((64, 64, 3), np.uint8)
    assert mark_point(photo, (20, 30))[29, 19].tolist() == [255, 196, 0]
    assert not photo.any()


def test_coarse_maps_keep_their_cells_and_photos_are_smoothed():
    coarse = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(np.array(enlarge(coarse, 64)), coarse.repeat(8, 0).repeat(8, 1))
    photo = np.zeros((100, 100, 3), np.uint8)
    photo[:, 50:] = 255
    assert len(np.unique(np.array(enlarge(photo, 300)))) > 2


@pytest.mark.parametrize("theme", sorted(THEMES))
def test_a_sheet_has_its_pictures_in_rows_and_columns(theme):
    red, blue = (np.full((90, 90, 3), colour, np.uint8) for colour in ((250, 0, 0), (0, 0, 250)))
    sheet = contact_sheet(
        [[red, (blue, "a caption that is long enough to be broken")], [None, Image.fromarray(red)]],
        ["first", "second"], ["top"], title="Title", note="Note", height=100, theme=theme,
    )  # fmt: skip
    array = np.array(sheet).astype(int)
    assert array[0, 0].tolist() == list(THEMES[theme].paper)
    assert int((np.abs(array - (250, 0, 0)).max(2) < 8).sum()) == pytest.approx(2 * 100 * 100, rel=0.03)
    assert int((np.abs(array - (0, 0, 250)).max(2) < 8).sum()) == pytest.approx(100 * 100, rel=0.03)
    taller = contact_sheet([[red]], height=100, title="Title", theme=theme)
    assert taller.height > contact_sheet([[red]], height=100, theme=theme).height


def test_sheets_without_pictures_or_with_too_many_titles_are_refused():
    with pytest.raises(BadInput, match="at least one picture"):
        contact_sheet([[None]])
    with pytest.raises(BadInput, match="3 and 0 titles"):
        contact_sheet([[np.zeros((9, 9, 3), np.uint8)]], ["a", "b", "c"])


def test_wrapping_keeps_every_word_and_the_width():
    from shiftless.view.sheet import font

    text = "a photo of a brown horse with a white mane, ridden by a person"
    lines = wrap(text, font(15), 120)
    assert " ".join(lines) == text
    assert all(font(15).getlength(line) <= 120 for line in lines)
    assert wrap("", font(15), 100) == []


def test_a_word_that_is_too_long_is_broken_and_nothing_of_it_is_lost():
    from shiftless.view.sheet import font

    for text in ("x" * 90, "a photo/of-horses/named_without_spaces/anywhere.safetensors, twice", "ab"):
        for width in (8, 60, 200):
            lines = wrap(text, font(15), width)
            assert "".join(lines).replace(" ", "") == text.replace(" ", "")
            assert all(font(15).getlength(line) <= width or len(line) == 1 for line in lines)
    assert wrap("one-two-three", font(15), 70)[0].endswith("-")


def test_pictures_are_written_whole_or_refused(tmp_path):
    picture = Image.new("RGB", (8, 8))
    assert Image.open(save_picture(picture, tmp_path / "new" / "a.png")).size == (8, 8)
    (tmp_path / "file").write_text("")
    for path, message in ((tmp_path / "a.nonsense", "no format"), (tmp_path / "file" / "a.png", "cannot be written")):
        with pytest.raises(BadInput, match=message):
            save_picture(picture, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "new"]


def test_a_match_sheet_holds_the_matches_above_and_the_heat_below():
    from shiftless.tasks.correspondence import Matches

    a, b = np.full((100, 100, 3), 60, np.uint8), np.full((100, 200, 3), 60, np.uint8)
    result = Matches(np.array([[150.0, 50.0]]), np.array([0.8]), np.array([True]), np.array([[20.0, 30.0]]))
    heat = np.zeros((100, 200))
    heat[45:55, 145:155] = 1
    sheet = np.array(match_sheet(a, b, result, heat, height=200)).astype(int)
    assert sheet.shape == (428, 200 + 28 + 400, 3)
    below = sheet[228:, 228:].sum(2)
    assert below[88:112, 288:312].mean() > 2 * below[:, :150].mean()
    assert sheet[228 + 59, 39].tolist() == [255, 196, 0]


def test_heat_on_given_ends_is_as_bright_as_its_value():
    photo = np.zeros((20, 20, 3), np.uint8)
    brightness = [
        heat_overlay(photo, np.full((4, 4), value), mark=False, ends=(0, 4)).mean() for value in (0.0, 1.0, 2.0, 4.0)
    ]
    assert brightness == sorted(brightness)
    assert brightness[-1] > 2 * brightness[1] > 2 * brightness[0]


def test_columns_of_the_method_s_picture_share_one_scale_and_one_colour_space(hidden):
    maps = hidden[1][:, :, :20]
    photo = np.zeros((100, 100, 3), np.uint8)
    even, half = np.ones((4, 4)), np.zeros((4, 4))
    half[:, :2] = 2.0  # all mass on the left, twice as dense
    columns = [Column("even", maps[None], [even], ["50%"]), Column("left", maps[None], [7 * half])]
    sheet = np.array(method_picture(photo, columns, ["features", "heat"], height=100)).astype(int)
    bottom, right = sheet.shape[0] - 26 - 26, sheet.shape[1] - 26  # margins, and a line of caption
    first, second = (sheet[bottom - 90 : bottom - 10, x : x + 100] for x in (right - 214, right - 100))
    assert second[:, 10:40].mean() > 1.5 * first[:, 10:40].mean() > 1.5 * 1.5 * second[:, 60:90].mean()
    left, again = (sheet[bottom - 200 : bottom - 124, x + 10 : x + 90] for x in (right - 214, right - 100))
    assert np.ptp(left) > 200
    np.testing.assert_array_equal(left, again)


def test_an_outline_goes_around_its_mask_and_nowhere_else():
    mask = np.zeros((50, 50), bool)
    mask[10:40, 20:30] = True
    drawn = outlined(np.zeros((100, 100, 3), np.uint8), [Outline(mask, (255, 255, 255))]).sum(2)
    assert drawn[20:80, 36:44].max(1).all()
    assert not drawn[:, :34].any()
    assert not drawn[26:74, 45:54].any()


@pytest.mark.parametrize("heats", [[], [np.ones((2, 2))] * 2])
def test_a_column_has_a_map_for_each_row_of_heat(heats):
    with pytest.raises(BadInput, match="a map for each"):
        method_picture(np.zeros((20, 20, 3), np.uint8), [Column("a", torch.rand(1, 4, 2, 2), heats)], ["features", "h"])
