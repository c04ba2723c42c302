"""Where ADE20K, Cityscapes, CamVid, PASCAL VOC and PASCAL Context keep their photos and masks, as published."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from shiftless.data.labelledphoto import check_size
from shiftless.data.maskfile import PngMask
from shiftless.errors import BadInput, first_line
from shiftless.image import EXTENSIONS
from shiftless.metrics.segmentation import IGNORE

ADE20K = {"train": "training", "val": "validation"}
CITYSCAPES = ("leftImg8bit", "gtFine")
CAMVID_COLOURED = ("701_StillsRaw_full", "LabeledApproved_full")
CAMVID_NUMBERED = ("train", "trainannot")
VOC2012 = ("JPEGImages", "SegmentationClass")
CONTEXT59 = ("JPEGImages", "ImageSets")
CONTEXT_MASKS = ("59_context_labels", "SegmentationClassContext")
TEST_FRAMES, VAL_FRAMES = 8550, (7959, 8159)
"""Of CamVid: the first frame of 0001TP that is for testing, and the frames of 0016E5 that are for validation."""


@dataclass(frozen=True)
class NumberedMask:
    """A PNG of the dataset's own numbers, and the class of each number.

    classes  number in the file -> class, or IGNORE

    >>> NumberedMask(Path("nowhere.png"), {0: IGNORE, 1: 0}).values((8, 8))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere.png: no such file
    """

    path: Path
    classes: Mapping[int, int]

    def values(self, hw: tuple[int, int]) -> np.ndarray:
        """Return the class of each pixel, H W uint8; raises BadInput naming the file and the numbers it cannot have."""
        numbers = PngMask(self.path).values(hw)
        there = np.unique(numbers).tolist()
        if wrong := [number for number in there if number not in self.classes]:
            shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
            known = sorted(number for number, one in self.classes.items() if one != IGNORE)
            raise BadInput(
                f"{self.path}: holds the numbers {shown}; classes have {len(known)} of those from {known[0]} to "
                f"{known[-1]} in this dataset: give its own masks"
            )
        table = np.full(max(there) + 1, IGNORE, np.uint8)
        for number in there:
            table[number] = self.classes[number]
        return table[numbers]


@dataclass(frozen=True)
class ColouredMask:
    """A PNG whose colours stand for classes.

    classes  (r, g, b) -> class, or IGNORE
    """

    path: Path
    classes: Mapping[tuple[int, int, int], int]

    def values(self, hw: tuple[int, int]) -> np.ndarray:
        """Return the class of each pixel, H W uint8; raises BadInput naming the file and a colour that is no class."""
        try:
            with Image.open(self.path, formats=("PNG",)) as image:
                check_size((image.height, image.width), hw, str(self.path))
                pixels = np.asarray(image.convert("RGB"), dtype=np.int64)
        except FileNotFoundError:
            raise BadInput(f"{self.path}: no such file") from None
        except BadInput:
            raise
        except Exception as error:  # broken data makes Pillow raise nearly anything
            raise BadInput(f"{self.path}: not a whole PNG ({first_line(error)}); unpack the dataset again") from None
        codes, places = np.unique(pixels @ (1 << 16, 1 << 8, 1), return_inverse=True)
        found = []
        for code in codes.tolist():
            colour = (code >> 16, code >> 8 & 255, code & 255)
            if colour not in self.classes:
                raise BadInput(f"{self.path}: holds the colour {colour}, which is no class of this dataset")
            found.append(self.classes[colour])
        return np.array(found, np.uint8)[places].reshape(hw)


class Scene(NamedTuple):
    """One photo of a published dataset: its name, such as "val/aachen/aachen_000000_000019", its file and its mask."""

    name: str
    photo: Path
    mask: NumberedMask | ColouredMask


Find = Callable[[Path, Sequence[str]], list[Scene]]


def ade20k(folder: Path, splits: Sequence[str]) -> list[Scene]:
    """Find SceneParse150: images/training/X.jpg and annotations/training/X.png, where 0 is no label."""
    classes = {0: IGNORE, **{number: number - 1 for number in range(1, 151)}}
    scenes = []
    for split in splits:
        place = ADE20K[split]
        masks = _files(folder / "annotations" / place, (".png",))
        photos = _files(folder / "images" / place, EXTENSIONS)
        for stem, photo in _all(photos, masks, folder / "images" / place, folder / "annotations" / place):
            scenes.append(Scene(f"{split}/{stem}", photo, NumberedMask(masks[stem], classes)))
    return scenes


def cityscapes(folder: Path, splits: Sequence[str], label_ids: Sequence[int] = ()) -> list[Scene]:
    """Find leftImg8bit/SPLIT/CITY/X_leftImg8bit.png and gtFine/SPLIT/CITY/X_gtFine_labelTrainIds.png, or _labelIds.png.

    label_ids  the number of each class in masks of label ids; every other number is no label
    """
    train_ids = {**{number: number for number in range(len(label_ids))}, IGNORE: IGNORE}
    ids = {**dict.fromkeys(range(35), IGNORE), IGNORE: IGNORE, **{one: i for i, one in enumerate(label_ids)}}
    kinds = {"_gtFine_labelTrainIds": train_ids, "_gtFine_labelIds": ids}
    scenes = []
    for split in splits:
        photos, masks = folder / "leftImg8bit" / split, folder / "gtFine" / split
        cities = sorted(os.listdir(photos)) if photos.is_dir() else []
        for city in (name for name in cities if (photos / name).is_dir()):
            found = _files(photos / city, EXTENSIONS)
            drawn = _files(masks / city, (".png",), missing_ok=True)
            for stem, photo in found.items():
                stem = stem.removesuffix("_leftImg8bit")
                kind = next((kind for kind in kinds if stem + kind in drawn), None)
                if kind is None:
                    raise BadInput(
                        f"{photo}: no mask {masks / city / stem}{next(iter(kinds))}.png, nor labelIds; unpack gtFine"
                    )
                scenes.append(Scene(f"{split}/{city}/{stem}", photo, NumberedMask(drawn[stem + kind], kinds[kind])))
        if not any(scene.name.startswith(f"{split}/") for scene in scenes):
            raise BadInput(f"{photos}: no photos of cities in this folder; unpack leftImg8bit_trainvaltest.zip")
    return scenes


def camvid_numbered(folder: Path, splits: Sequence[str]) -> list[Scene]:
    """Find SegNet's copy of CamVid: train/X.png and trainannot/X.png, with 11 classes, where 11 is no label."""
    classes = {**{number: number for number in range(11)}, 11: IGNORE}
    scenes = []
    for split in splits:
        masks = _files(folder / f"{split}annot", (".png",))
        for stem, photo in _all(_files(folder / split, EXTENSIONS), masks, folder / split, folder / f"{split}annot"):
            scenes.append(Scene(f"{split}/{stem}", photo, NumberedMask(masks[stem], classes)))
    return scenes


