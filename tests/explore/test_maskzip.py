"""Zips of masks: what goes out comes back, and nothing else gets in."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from shiftless.data.coco import coco_document
from shiftless.data.labelled import read_labelled
from shiftless.errors import BadInput
from shiftless.explore.album import Album
from shiftless.explore.limits import Limits
from shiftless.explore.maskzip import FORMATS, read_masks, write_zip
from shiftless.explore.strokes import ClassColours

CLASSES = ClassColours(("ground", "square"), ((9, 9, 9), (250, 0, 0)))
MASK = (np.arange(64 * 48).reshape(48, 64) % 7 == 0).astype(np.uint8)


@pytest.fixture
def album(folder):
    return Album([folder], Limits(mask_bytes=200_000))


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return out.getvalue()


def png(mask, mode=None):
    out = io.BytesIO()
    Image.fromarray(mask, mode).save(out, "PNG")
    return out.getvalue()


def test_what_was_exported_comes_back(album):
    painted = np.where(MASK == 1, 1, 255).astype(np.uint8)
    whole = write_zip(album, CLASSES, {0: MASK, 2: 1 - MASK}, {2: painted})
    back = read_masks(album, whole)
    assert back.classes == CLASSES
    assert list(back.masks) == [2]  # what was painted, where there is any
    np.testing.assert_array_equal(back.masks[2].mask(), painted)
    back = read_masks(album, write_zip(album, CLASSES, {0: MASK}, {}))
    np.testing.assert_array_equal(back.masks[0].mask(), MASK)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("names", [("ground", "square"), ("background", "square")])
def test_every_form_gives_back_what_was_painted(album, form, names):
    classes = ClassColours(names, CLASSES.palette)
    painted = np.where(np.arange(48)[:, None] < 20, 255, MASK).astype(np.uint8)
    whole = write_zip(album, classes, {0: MASK, 1: MASK}, {0: 1 - MASK, 2: painted}, form)
    back = read_masks(album, whole)
    assert (back.classes, sorted(back.masks), back.ignored) == (classes, [0, 2], ())
    np.testing.assert_array_equal(back.masks[2].mask(), painted)
    np.testing.assert_array_equal(back.masks[0].mask(), 1 - MASK)
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        files = set(file.namelist())
    assert len(files) == (3 if form == "coco" else 5)


def test_a_file_that_another_tool_wrote_is_taken_alone(album):
    coco = coco_document([("a.jpg", MASK), ("elsewhere.jpg", MASK)], ["square", "sky"])
    back = read_masks(album, json.dumps(coco).encode())  # a.png is here; its ending does not matter
    assert (back.classes.names, list(back.masks), back.ignored) == (("square", "sky"), [0], ("elsewhere.jpg",))
    np.testing.assert_array_equal(back.masks[0].mask(), MASK)
    triangle = {"label": "ear", "points": [[0, 0], [20, 0], [0, 20]], "shape_type": "polygon"}
    notes = {"shapes": [triangle], "imagePath": "inner/c.png", "imageHeight": 48, "imageWidth": 64}
    back = read_masks(album, json.dumps(notes).encode())
    assert back.classes.names == ("background", "ear")
    assert back.masks[2].mask().sum() == 190  # centres within x + y <= 20 - 1: 19 + 18 + ... + 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not JSON"),
        (b"{}", "neither COCO"),
        (b'{"shapes": [], "imagePath": "zebra.png"}', "zebra.png, and no photo here is called so"),
        (b'{"shapes": [{"label": "a", "points": [[1, 1]]}], "imagePath": "a.png"}', "needs 3 or more"),
        (b'{"images": [], "annotations": [], "categories": []}', "at least one"),
        (b'{"shapes": [], "imagePath": "a.png", "imageHeight": 5, "imageWidth": 5}', "5"),
    ],
)
def test_a_file_that_is_none_is_told_in_one_line(album, content, words):
    with pytest.raises(BadInput, match=words) as told:
        read_masks(album, content)
    assert "\n" not in str(told.value)


def test_another_format_is_refused(album):
    with pytest.raises(BadInput, match="png, labelme, coco"):
        write_zip(album, CLASSES, {0: MASK}, {}, "voc")


def test_beside_the_photos_it_is_a_folder_that_segment_reads(album, folder, tmp_path):
    zipfile.ZipFile(io.BytesIO(write_zip(album, CLASSES, dict.fromkeys(range(3), MASK), {}))).extractall(tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png", "inner/c.png"):
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / name).write_bytes((folder / name).read_bytes())
    labelled = read_labelled(tmp_path)
    assert tuple(labelled.classes) == CLASSES.names
    np.testing.assert_array_equal(labelled[0].mask(), MASK)


GOOD = json.dumps({"classes": ["ground", "square"]})


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"masks/a.png": png(MASK)}, "has no classes.json"),
        ({"classes.json": "{", "masks/a.png": png(MASK)}, "not JSON"),
        ({"classes.json": '{"classes": [1, 2]}', "masks/a.png": png(MASK)}, "classes.json: give"),
        ({"classes.json": '{"classes": ["a", "b"], "palette": [[1, 2, 3]]}', "masks/a.png": png(MASK)}, "2 classes"),
        ({"classes.json": '{"classes": ["a", "b"], "palette": [[1, 2], 3]}', "masks/a.png": png(MASK)}, "palette"),
        ({"classes.json": GOOD}, "no mask in the zip"),
        ({"classes.json": GOOD, "masks/../../a.png": png(MASK)}, "no mask in the zip"),
        ({"classes.json": GOOD, "/masks/a.png": png(MASK)}, "no mask in the zip"),
        ({"classes.json": GOOD, "masks/a.png": png(MASK[:20])}, "masks/a.png: 64 x 20 pixels"),
        ({"classes.json": GOOD, "masks/a.png": png(MASK + 5)}, "masks/a.png: holds the values 5, 6"),
        ({"classes.json": GOOD, "masks/a.png": png(np.zeros((48, 64, 3), np.uint8))}, "in colours"),
        ({"classes.json": GOOD, "masks/a.png": bytes(250_000)}, "masks/a.png: unpacks to over"),
        ({"classes.json": GOOD, "masks/a.png": b"no PNG"}, "not a whole zip of masks"),
    ],
)
def test_what_is_wrong_is_named(album, files, fault):
    with pytest.raises(BadInput, match=fault):
        read_masks(album, zipped(**files))


def test_half_a_zip_is_refused(album):
    whole = write_zip(album, CLASSES, {0: MASK}, {})
    for content in (b"", b"PK", whole[: len(whole) // 2]):
        with pytest.raises(BadInput, match="not a whole zip"):
            read_masks(album, content)


def test_two_photos_of_one_name_get_masks_of_their_own(tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / name)
    assert Album([tmp_path]).mask_names() == ["a.png", "a-2.png"]
