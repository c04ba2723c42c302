"""COCO's polygons and run lengths, equal to pycocotools, and files that would break it."""

from __future__ import annotations

import copy
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

from shiftless.data.coco import _from_runs, _runs
from shiftless.data.labelled import IGNORE, read_labelled
from shiftless.errors import BadInput

HW = (8, 10)
SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]
CROWD = {"counts": [40, 40], "size": [8, 10]}  # the right half: run lengths go down the columns
NOTES = {
    "images": [{"id": 7, "file_name": "a.jpg", "height": 8, "width": 10}],
    "categories": [{"id": 18, "name": "leg"}, {"id": 3, "name": "ear"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 18, "segmentation": [SQUARE]},
        {"id": 2, "image_id": 7, "category_id": 3, "segmentation": CROWD, "iscrowd": 1},
        {"id": 3, "image_id": 7, "category_id": 3, "segmentation": {"counts": [0, 2, 78], "size": [8, 10]}},
    ],
}


@pytest.fixture
def coco(tmp_path):
    """Write a photo and annotations; the folder."""

    def write(notes: object, name: str = "annotations.json"):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", HW[::-1]).save(tmp_path / "images" / "a.jpg")
        (tmp_path / name).write_text(json.dumps(notes))
        return tmp_path

    return write


def changed(path: str, value: object) -> dict:
    notes = copy.deepcopy(NOTES)
    *heads, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place = notes
    for head in heads:
        place = place[head]
    place[last] = value
    return notes


@pytest.mark.parametrize("name", ["annotations.json", "instances.json"])
def test_polygons_run_lengths_and_crowds(coco, name):
    labelled = read_labelled(coco(NOTES, name))
    assert labelled.classes == ("background", "ear", "leg")  # in the order of their ids, which begin at 3
    truth = np.zeros(HW, int)
    truth[:, 5:] = IGNORE  # the crowd, below what else is drawn
    truth[2:6, 2:6], truth[:2, 0] = 2, 1
    assert labelled[0].mask().tolist() == truth.tolist()
    assert labelled[0].name == "a"


def test_categories_take_the_numbers_of_a_list(coco):
    folder = coco(NOTES)
    (folder / "classes.txt").write_text("leg\near\ntail")
    labelled = read_labelled(folder)
    assert labelled.classes == ("leg", "ear", "tail")
    assert np.unique(labelled[0].mask()).tolist() == [0, 1, IGNORE]  # nothing is called background


def test_splits_in_folders_of_their_own(coco, tmp_path):
    folder = coco(NOTES)
    for split in ("train", "test"):
        (folder / split).mkdir()
        Image.new("RGB", HW[::-1]).save(folder / split / "a.jpg")
        (folder / split / "_annotations.coco.json").write_text(json.dumps(NOTES))
    (folder / "annotations.json").unlink()
    assert [one.name for one in read_labelled(folder)] == ["train/a", "test/a"]


@settings(max_examples=30)
@given(arrays(np.uint8, HW, elements={"min_value": 0, "max_value": 1}))
def test_run_lengths_are_those_of_pycocotools(mask):
    from pycocotools import mask as coco_mask

    packed = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
    assert _from_runs(_runs(packed, "a"), HW, "a").tolist() == mask.astype(bool).tolist()


def test_long_run_lengths():
    from pycocotools import mask as coco_mask

    mask = np.zeros((300, 400), np.uint8)
    mask[20:280, 30:350] = np.random.default_rng(0).integers(0, 2, (260, 320))
    packed = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
    assert (_from_runs(_runs(packed, "a"), (300, 400), "a") == mask).all()


def test_polygons_need_pycocotools_and_say_so(coco, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(BadInput, match=r'pip install "shiftless\[segment\]"'):
        read_labelled(coco(NOTES))[0].mask()


def region(segmentation: object) -> dict:
    return changed("annotations/0/segmentation", segmentation)


def runs(counts: object, size: object = HW) -> dict:
    return region({"counts": counts, "size": size})


@pytest.mark.parametrize(
    ("notes", "says"),
    [
        (changed("images", []), "'images' must be a list of at least one"),
        (changed("images/0", {"id": 7}), "image 7: has no 'file_name'"),
        (changed("images/0/file_name", "b.jpg"), "no picture"),
        (changed("images/0/id", 8), "image 7, which is not in 'images'"),
        (changed("images/0/height", 9), "10x9"),
        (changed("annotations", []), "a.jpg has no annotation"),
        (changed("annotations", {}), "'annotations' must be a list"),
        (changed("annotations/0/category_id", 1), "annotation 1: category 1 is not"),
        (changed("annotations/0/image_id", "7"), "'image_id' is '7'"),
        (changed("categories/1/id", 18), "has the id 18"),
        (changed("categories/1/name", " "), "category 3: 'name' is"),
        (region(None), "annotation 1: has no 'segmentation'; a box"),
        (region([[1, 2, 3, 4]]), "three points"),
        (region([[1, 2, 3, 4, 5, float("nan")]]), "three points"),
        (region([[1, 2, 3, 4, 5, 10**400]]), "three points"),
        (region([[1, 2, 3, 4, 5, 1e9]]), "far out of the 10x8 photo"),
        (region("abc"), "polygons"),
        (runs([40, 40], [10, 8]), "8x10"),
        (runs([40, 40], 8), "'size' is 8"),
        (runs([40, 41]), "add up to 8 x 10"),
        (runs([-1, 81]), "add up to"),
        (runs([40.0, 40]), "whole numbers"),
        (runs(""), "add up to"),
        (runs("0180000000000"), "add up to"),
        (runs("zzzz"), "none of their characters"),
        (runs("X1X"), "cut off"),
    ],
)
def test_files_that_are_refused(coco, notes, says):
    with pytest.raises(BadInput, match=says):
        read_labelled(coco(notes))[0].mask()
