"""The picture and the page of a search's hits."""

from __future__ import annotations

import numpy as np
import pytest

from shiftless.errors import BadInput
from shiftless.view.hits import ShownHit, hits_picture, search_page

PHOTO = np.zeros((60, 80, 3), np.uint8)


def marks(picture) -> np.ndarray:
    """Where the colour of the marks is."""
    return (np.asarray(picture) == (255, 196, 0)).all(2)


def test_the_query_and_each_hit_have_a_mark():
    seen = marks(hits_picture(PHOTO, [], at=(40, 30), height=90))
    assert seen.any()
    rows, columns = np.nonzero(seen)
    assert (rows.mean().round(), columns.mean().round()) == (26 + 45, 26 + 60)  # the middle, behind the margin of 26
    two = marks(hits_picture(PHOTO, [ShownHit("a.png", PHOTO, (10, 10), 0.5)], at=(40, 30), height=90))
    assert two.sum() == pytest.approx(2 * seen.sum(), rel=0.2)
    box = marks(hits_picture(PHOTO, [], region=(20, 15, 60, 45), height=90))
    rows, columns = np.nonzero(box)
    assert (columns.min() - 26, columns.max() - 26) == (30, 90)
    assert (rows.min() - 26, rows.max() - 26) == (22, 67)  # 22.5 and 67.5 in the picture


def test_the_page_lists_the_hits_and_escapes_their_names(tmp_path):
    hits = [ShownHit("<b>.png", None, (1.25, 2), 0.5)]
    page = search_page(tmp_path, PHOTO, hits, at=(4, 4), lead="a & b").read_text()
    assert "1: &lt;b&gt;.png" in page
    assert "a &amp; b" in page
    assert "<td>1.2</td>" in page
    with pytest.raises(BadInput, match="no hits"):
        search_page(tmp_path, PHOTO, [], at=(4, 4))
