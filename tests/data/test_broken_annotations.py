"""Annotation files that break parsers, number conversions and file systems are refused in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from shiftless.bench.table import read_table
from shiftless.data.pairs import read_pairs
from shiftless.data.spair import read_spair
from shiftless.errors import BadInput

DEEP = "[" * 100_000 + "]" * 100_000
HUGE = 10**400  # larger than any float


@pytest.fixture
def own(tmp_path):
    """Write annotations.json of two pictures with some fields changed; the folder."""

    def write(**fields: object):
        for name in ("a.png", "b.png"):
            Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / name)
        record = {"width": 60, "height": 40, "keypoints": [[10, 20], [30, 7]]}
        images = {"a": {**record, "file": "a.png", **fields}, "b": {**record, "file": "b.png"}}
        (tmp_path / "annotations.json").write_text(json.dumps({"images": images, "pairs": [["a", "b"]]}))
        return tmp_path

    return write


def test_the_pairs_themselves_are_fine(own):
    assert len(read_pairs(own())) == 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"keypoints": [[HUGE, 1]]}, "points must be a list of"),
        ({"bbox": [0, 0, HUGE, 4]}, "the box must be four numbers"),
        ({"file": "x" * 5000}, "there is no picture"),
        ({"file": "a\0.png"}, "there is no picture"),
        ({"width": "x" * 5000}, "give a whole number of pixels"),
    ],
    ids=["points", "box", "long name", "null name", "width"],
)
def test_fields_that_no_library_takes(own, fields, says):
    with pytest.raises(BadInput, match=says):
        read_pairs(own(**fields))


@pytest.mark.parametrize(
    ("text", "says"), [(DEEP, "nested too deeply"), ('{"a": ' + "9" * 6000 + "}", "not valid JSON")]
)
def test_json_that_breaks_the_parser(own, text, says):
    folder = own()
    (folder / "annotations.json").write_text(text)
    with pytest.raises(BadInput, match=says):
        read_pairs(folder)
    with pytest.raises(BadInput, match="not a table"):
        read_table(folder / "annotations.json")


def test_tables_with_numbers_that_are_too_large(tmp_path):
    row = {"method": "a", "metric": "p", "value": HUGE, "ci95": [0, 1]}
    (tmp_path / "a.json").write_text(json.dumps({"bench": "b", "model": "m", "machine": "x", "rows": [row]}))
    with pytest.raises(BadInput, match="not a table"):
        read_table(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"src_imname": [0] * 1000}, "there is no picture"),
        ({"src_imsize": [float("inf"), 40, 3]}, "src_imsize is"),
        ({"src_imsize": [HUGE, 40, 3]}, "it must be the photo's size in pixels"),
        ({"trg_bndbox": [0, 0, HUGE, 1]}, "the box must be four numbers"),
    ],
    ids=["name", "size", "huge size", "box"],
)
def test_spair_annotations(tmp_path, fields, says):
    note = {"category": "cat", "trg_bndbox": [1, 1, 40, 30]}
    (tmp_path / "JPEGImages" / "cat").mkdir(parents=True)
    for side in ("src", "trg"):
        note |= {f"{side}_imname": "a.jpg", f"{side}_imsize": [60, 40, 3], f"{side}_kps": [[10, 20]]}
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "JPEGImages" / "cat" / "a.jpg")
    for path, text in (
        (tmp_path / "Layout" / "large" / "test.txt", "1-a-a:cat\n"),
        (tmp_path / "PairAnnotation" / "test" / "1-a-a:cat.json", json.dumps({**note, **fields})),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    with pytest.raises(BadInput, match=says):
        read_spair(tmp_path)
