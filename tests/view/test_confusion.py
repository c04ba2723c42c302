from __future__ import annotations

import numpy as np
import pytest

from shiftless.errors import BadInput
from shiftless.view.confusion import RIGHT, WRONG, confusion_picture

NAMES = ["ear", "mane", "tail"]


def near(picture, colour, tolerance: int = 3) -> np.ndarray:
    return np.abs(np.array(picture).astype(int) - colour).max(2) <= tolerance


def test_a_perfect_answer_is_blue_on_the_diagonal_and_orange_nowhere():
    picture = confusion_picture(np.diag([5, 50, 500]), NAMES)
    rows, columns = np.nonzero(near(picture, RIGHT))
    assert len(rows) > 3 * 1000
    offset = columns.min() - rows.min()
    assert np.abs(columns - rows - offset).max() < 46
    assert not near(picture, WRONG).any()


def test_rows_are_normalised_so_that_small_classes_count_alike():
    few, many = (confusion_picture([[9 * k, 1 * k], [0, 7]], NAMES[:2]) for k in (1, 1000))
    few, many = (np.array(picture)[:, :195] for picture in (few, many))  # but for the areas
    np.testing.assert_array_equal(few, many)


def test_a_wrong_row_is_orange_where_it_was_predicted():
    picture = confusion_picture([[0, 8], [0, 8]], NAMES[:2])
    (top, wrong), (low, right) = (
        (rows.mean(), columns.mean()) for rows, columns in (np.nonzero(near(picture, c)) for c in (WRONG, RIGHT))
    )
    assert top < low - 30
    assert abs(wrong - right) < 4


def test_classes_without_pixels_are_left_out_and_a_class_without_labels_is_not():
    counts = np.zeros((3, 3), int)
    counts[0, 0], counts[0, 1] = 6, 2
    assert confusion_picture(counts, NAMES).height < confusion_picture(counts + np.eye(3, dtype=int), NAMES).height


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_can_be_read_at_34_classes(theme):
    names = [f"a part of some name {k}" for k in range(34)]
    picture = confusion_picture(np.eye(34, dtype=int) * 7 + 1, names, title="34 classes", theme=theme)
    assert 34 * 36 < picture.width < 1700
    assert 34 * 36 < picture.height < 1700


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.ones((2, 2)), "for 3 classes"),
        (np.zeros((3, 3)), "all 0"),
        (-np.eye(3), "negative"),
        (np.full((3, 3), np.nan), "not finite"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(counts, message):
    with pytest.raises(BadInput, match=message):
        confusion_picture(counts, NAMES)
