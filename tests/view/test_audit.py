"""A sheet shows what it should where it should: ranks are columns, heat is where content shifted."""

from __future__ import annotations

import numpy as np
import pytest

from shiftless.errors import BadInput
from shiftless.recipe import Recipe
from shiftless.view.audit import Album, columns, heat_scale, photo_sheet, roles, shift_overlay, small


def test_the_heat_of_a_moved_blob_is_where_it_was_and_where_it_is_now_and_nowhere_else():
    kept = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    where = np.zeros((60, 90), np.float32)
    where[10:20, 10:20] = where[10:20, 60:70] = 12
    untouched, hot = (shift_overlay(kept, one, 20.0) for one in (np.zeros_like(where), where))
    np.testing.assert_array_equal((hot != untouched).any(2), where > 0)
    assert (np.ptp(untouched, 2) == 0).all()  # grey: only shift has a colour


def test_more_shift_glows_more_and_the_scale_ends_at_its_top():
    kept = np.full((1, 5, 3), 90, np.uint8)
    glow = shift_overlay(kept, np.array([[0.0, 5, 10, 20, 40]]), 20.0).astype(int).sum(2)[0]
    assert glow[0] < glow[1] < glow[2] < glow[3] == glow[4]
    with pytest.raises(BadInput, match="finite"):
        shift_overlay(kept, np.array([[np.nan]]), 20.0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_sheet_is_as_large_as_its_columns_and_rows(seen_of, theme):
    labels = ["bare", "captions", "edges"]
    full = photo_sheet(seen_of(3), labels, [0, 1, 2], theme=theme)
    fewer = photo_sheet(seen_of(2), labels[:2], [0, 1], theme=theme)
    short = photo_sheet(seen_of(3, finished=False), labels, [0, 1, 2], theme=theme)
    assert full.width - fewer.width == 180 + 14  # a column
    assert full.height - short.height > 180  # a row
    assert full.width > 4 * 180


def test_columns_are_in_ranked_order(seen_of):
    ahead, back = (np.array(photo_sheet(seen_of(2), ["a", "a"], order)) for order in ([0, 1], [1, 0]))
    first, second = (
        slice(left, left + 180) for left in (ahead.shape[1] - 26 - 2 * 180 - 14, ahead.shape[1] - 26 - 180)
    )
    assert not np.array_equal(ahead, back)
    rows = slice(60, 240)  # the predictions, without what is written under them
    np.testing.assert_array_equal(ahead[rows, first], back[rows, second])
    heat = slice(270, 460)
    assert (ahead[heat, first] != back[heat, first]).any()


def test_sheets_show_the_best_the_worst_and_the_bare_reading_at_the_timestep_where_recipes_differ_most(audit_of):
    loras = {Recipe(timestep=300, lora=f"l{i}"): 0.3 + i / 100 for i in range(9)}
    calm = {Recipe(timestep=100, lora=f"l{i}"): 0.1 + i / 1000 for i in range(9)}
    audit = audit_of({Recipe(timestep=100): 0.105, **calm, Recipe(timestep=300): 0.345, **loras})
    shown = columns(audit)
    assert [audit.recipes[k].timestep for k in shown] == [300] * 7
    assert [audit.recipes[k].lora for k in shown] == [*((f"l{i}",) for i in range(5)), (), ("l8",)]
    labels = roles(audit, shown)
    assert labels[shown[0]] == "t=300 LoRA l0\n(least shift)"
    assert labels[shown[-2]] == "t=300\n(bare)"
    assert labels[shown[-1]] == "t=300 LoRA l8\n(most shift)"
    assert columns(audit, most=1) == shown[:1]
    assert set(columns(audit, most=3)) == {shown[0], shown[-2], shown[-1]}


def test_where_nothing_differs_the_noisiest_timestep_is_shown(audit_of):
    audit = audit_of({Recipe(timestep=t): t / 1000 for t in (100, 600, 300)})
    assert [audit.recipes[k].timestep for k in columns(audit)] == [600]
    assert roles(audit, columns(audit)) == [recipe.label for recipe in audit.recipes]


def test_the_bare_reading_that_is_best_is_called_both(audit_of):
    audit = audit_of({Recipe(timestep=300): 0.1, Recipe(timestep=300, lora="a"): 0.2})
    assert roles(audit, columns(audit)) == ["t=300\n(bare, least shift)", "t=300 LoRA a\n(most shift)"]


def test_long_labels_and_narrow_photos_stay_inside_their_columns(seen_of):
    recorded = seen_of(2, hw=(128, 24))
    plain = photo_sheet(recorded, ["a", "b"], [0, 1])
    long = photo_sheet(recorded, ["x" * 120, "a-name/of_many-parts " * 6], [0, 1])
    assert long.width == plain.width
    assert long.height > plain.height + 100


def test_one_scale_holds_nearly_all_of_what_is_shown(seen_of):
    assert heat_scale([seen_of(3, shift=0.1)], [0, 1, 2]) == 5  # what nobody sees does not glow
    assert heat_scale([seen_of(3, shift=33)], [2]) == 40
    assert heat_scale([seen_of(3, shift=33)], [0]) == 15
    assert heat_scale([seen_of(1, shift=0.1), seen_of(1, shift=500)], [0]) == 100


def test_ranks_that_are_not_the_labels_are_refused(seen_of):
    for labels, ranked in ((["a"], [0]), (["a", "b"], [0, 2]), (["a", "b"], [0, 0]), (["a", "b"], []), ([], [])):
        with pytest.raises(BadInput, match="one of each"):
            photo_sheet(seen_of(2), labels, ranked)


def test_an_album_keeps_the_photos_that_shifted_most_and_no_more_pixels_than_it_draws(seen_of):
    album = Album(most=2)
    for shift in (3.0, 9.0, 1.0, 6.0):
        album(seen_of(2, name=f"{shift:g}", hw=(512, 768), shift=shift))
    assert [one.name for one in album.sheets] == ["9", "6"]
    one = album.sheets[0]
    assert one.given.shape == one.once[1].shape == one.finished[0].shape == (147, 220, 3)
    assert one.where[0].shape == (147, 220)
    assert one.where[1][3, 3] == pytest.approx(9)
    assert one.where[1][6:, 6:].max() == 0
    assert small(one).given is one.given
    assert photo_sheet(one, ["a", "b"], [0, 1]).size == photo_sheet(seen_of(2, hw=(512, 768)), ["a", "b"], [0, 1]).size
