"""The album: numbers in the place of paths, and what it leaves out."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from shiftless.errors import BadInput
from shiftless.explore.album import Album, picture_bytes
from shiftless.explore.limits import Limits
from shiftless.image import open_photo


def png(pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_a_link_that_leads_out_of_the_folder_is_left_out_and_said(folder):
    album = Album([folder])
    assert [one.name for one in album.entries] == ["a.png", "b.png", "inner/c.png"]
    assert [line.partition(":")[0] for line in album.left_out] == [str(folder / "link.png")]


def test_only_so_many_are_shown(folder):
    album = Album([folder], Limits(photos=2))
    assert len(album) == 2
    assert "beyond the 2 photos" in album.left_out[-2]


@pytest.mark.parametrize("number", [-1, 3, 10**9])
def test_a_number_that_no_photo_has_is_refused(folder, number):
    album = Album([folder])
    for look in (album.photo, album.digest, album.entry):
        with pytest.raises(BadInput, match=f"no photo has the number {number}"):
            look(number)


def test_a_photo_that_is_broken_does_not_take_the_others_with_it(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "b.png")
    album = Album([tmp_path])
    good, bad = album.sort([0, 1])
    assert good == (1,)
    assert "not a picture" in bad[0]
    with pytest.raises(BadInput, match="not a picture"):
        album.sort([0])


def test_uploads_are_held_to_their_limit_together():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    album = Album([], Limits(uploads_bytes=3000))
    assert album.add(r"C:\photos\a.png", png(pixels[0])) == 0
    assert album.entry(0).name == "a.png"
    with pytest.raises(BadInput, match="uploads would take over"):
        album.add("../b.png", png(pixels[1]))
    np.testing.assert_array_equal(album.photo(0).array, pixels[0])


def test_large_photos_are_sent_smaller_and_small_ones_exactly():
    photo = open_photo(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    content, kind = picture_bytes(photo, 4096)
    assert kind == "image/png"
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(content))), photo.array)
    content, kind = picture_bytes(photo, 15)
    assert (Image.open(io.BytesIO(content)).size, kind) == ((15, 10), "image/jpeg")
