"""Horse-21, Bedroom-28, FFHQ-34 and Cat-15 (Baranchuk et al. 2022): parts labelled on a few tens of photos.

    FOLDER/horse_21/real/train/NAME.png (or .jpg) and NAME.npy, and the same for test

That is how the archive of ddpm-segmentation unpacks. Masks hold class numbers, and 255 where there is no label. Names,
in the order of the numbers, and sizes of the splits stand in part_classes.json. Class 0 of Bedroom-28 is what none of
its 28 classes covers: it has labels, and is not scored.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.data.maskfile import NpyMask
from shiftless.data.palette import class_colours
from shiftless.errors import BadInput
from shiftless.image import list_photos

SPLITS = ("train", "test")


@dataclass(frozen=True)
class PartSet:
    """One of the published sets.

    folder    its folder's name, such as "horse_21"
    title     its name in tables, such as "Horse-21"
    classes   names, class 0 first
    unscored  numbers of classes that are not scored
    train     how many photos the published split trains on; test likewise
    """

    folder: str
    title: str
    classes: tuple[str, ...]
    unscored: tuple[int, ...]
    train: int
    test: int


@lru_cache(maxsize=1)
def part_sets() -> tuple[PartSet, ...]:
    """Return the published sets.

    >>> [(one.title, len(one.classes) - len(one.unscored), one.train, one.test) for one in part_sets()]
    [('Horse-21', 21, 30, 30), ('Bedroom-28', 28, 40, 20), ('FFHQ-34', 34, 20, 20), ('Cat-15', 15, 30, 20)]
    """
    rows = json.loads(Path(__file__).with_name("part_classes.json").read_text(encoding="utf-8"))
    return tuple(
        PartSet(folder, row["title"], tuple(row["classes"]), tuple(row["unscored"]), row["train"], row["test"])
        for folder, row in rows.items()
    )


def part_set(name: str) -> PartSet:
    """Return a published set by its name in any spelling; raises BadInput for another name.

    >>> part_set("horse21") == part_set("Horse-21") == part_set("horse_21")
    True
    """
    for one in part_sets():
        if _plain(name) == _plain(one.folder):
            return one
    raise BadInput(f"{name!r} is none of {', '.join(one.folder for one in part_sets())}")


def read_scarce(folder: str | os.PathLike[str], name: str, split: str | None = None) -> LabelledPhotos:
    """Read a published set as it is unpacked, photos sorted by name.

    folder  the unpacked archive, or the set's own folder in it
    name    "horse_21", "bedroom_28", "ffhq_34" or "cat_15"
    split   "train" or "test"; left out, both are read, train first

    Colours are by the rule of `palette`. A square mask of another size than its square photo is resized by nearest
    neighbour, as the published code does; any other must have the photo's size. Raises BadInput naming the missing
    folder or mask.

    >>> read_scarce("nowhere", "cat_15")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: holds no cat_15/real; give the unpacked datasets of ddpm-segmentation
    """
    one, folder = part_set(name), Path(folder)
    if split is not None and split not in SPLITS:
        raise BadInput(f"split={split!r}: {one.title} has {' and '.join(SPLITS)}")
    places = (folder / one.folder, folder, folder / "datasets" / one.folder)
    real = next((place / "real" for place in places if (place / "real").is_dir()), None)
    if real is None:
        raise BadInput(f"{folder}: holds no {one.folder}/real; give the unpacked datasets of ddpm-segmentation")
    photos = []
    for part in SPLITS if split is None else (split,):
        for path in list_photos(real / part, recursive=False):
            mask = path.with_suffix(".npy")
            if not mask.is_file():
                raise BadInput(f"{path}: has no mask {mask.name} beside it; unpack the archive again")
            photos.append(
                LabelledPhoto(f"{part}/{path.stem}", path, str(mask), partial(_values, mask), len(one.classes))
            )
    return LabelledPhotos(tuple(photos), one.classes, class_colours(one.classes), one.unscored)


def published_split(
    folder: str | os.PathLike[str], name: str, seed: int | None = None
) -> tuple[LabelledPhotos, LabelledPhotos]:
    """Return the photos to train on and those to test on, as many as published.

    seed  None gives the split of the folders, the first photos of each. A number deals train and test out anew, by
          this seed: the published scores are means over such splits

    Raises BadInput as `read_scarce` does, or if there are too few photos.

    >>> published_split("nowhere", "horse_21", seed=0)
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: holds no horse_21/real; give the unpacked datasets of ddpm-segmentation
    """
    one, both = part_set(name), read_scarce(folder, name)
    if seed is not None:
        return resplit(both, one.train, one.test, seed, where=str(folder))
    parts = [both.but([photo for photo in both if photo.name.startswith(f"{part}/")]) for part in SPLITS]
    for part, wanted, there in zip(SPLITS, (one.train, one.test), parts):
        if len(there) < wanted:
            raise BadInput(f"{folder}: {len(there)} {part} photos; the published split of {one.title} has {wanted}")
    return parts[0][: one.train], parts[1][: one.test]


def resplit(
    labelled: LabelledPhotos, train: int, test: int, seed: int, where: str = "these photos"
) -> tuple[LabelledPhotos, LabelledPhotos]:
    """Deal photos out at random: `train` to train on and `test` others to test on; the same seed, the same photos.

    Raises BadInput naming `where` if there are too few photos.

    >>> one = LabelledPhoto("a", "a.png", "a.npy", np.zeros((8, 8), int), 2)
    >>> some = LabelledPhotos((one,) * 5, ("background", "leg"), np.zeros((2, 3), np.uint8))
    >>> [len(part) for part in resplit(some, 3, 2, seed=0)]
    [3, 2]
    """
    chosen = [labelled[index] for index in _order(len(labelled), train, test, seed, where)]
    return labelled.but(chosen[:train]), labelled.but(chosen[train:])


def dealt(photos: int, train: int, test: int, seed: int, where: str = "the pool") -> tuple[list[int], list[int]]:
    """Deal the numbers of photos out as `resplit` deals photos, each part in order: to learn from, to test on.

    >>> dealt(5, 3, 2, 0, "horses")
    ([2, 3, 4], [0, 1])
    """
    order = _order(photos, train, test, seed, where)
    return sorted(order[:train]), sorted(order[train:])


def _order(photos: int, train: int, test: int, seed: int, where: str) -> list[int]:
    """The numbers of the photos of a split: those to train on, then those to test on."""
    if min(train, test) < 1 or train + test > photos:
        raise BadInput(f"{where}: {photos} labelled photos; {train} to train and {test} to test on are needed")
    chosen: list[int] = np.random.default_rng(seed).permutation(photos)[: train + test].tolist()
    return chosen


def _values(path: Path, hw: tuple[int, int]) -> np.ndarray:
    values = NpyMask(path).values()
    (h, w), (rows, columns) = hw, values.shape
    if h == w and rows == columns and rows != h:
        index = np.arange(h) * rows // h
        values = values[index[:, None], index]
    return values


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
