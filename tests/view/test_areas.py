"""The areas are CSV that any reader takes, and a million photos need the memory of one."""

from __future__ import annotations

import csv
import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftless.errors import BadInput
from shiftless.view.areas import areas_csv, areas_file

CLASSES = ("ear", 'the "long", mane')


@settings(max_examples=30)
@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1),
                          st.lists(st.integers(0, 10**7), min_size=2, max_size=2)), max_size=3))  # fmt: skip
def test_every_photo_and_class_reads_back(rows):
    lines = list(csv.reader(io.StringIO(areas_csv(rows, CLASSES), newline="")))
    assert lines[0] == ["photo", "class", "pixels", "share"]
    assert [(name, one, int(pixels)) for name, one, pixels, _ in lines[1:]] == [
        (name, one, pixels) for name, counts in rows for one, pixels in zip(CLASSES, counts)
    ]
    for _, counts in rows:
        shares = [float(line[3] or 0) for line in lines[1:3]]
        del lines[1:3]
        assert sum(shares) == pytest.approx(1 if sum(counts) else 0, abs=1e-5)


def test_the_file_is_the_text_and_appears_at_the_end(tmp_path):
    rows = [("a,b.jpg", np.array([3, 1])), (os.fsdecode(b"caf\xe9.jpg"), np.array([0, 0]))]
    path = tmp_path / "areas.csv"
    with areas_file(path, CLASSES) as add:
        for name, counts in rows:
            add(name, counts)
        assert not path.exists()
    assert path.read_bytes() == areas_csv(rows, CLASSES).encode("utf-8", "surrogateescape")
    assert b"caf\xe9.jpg,ear,0,\n" in path.read_bytes()


def test_an_interrupted_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "areas.csv"
    path.write_text("old")

    def interrupted() -> None:
        with areas_file(path, CLASSES) as add:
            add("a.jpg", [3, 1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["areas.csv"]


@pytest.mark.parametrize("counts", [[1], [1.5, 2.0], [-1, 2]])
def test_counts_that_are_none_are_refused_by_the_photo_s_name(counts):
    with pytest.raises(BadInput, match=r"^tom\.jpg: .* give pixels of 2 classes"):
        areas_csv([("tom.jpg", counts)], CLASSES)
