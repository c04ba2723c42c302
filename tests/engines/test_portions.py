"""Portions hold whole batches, all photos once, and do not depend on who reads them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shiftless.engines.portions import portion_size, portions, with_ends
from shiftless.reading.loop import WINDOW_END, _cut


@given(st.integers(0, 5000), st.integers(1, 16))
def test_portions_are_whole_batches_of_all_photos_and_end_where_one_process_ends_batches(count, batch):
    photos = [str(i) for i in range(count)]
    pieces = portions(photos, batch)
    assert [photo for piece in pieces for photo in piece] == photos
    size = portion_size(count, batch)
    assert size % batch == 0
    assert all(len(piece) == size for piece in pieces[:-1])
    assert len(pieces) >= min(64, -(-count // batch))
    apart = [window for piece in pieces for window in _cut(piece, batch)]
    assert list(_cut(with_ends(photos, batch, len(photos)), batch)) == apart


def test_a_photo_that_is_left_out_moves_no_other_into_another_portion_s_batch():
    left = [one for one in with_ends("abcdefgh", 2, 8) if one != "c"]
    assert list(_cut(left, 2)) == [["a", "b"], ["d"], ["e", "f"], ["g", "h"]]
    assert left[-1] is WINDOW_END
