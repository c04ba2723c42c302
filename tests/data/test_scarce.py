"""Horse-21 and the like, on a made copy of the published layout."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from miniworld.world.bedroom.classes import CLASSES as BEDROOM
from miniworld.world.labels import PARTS
from shiftless.data.labelled import IGNORE, never_labelled
from shiftless.data.scarce import part_set, part_sets, published_split, read_scarce
from shiftless.errors import BadInput


def made(folder, name: str, train: int, test: int, values: np.ndarray, side: int = 8):
    for split, count in (("train", train), ("test", test)):
        (folder / name / "real" / split).mkdir(parents=True)
        for number in range(count):
            stem = folder / name / "real" / split / f"{split}_{number:02}"
            Image.new("L", (side, side)).save(f"{stem}.png")
            np.save(f"{stem}.npy", values)
    return folder


ROWS = np.arange(64).reshape(8, 8) % 29


@pytest.fixture(scope="module")
def horses(tmp_path_factory):
    return made(tmp_path_factory.mktemp("datasets"), "horse_21", 31, 30, np.where(ROWS > 20, IGNORE, ROWS))


def test_names_are_those_of_the_drawn_worlds():
    assert part_set("horse_21").classes == PARTS
    assert part_set("bedroom_28").classes == BEDROOM
    assert all(len(set(one.classes)) == len(one.classes) for one in part_sets())


def test_reads_the_published_layout(horses):
    train = read_scarce(horses, "horse_21", "train")
    assert [len(train), len(read_scarce(horses / "horse_21", "horse21"))] == [31, 61]
    assert train[0].name == "train/train_00"
    assert train[0].mask().tolist() == np.where(ROWS > 20, IGNORE, ROWS).tolist()
    assert (train.classes[1], train.unscored, train.palette.shape) == ("person", (), (21, 3))
    assert never_labelled(train[:1]) == ()


def test_the_split_of_the_folders_and_others(horses):
    train, test = published_split(horses, "horse_21")
    assert [one.name for one in train] == [f"train/train_{number:02}" for number in range(30)]
    assert {one.name for one in test} == {f"test/test_{number:02}" for number in range(30)}
    names = [[[one.name for one in part] for part in published_split(horses, "horse_21", seed)] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    for parts in names:
        assert [len(part) for part in parts] == [30, 30]
        assert len({*parts[0], *parts[1]}) == 60
        assert len({name.split("/")[0] for name in parts[0]}) == 2  # of both folders


def test_the_background_of_bedrooms_is_labelled_and_not_scored(tmp_path):
    rooms = read_scarce(made(tmp_path, "bedroom_28", 1, 1, ROWS), "bedroom_28")
    assert (len(rooms.classes), rooms.unscored) == (29, (0,))
    assert rooms[0].mask().max() == 28
    assert rooms.palette[0].tolist() == [60, 60, 60]


@pytest.mark.parametrize("side", [4, 8, 16, 12])
def test_square_masks_of_another_size_are_resized_as_published(tmp_path, side):
    values = (np.arange(side**2).reshape(side, side) % 15).astype(np.uint8)
    cats = read_scarce(made(tmp_path, "cat_15", 1, 0, values), "cat_15", "train")
    assert cats[0].mask().tolist() == cv2.resize(values, (8, 8), interpolation=cv2.INTER_NEAREST).tolist()


def test_what_does_not_fit_is_named(horses, tmp_path):
    with pytest.raises(BadInput, match="'horse_22' is none of horse_21, bedroom_28"):
        read_scarce(horses, "horse_22")
    with pytest.raises(BadInput, match="Horse-21 has train and test"):
        read_scarce(horses, "horse_21", "val")
    with pytest.raises(BadInput, match="no cat_15/real"):
        read_scarce(horses, "cat_15")
    cats = made(tmp_path, "cat_15", 2, 2, np.zeros((8, 6), int))
    with pytest.raises(BadInput, match="2 train photos; the published split of Cat-15 has 30"):
        published_split(cats, "cat_15")
    with pytest.raises(BadInput, match="4 labelled photos; 30 to train and 20 to test on are needed"):
        published_split(cats, "cat_15", seed=0)
    with pytest.raises(BadInput, match=r"train_00\.npy: the labels are 6x8"):
        read_scarce(cats, "cat_15")[0].mask()
    (cats / "cat_15" / "real" / "test" / "test_01.npy").unlink()
    with pytest.raises(BadInput, match=r"test_01\.png: has no mask test_01\.npy"):
        read_scarce(cats, "cat_15")
