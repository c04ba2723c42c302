"""Masks written as LabelMe and COCO have them: their readers give exactly the masks back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shiftless.data.coco import coco_document, read_coco
from shiftless.data.labelled import read_labelled
from shiftless.data.labelme import LabelMe, labelme_document
from shiftless.data.outline import fill_polygon, polygons_of

NAMES = (["background", "leg", "tail"], ["sky", "sea", "sand"])
MASKS = arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.sampled_from([0, 1, 2, 255]))
RING = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]], bool)  # two holes that touch at a corner


def test_a_region_with_holes_is_one_polygon_along_the_edges_of_its_pixels():
    (polygon,) = polygons_of(RING)
    np.testing.assert_array_equal(fill_polygon(polygon, RING.shape), RING)
    assert {tuple(point) for point in polygon} >= {(0, 0), (4, 0), (4, 4), (0, 4), (1, 1), (2, 2), (3, 3)}
    x, y = polygon.T
    assert (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2 == RING.sum()
    assert polygons_of(np.zeros((3, 4), bool)) == []


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_polygons_fill_to_the_pixels_that_they_were_traced_around(inside):
    polygons = polygons_of(inside)
    total = sum((fill_polygon(one, inside.shape).astype(int) for one in polygons), np.zeros(inside.shape, int))
    np.testing.assert_array_equal(total, inside)  # and no pixel is in two of them


@settings(max_examples=40, deadline=None)
@given(MASKS, st.sampled_from(NAMES))
def test_both_formats_give_the_mask_back(mask, names):
    numbers = {name: number for number, name in enumerate(names)}
    document = json.loads(json.dumps(labelme_document(mask, names, "a.jpg")))
    np.testing.assert_array_equal(LabelMe(Path("a.json"), document).values(mask.shape, numbers), mask)
    if (mask != 255).any():  # COCO has no image without annotations
        document = json.loads(json.dumps(coco_document([("a.jpg", mask)], names)))
        ((photo, image),) = read_coco(Path(), Path("a.json"), document, Path)
        assert photo == Path("a.jpg")
        assert image.names() == names
        np.testing.assert_array_equal(image.values(mask.shape, numbers), mask)


def test_pycocotools_decodes_what_is_written():
    pytest.importorskip("pycocotools", reason='needs the extra "segment", which `make venv` installs')
    from pycocotools import mask as coco_mask

    mask = np.zeros((6, 5), np.uint8)
    mask[2:5, 1:4] = 1
    one = coco_document([("a.jpg", mask)], ["sky", "sea"])["annotations"][1]
    h, w = one["segmentation"]["size"]
    packed = coco_mask.frPyObjects(one["segmentation"], h, w)
    np.testing.assert_array_equal(coco_mask.decode(packed), mask)
    assert coco_mask.area(packed) == one["area"] == 9
    assert coco_mask.toBbox(packed).tolist() == one["bbox"] == [1, 2, 3, 3]


@pytest.mark.parametrize("kind", ["labelme", "coco"])
def test_a_folder_of_them_is_read_as_labelled_photos(tmp_path, kind):
    from PIL import Image

    masks = {name: np.random.default_rng(seed).integers(0, 3, (8, 9), np.uint8) for seed, name in enumerate("ab")}
    for name in masks:
        Image.fromarray(np.full((8, 9, 3), 90, np.uint8)).save(tmp_path / f"{name}.jpg")
    if kind == "coco":
        document = coco_document([(f"{name}.jpg", mask) for name, mask in masks.items()], NAMES[0])
        (tmp_path / "annotations.json").write_text(json.dumps(document))
    else:
        for name, mask in masks.items():
            document = labelme_document(mask, NAMES[0], f"{name}.jpg")
            (tmp_path / f"{name}.json").write_text(json.dumps(document))
    labelled = read_labelled(tmp_path)
    assert sorted(labelled.classes) == sorted(NAMES[0])
    order = [NAMES[0].index(name) for name in labelled.classes]
    for photo, mask in zip(labelled.photos, masks.values()):
        np.testing.assert_array_equal(np.array(order)[photo.mask()], mask)