def camvid_coloured(
    folder: Path, splits: Sequence[str], colours: Mapping[tuple[int, int, int], int] | None = None
) -> list[Scene]:
    """Find CamVid as Brostow et al. publish it: 701_StillsRaw_full/X.png and LabeledApproved_full/X_L.png, in colours.

    colours  the class of each of the 32 colours

    The published files have no splits: photos are dealt to those of SegNet by their sequence and frame.
    """
    photos, labels = folder / CAMVID_COLOURED[0], folder / CAMVID_COLOURED[1]
    masks = {stem.removesuffix("_L"): path for stem, path in _files(labels, (".png",)).items()}
    scenes = []
    for stem, photo in _all(_files(photos, EXTENSIONS), masks, photos, labels):
        split = camvid_split(stem)
        if split in splits:
            scenes.append(Scene(f"{split}/{stem}", photo, ColouredMask(masks[stem], colours or {})))
    return sorted(scenes, key=lambda scene: splits.index(scene.name.split("/")[0]))


def camvid_split(stem: str) -> str:
    """Return the split of a photo of CamVid by its name, as SegNet (Badrinarayanan et al. 2017) divides them.

    >>> camvid_split("0016E5_08001"), camvid_split("Seq05VD_f00030"), camvid_split("0006R0_f00930")
    ('val', 'test', 'train')
    """
    sequence, _, frame = stem.partition("_")
    number = int(digits) if (digits := frame.lstrip("f")).isdecimal() else 0
    if sequence == "Seq05VD" or (sequence == "0001TP" and number >= TEST_FRAMES):
        return "test"
    return "val" if sequence == "0016E5" and VAL_FRAMES[0] <= number <= VAL_FRAMES[1] else "train"


