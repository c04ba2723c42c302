"""Folders of labelled photos: layouts, splits, names of classes, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shiftless.data.labelled import IGNORE, LabelledPhotos, never_labelled, read_labelled
from shiftless.data.palette import class_colours
from shiftless.errors import BadInput

HALF = np.repeat([[0, 1]], 8, 0).repeat(5, 1).astype(np.uint8)  # 8 high, 10 wide
QUARTER = np.where(np.arange(8)[:, None] < 4, HALF, 2).astype(np.uint8)
PACKS = os.environ.get("SHIFTLESS_LABELLED", "")


def photo(path: Path, hw: tuple[int, int] = (8, 10), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", hw[::-1]).save(path, **options)
    return path


def mask(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values.astype(np.uint8)).save(path)
    return path


def masks(labelled: LabelledPhotos) -> list[list]:
    return [one.mask().tolist() for one in labelled]


@pytest.fixture
def pair(tmp_path):
    """images/ and masks/ of two photos with three classes."""
    for name, values in (("a.png", HALF), ("b.npy", QUARTER)):
        photo(tmp_path / "images" / name.replace("npy", "jpg"))
        mask(tmp_path / "masks" / name, values)
    return tmp_path


def test_images_and_masks(pair):
    labelled = read_labelled(pair)
    assert [one.name for one in labelled] == ["a", "b"]
    assert masks(labelled) == [HALF.tolist(), QUARTER.tolist()]
    assert labelled.classes == ("class 0", "class 1", "class 2")
    assert labelled.palette.tolist() == class_colours(labelled.classes).tolist()
    assert labelled[0].photo == pair / "images" / "a.png"
    assert labelled[1].where == str(pair / "masks" / "b.npy")
    assert never_labelled(labelled) == ()
    assert never_labelled(labelled[:1]) == ("class 2",)
    assert masks(pickle.loads(pickle.dumps(labelled))) == masks(labelled)  # as workers of a DataLoader get it


@pytest.mark.parametrize("inner", ["images/{}/a.png", "{}/images/a.png"])
def test_splits(tmp_path, inner):
    for number, split in enumerate(("train", "test")):
        photo(tmp_path / inner.format(split))
        mask(tmp_path / inner.format(split).replace("images", "masks"), HALF + number)
    assert [one.name for one in read_labelled(tmp_path)] == (
        ["test/a", "train/a"] if inner.startswith("images") else ["train/a", "test/a"]
    )
    train = read_labelled(tmp_path, "train")
    assert masks(train) == [HALF.tolist()]
    assert len(train.classes) == 3  # those of all splits
    assert [one.name for one in read_labelled(tmp_path, usual="test")] == ["test/a"]
    assert len(read_labelled(tmp_path, usual="val")) == 2
    with pytest.raises(BadInput, match="no split 'val'; it has train, test"):
        read_labelled(tmp_path, "val")


def test_masks_beside_their_photos(tmp_path):
    photo(tmp_path / "a.jpg")
    mask(tmp_path / "a.png", HALF)
    photo(tmp_path / "b.png")
    mask(tmp_path / "b.npy", QUARTER)
    assert masks(read_labelled(tmp_path)) == [HALF.tolist(), QUARTER.tolist()]


def test_a_list_of_classes(pair):
    (pair / "classes.json").write_text(
        json.dumps({"classes": ["sky", "leg", "void"], "ignore": 2, "palette": [[1, 2, 3]], "unscored": ["sky"]})
    )
    labelled = read_labelled(pair)
    assert (labelled.classes, labelled.unscored) == (("sky", "leg"), (0,))
    assert labelled[1].mask().tolist() == np.where(QUARTER == 2, IGNORE, QUARTER).tolist()
    assert labelled.palette[0].tolist() == [1, 2, 3]
    assert never_labelled(labelled) == ()


def test_an_ignored_class_in_the_middle_keeps_the_numbers_of_the_others(pair):
    (pair / "classes.json").write_text(json.dumps({"classes": ["sky", "void", "leg"], "ignore": 1}))
    labelled = read_labelled(pair)
    assert (labelled.classes, labelled.unscored) == (("sky", "void", "leg"), (1,))
    assert np.unique(labelled[1].mask()).tolist() == [0, 2, IGNORE]


def test_names_a_line(pair):
    (pair / "classes.txt").write_text("__ignore__\n_background_\n leg\near \n\n")
    assert read_labelled(pair).classes == ("background", "leg", "ear")
    assert read_labelled(pair).palette[0].tolist() == [60, 60, 60]


def test_the_colours_of_an_indexed_png_are_kept(pair):
    image = Image.fromarray(HALF)
    image.putpalette([9, 8, 7, 6, 5, 4])
    image.save(pair / "masks" / "a.png")
    labelled = read_labelled(pair)
    assert masks(labelled)[0] == HALF.tolist()
    assert labelled.palette[:2].tolist() == [[9, 8, 7], [6, 5, 4]]


def test_a_pack_that_lists_its_masks(pair):
    items = [
        {"split": "train", "image": "images/a.png", "mask": "masks/a.png"},
        {"split": "test", "image": "images/b.jpg", "mask": "masks/b.npy"},
    ]
    notes = {"classes": ["sky", "leg", "void"], "ignore_index": 2, "items": items}
    (pair / "annotations.json").write_text(json.dumps(notes))
    labelled = read_labelled(pair, "test")
    assert labelled.classes == ("sky", "leg")
    assert [one.name for one in labelled] == ["b"]
    assert np.unique(labelled[0].mask()).tolist() == [0, 1, IGNORE]
    notes["items"][0]["mask"] = "masks/none.png"
    (pair / "annotations.json").write_text(json.dumps(notes))
    with pytest.raises(BadInput, match=r"item 0: there is no file .*none\.png"):
        read_labelled(pair)


@pytest.mark.skipif(not PACKS, reason="SHIFTLESS_LABELLED names no folder with folders of labelled photos")
def test_real_packs_are_whole():
    for folder in sorted(path for path in Path(PACKS).iterdir() if (path / "masks").is_dir()):
        labelled, train = read_labelled(folder), read_labelled(folder, "train")
        assert 0 < len(train) < len(labelled)
        assert train.classes == labelled.classes
        for one in labelled[:3]:
            assert len(np.unique(one.mask())) > 2


def remove(path):
    def change(folder):
        (folder / path).unlink()

    return change


def add(path, values):
    return lambda folder: mask(folder / path, values)


def text(path, content):
    return lambda folder: (folder / path).write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (remove("masks/b.npy"), r"1 of 2 photos have no mask \(images/b\.jpg\)"),
        (remove("images/b.jpg"), r"1 of 2 masks have no photo \(masks/b\.npy\)"),
        (add("masks/a.npy", HALF), r"a\.npy and a\.png are two masks called a"),
        (lambda folder: photo(folder / "images" / "a.jpg"), "two photos called a"),
        (add("masks/c.jpg", HALF), "masks have no photo"),
        (lambda folder: (folder / "masks" / "a.png").rename(folder / "masks" / "a.tif"), "no mask can have this"),
        (text("classes.json", ["a"]), "1 classes"),
        (text("classes.json", [f"{n}" for n in range(256)]), "256 classes"),
        (text("classes.json", ["a", "a"]), "'a' is in the list twice"),
        (text("classes.json", ["a", ""]), "none of them empty"),
        (text("classes.json", {"names": []}), "list of names"),
        (text("classes.json", {"classes": ["a", "b"], "ignore": "b"}), "'ignore' is 'b'"),
        (text("classes.json", {"classes": ["a", "b"], "palette": [[1, 2]]}), "'palette'"),
        (text("classes.json", {"classes": ["a", "b"], "unscored": ["c"]}), "'unscored' has 'c'"),
        (text("classes.json", "{"), "not valid JSON"),
        (text("classes.txt", "a\n\nb"), "none of them empty"),
        (text("annotations.json", {"images": {}, "pairs": []}), "neither COCO"),
        (text("annotations.json", {"items": [], "classes": ["a", "b"]}), "at least one"),
        (text("annotations.json", {"items": [{"image": "images/a.png"}], "classes": ["a", "b"]}), "no 'mask'"),
        (add("masks/b.npy", np.full((8, 10), -1)), "label values from -1 to -1"),
        (add("masks/b.npy", np.full((8, 10), 300)), "at most 255"),
        (add("masks/b.npy", np.full((8, 10), 0)), None),
    ],
)
def test_folders_that_are_refused(pair, change, says):
    change(pair)
    if says is None:
        assert len(read_labelled(pair)) == 2
        return
    with pytest.raises(BadInput, match=says):
        read_labelled(pair)


def test_one_class_only(pair):
    mask(pair / "masks" / "a.png", HALF * 255)
    mask(pair / "masks" / "b.npy", HALF * 0)
    with pytest.raises(BadInput, match="no mask holds another class than 0"):
        read_labelled(pair)
    (pair / "classes.txt").write_text("sky\nleg\n")
    with pytest.raises(BadInput, match=r"only 'sky' is labelled in these 2 photos.*255 is no label"):
        never_labelled(read_labelled(pair))


def test_masks_that_do_not_fit(pair):
    (pair / "classes.txt").write_text("sky\nleg\n")
    with pytest.raises(BadInput, match=r"b\.npy: unknown label values 2; there are 2 classes, 0 to 1"):
        read_labelled(pair)[1].mask()
    mask(pair / "masks" / "b.npy", HALF[:, :6])
    with pytest.raises(BadInput, match=r"b\.npy: the labels are 6x8 pixels and their photo is 10x8; make them"):
        read_labelled(pair)[1].mask()


def test_a_photo_is_upright_before_it_is_compared_with_its_mask(pair):
    turned = Image.Exif()
    turned[0x0112] = 6
    photo(pair / "images" / "b.jpg", (10, 8), exif=turned)  # 8 wide, 10 high in the file; seen 10 wide, 8 high
    assert read_labelled(pair)[1].hw == (8, 10)
    assert masks(read_labelled(pair))[1] == QUARTER.tolist()
    mask(pair / "masks" / "b.npy", QUARTER.T)
    with pytest.raises(BadInput, match="label it as it is seen: EXIF orientation turns it"):
        read_labelled(pair)[1].mask()


def test_a_damaged_photo_is_named(pair):
    (pair / "images" / "b.jpg").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"b\.jpg: not a picture"):
        read_labelled(pair)[1].mask()


def test_an_empty_folder(tmp_path):
    with pytest.raises(BadInput, match="no photos with masks"):
        read_labelled(tmp_path)
