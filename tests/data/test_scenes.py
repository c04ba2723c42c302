"""ADE20K and the like, on made copies of their published layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from miniworld.world.street.classes import CLASSES as STREETS
from shiftless.data.labelled import IGNORE
from shiftless.data.scenelayout import camvid_split
from shiftless.data.scenes import read_photos, read_scenes, scene_set, scene_set_at, scene_sets, splits_of
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import MOST_CLASSES, Confusion

ROWS = np.arange(64, dtype=np.uint8).reshape(8, 8)


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def mask(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def ade20k(folder: Path) -> Path:
    root = folder / "ADEChallengeData2016"
    for split, part in (("train", "training"), ("val", "validation")):
        for number in (2, 1):
            photo(root / "images" / part / f"ADE_{split}_{number:08}.jpg")
            mask(root / "annotations" / part / f"ADE_{split}_{number:08}.png", ROWS + 87 * (split == "val"))
    return folder


def cityscapes(folder: Path) -> Path:
    for split, city, kind in (("train", "ulm", "labelTrainIds"), ("train", "aachen", "labelIds"), ("val", "bonn", "")):
        stem = f"{city}_000000_000019"
        photo(folder / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png")
        train_ids = np.where(ROWS < 19, ROWS, IGNORE)
        mask(folder / "gtFine" / split / city / f"{stem}_gtFine_{kind or 'labelIds'}.png",
             train_ids if kind == "labelTrainIds" else ROWS % 34)  # fmt: skip
        mask(folder / "gtFine" / split / city / f"{stem}_gtFine_color.png", ROWS)
    return folder


def voc(folder: Path, year: int, masks: str, lists: str, values: np.ndarray) -> Path:
    root = folder / "VOCdevkit" / f"VOC{year}"
    (root / "ImageSets" / lists).mkdir(parents=True)
    for split, name in (("train", "2007_000032"), ("val", "2007_000033")):
        photo(root / "JPEGImages" / f"{name}.jpg")
        mask(root / masks / f"{name}.png", values)
        (root / "ImageSets" / lists / f"{split}.txt").write_text(f"{name}\n")
    photo(root / "JPEGImages" / "2007_000001.jpg")  # labelled for other tasks only
    return folder


def test_numbers_and_names_are_those_published():
    assert [len(one.classes) for one in scene_sets()] == [150, 19, 11, 21, 59]
    assert all(len(set(one.classes)) == len(one.classes) <= MOST_CLASSES for one in scene_sets())
    assert all(one.palette is None or len(one.palette) == len(one.classes) for one in scene_sets())
    assert scene_set("cityscapes").classes == STREETS
    assert scene_set("ade20k").classes[149] == "flag"
    assert scene_set("voc2012").palette[15] == (192, 128, 128)  # the person's colour in VOC's own colour map


def test_ade20k_begins_at_one_and_leaves_zero_out(tmp_path):
    scenes = read_scenes(ade20k(tmp_path))
    assert [one.name for one in scenes] == [
        f"{split}/ADE_{split}_{number:08}" for split in ("train", "val") for number in (1, 2)
    ]
    assert scenes[0].mask().tolist() == np.where(ROWS == 0, IGNORE, ROWS.astype(int) - 1).tolist()
    assert scenes[2].mask().max() == 149
    assert (len(scenes.classes), scenes.palette.shape) == (150, (150, 3))
    counted = Confusion(150).add(scenes[2].mask(), scenes[2].mask())
    assert (counted.miou(), counted.totals()[1].sum()) == (1.0, 64)
    assert len(read_scenes(tmp_path / "ADEChallengeData2016", "ADE-20K", "val")) == 2


def test_cityscapes_takes_train_ids_and_label_ids(tmp_path):
    scenes = read_scenes(cityscapes(tmp_path), split="train")
    assert [one.name for one in scenes] == ["train/aachen/aachen_000000_000019", "train/ulm/ulm_000000_000019"]
    by_ids, by_train_ids = (one.mask() for one in scenes)
    assert by_train_ids.tolist() == np.where(ROWS < 19, ROWS, IGNORE).tolist()
    for label_id, name in ((7, "road"), (24, "person"), (33, "bicycle")):
        assert (by_ids[label_id == ROWS] == scenes.classes.index(name)).all()
    assert (
        by_ids[np.isin(ROWS % 34, [0, 3, 9, 29, 30])] == IGNORE
    ).all()  # a bridge of the city, a caravan: not scored
    assert sorted({*by_ids.ravel().tolist()}) == [*range(19), IGNORE]
    with pytest.raises(BadInput, match=r"split='test': Cityscapes has labels for train, val"):
        read_scenes(tmp_path, split="test")


def test_camvid_in_colours_and_in_numbers(tmp_path):
    coloured, numbered = tmp_path / "coloured", tmp_path / "numbered"
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0, :4] = [(128, 128, 128), (192, 128, 192), (0, 0, 0), (64, 192, 0)]  # sky, a truck, void, a wall
    for stem in ("0001TP_006690", "0001TP_008550", "0016E5_07959", "0016E5_08640", "Seq05VD_f05100"):
        photo(coloured / "701_StillsRaw_full" / f"{stem}.png")
        mask(coloured / "LabeledApproved_full" / f"{stem}_L.png", pixels)
    scenes = read_scenes(coloured)
    assert [one.name.split("/")[0] for one in scenes] == ["train", "train", "val", "test", "test"]
    sky, car, building = (scenes.classes.index(name) for name in ("sky", "car", "building"))
    assert scenes[0].mask()[0, :4].tolist() == [sky, car, IGNORE, building]
    photo(numbered / "CamVid" / "train" / "a.png")
    mask(numbered / "CamVid" / "trainannot" / "a.png", ROWS % 12)
    (one,) = read_scenes(numbered, "camvid", "train")
    assert one.mask().tolist() == np.where(ROWS % 12 == 11, IGNORE, ROWS % 12).tolist()
    pixels[7, 7] = (1, 2, 3)
    mask(coloured / "LabeledApproved_full" / "0001TP_006690_L.png", pixels)
    with pytest.raises(BadInput, match=r"0001TP_006690_L.png: holds the colour \(1, 2, 3\)"):
        scenes[0].mask()


def test_camvid_is_split_as_its_copy_with_numbers():
    ends = {
        "train": ("0001TP_006690", "0001TP_008520", "0006R0_f03930", "0016E5_00450", "0016E5_08640"),
        "val": ("0016E5_07959", "0016E5_08159"), "test": ("0001TP_008550", "0001TP_010380", "Seq05VD_f00030"),
    }  # fmt: skip
    assert all(camvid_split(stem) == split for split, stems in ends.items() for stem in stems)


def test_a_pack_with_annotations_is_camvid_too(tmp_path):
    photo(tmp_path / "images" / "a.png")
    mask(tmp_path / "masks" / "a.png", ROWS % 12)
    items = [{"split": "val", "image": "images/a.png", "mask": "masks/a.png"}]
    listed = {"classes": [*scene_set("camvid").classes, "void"], "ignore_index": 11, "items": items}
    (tmp_path / "annotations.json").write_text(json.dumps(listed))
    assert scene_set_at(tmp_path) is None
    (one,) = read_scenes(tmp_path, "camvid", "val")
    assert one.mask().tolist() == np.where(ROWS % 12 == 11, IGNORE, ROWS % 12).tolist()


def test_voc_reads_what_its_lists_name(tmp_path):
    scenes = read_scenes(voc(tmp_path, 2012, "SegmentationClass", "Segmentation", np.where(ROWS < 21, ROWS, IGNORE)))
    assert [one.name for one in scenes] == ["train/2007_000032", "val/2007_000033"]
    assert scenes[0].mask().tolist() == np.where(ROWS < 21, ROWS, IGNORE).tolist()


@pytest.mark.parametrize(
    ("masks", "lists", "seen"),
    [
        ("59_context_labels", "Main", ["aeroplane", "bicycle", "wood"]),
        ("SegmentationClassContext", "SegmentationContext", ["aeroplane", "bag", "wood"]),
    ],
)
def test_context_has_the_same_classes_by_both_orders_of_numbers(tmp_path, masks, lists, seen):
    scenes = read_scenes(voc(tmp_path, 2010, masks, lists, np.minimum(ROWS, 59)))
    assert scene_set_at(tmp_path).name == "context59"
    values = scenes[0].mask().ravel()
    assert [scenes.classes[values[number]] for number in (1, 2, 59)] == seen
    assert values[0] == IGNORE
    assert len({*values.tolist()}) == 60


def test_what_is_wrong_is_named(tmp_path):
    root = ade20k(tmp_path) / "ADEChallengeData2016"
    scenes = read_scenes(root, split="train")
    mask(root / "annotations" / "training" / "ADE_train_00000001.png", ROWS + 150)
    with pytest.raises(
        BadInput, match=r"00000001.png: holds the numbers 151, 152, 153, 154, 155, ...; classes have 150"
    ):
        scenes[0].mask()
    (root / "annotations" / "validation" / "ADE_val_00000002.png").unlink()
    with pytest.raises(BadInput, match=r"1 of 2 photos have no mask in .*validation \(ADE_val_00000002.jpg\)"):
        read_scenes(root)
    shutil.rmtree(root / "images" / "validation")
    with pytest.raises(BadInput, match=r"validation: no such folder; unpack the whole dataset"):
        read_scenes(root)
    with pytest.raises(BadInput, match="laid out as none of ade20k, cityscapes"):
        read_scenes(tmp_path / "nowhere")
    with pytest.raises(
        BadInput, match=r"not laid out as CamVid, with 701_StillsRaw_full/ and LabeledApproved_full/ or"
    ):
        read_scenes(root, "camvid")
    with pytest.raises(BadInput, match="'coco' is none of"):
        read_scenes(root, "coco")


def test_lists_and_masks_that_lack_something_are_named(tmp_path):
    root = voc(tmp_path, 2012, "SegmentationClass", "Segmentation", ROWS) / "VOCdevkit" / "VOC2012"
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_000033\n2007_000001\n")
    with pytest.raises(BadInput, match=r"val.txt: lists 2007_000001, and there is no mask of it in"):
        read_scenes(tmp_path)
    (root / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(BadInput, match=r"val.txt: no such list"):
        read_scenes(tmp_path)
    folder = cityscapes(tmp_path / "city")
    shutil.rmtree(folder / "gtFine" / "val")
    with pytest.raises(BadInput, match=r"no mask .*bonn_000000_000019_gtFine_labelTrainIds.png, nor labelIds"):
        read_scenes(folder)


def test_a_published_set_and_a_folder_of_one_s_own_are_read_alike(tmp_path):
    root, own = ade20k(tmp_path), tmp_path / "own"
    for split in ("train", "test"):
        photo(own / "images" / split / "a.jpg")
        mask(own / "masks" / split / "a.png", ROWS % 3)
    assert (splits_of(root), splits_of(own)) == (("train", "val"), ("train", "test"))
    assert [one.name for one in read_photos(root, usual=("test", "val"))] == [
        "val/ADE_val_00000001",
        "val/ADE_val_00000002",
    ]
    assert [one.name for one in read_photos(own, usual=("test", "val"))] == ["test/a"]
    assert len(read_photos(own, usual=("val",))) == 2
    assert [one.name for one in read_photos(own, "train")] == ["train/a"]
    with pytest.raises(BadInput, match="no split 'val'"):
        read_photos(own, "val")


def test_voc_beside_the_masks_of_context_is_told_by_the_folder(tmp_path):
    voc(tmp_path, 2012, "SegmentationClass", "Segmentation", ROWS % 21)
    voc(tmp_path, 2010, "SegmentationClassContext", "SegmentationContext", np.minimum(ROWS, 59))
    (tmp_path / "VOCdevkit" / "59_context_labels").mkdir()
    assert scene_set_at(tmp_path / "VOCdevkit" / "VOC2012").name == "voc2012"
    assert scene_set_at(tmp_path / "VOCdevkit" / "VOC2010").name == "context59"