def voc2012(folder: Path, splits: Sequence[str]) -> list[Scene]:
    """Find JPEGImages/X.jpg and SegmentationClass/X.png by ImageSets/Segmentation/SPLIT.txt; 255 is no label."""
    classes = {**{number: number for number in range(21)}, IGNORE: IGNORE}
    return _by_list(folder, splits, [folder / "ImageSets" / "Segmentation"], folder / "SegmentationClass", classes)


def context59(folder: Path, splits: Sequence[str], names: Sequence[str] = ()) -> list[Scene]:
    """Find JPEGImages/X.jpg with the masks of its authors, 59_context_labels, or those of mmsegmentation's converter.

    names  of the classes in the order of the authors' numbers

    Both number classes from 1, and 0 is no label, but in two orders: the converter's SegmentationClassContext counts
    the names by the alphabet.
    """
    masks = context_masks(folder)
    if masks is None:
        raise BadInput(f"{folder}: no 59_context_labels, nor SegmentationClassContext; unpack one of them there")
    own = masks.name == CONTEXT_MASKS[0]
    order = list(names) if own else sorted(names)
    classes = {0: IGNORE, IGNORE: IGNORE, **{i: names.index(name) for i, name in enumerate(order, 1)}}
    lists = [folder / "ImageSets" / "SegmentationContext", folder / "ImageSets" / "Main"]
    return _by_list(folder, splits, lists, masks, classes)


def context_masks(folder: Path) -> Path | None:
    """The folder of PASCAL Context's masks, in VOC2010 or beside it; None if there is none."""
    own, converted = CONTEXT_MASKS
    places = (folder / own, folder.parent / own, folder.parent.parent / own, folder / converted)
    return next((place for place in places if place.is_dir()), None)


def _files(folder: Path, extensions: Iterable[str], missing_ok: bool = False) -> dict[str, Path]:
    """Files of a folder by their names without extension, sorted."""
    extensions = tuple(extensions)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        if missing_ok:
            return {}
        raise BadInput(f"{folder}: no such folder; unpack the whole dataset") from None
    kept = (name for name in names if name.lower().endswith(extensions) and not name.startswith("."))
    return {Path(name).stem: folder / name for name in kept}


def _all(photos: dict[str, Path], masks: dict[str, Path], where: Path, place: Path) -> list[tuple[str, Path]]:
    """Photos in order; raises BadInput where there are none, or one lacks its mask."""
    if not photos:
        raise BadInput(f"{where}: no pictures in this folder; unpack the whole dataset")
    missing = [path for stem, path in photos.items() if stem not in masks]
    if missing:
        shown = ", ".join(path.name for path in missing[:3]) + ", ..." * (len(missing) > 3)
        raise BadInput(f"{where}: {len(missing)} of {len(photos)} photos have no mask in {place} ({shown})")
    return list(photos.items())


def _by_list(
    folder: Path, splits: Sequence[str], lists: Sequence[Path], masks: Path, classes: Mapping[int, int]
) -> list[Scene]:
    """Photos that the dataset's lists name, in their order."""
    photos, drawn = _files(folder / "JPEGImages", EXTENSIONS), _files(masks, (".png",))
    scenes = []
    for split in splits:
        path = next((place / f"{split}.txt" for place in lists if (place / f"{split}.txt").is_file()), None)
        if path is None:
            raise BadInput(f"{lists[0] / f'{split}.txt'}: no such list; unpack the whole dataset")
        names = [line.split()[0] for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line]
        for name in names:
            for what, files, place in (("photo", photos, folder / "JPEGImages"), ("mask", drawn, masks)):
                if name not in files:
                    raise BadInput(f"{path}: lists {name}, and there is no {what} of it in {place}")
            scenes.append(Scene(f"{split}/{name}", photos[name], NumberedMask(drawn[name], classes)))
        if not names:
            raise BadInput(f"{path}: lists no photos; unpack the dataset again")
    return scenes
