"""ADE20K, Cityscapes, CamVid, PASCAL VOC 2012 and PASCAL Context: photos whose every pixel is labelled, as published.

    ade20k      ADEChallengeData2016/images/training/X.jpg        .../annotations/training/X.png
    cityscapes  leftImg8bit/train/CITY/X_leftImg8bit.png          gtFine/train/CITY/X_gtFine_labelTrainIds.png
    camvid      701_StillsRaw_full/X.png                          LabeledApproved_full/X_L.png
                or train/X.png                                    trainannot/X.png
    voc2012     VOCdevkit/VOC2012/JPEGImages/X.jpg                .../SegmentationClass/X.png
    context59   VOCdevkit/VOC2010/JPEGImages/X.jpg                59_context_labels/X.png

Masks come out with classes from 0, and IGNORE (255) where nothing is labelled. Names, colours and sizes of the splits
stand in scene_classes.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from shiftless.data import scenelayout
from shiftless.data.labelled import read_labelled
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.data.labelsource import SPLITS, find_labelled
from shiftless.data.palette import class_colours
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE

_FACTS = "scene_classes.json"
_PLACES: Mapping[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    # folders that tell a layout, and where below the given folder it may begin
    "ade20k": tuple(
        ((f"images/{part}", f"annotations/{part}"), ("", "ADEChallengeData2016"))
        for part in scenelayout.ADE20K.values()
    ),
    "cityscapes": ((scenelayout.CITYSCAPES, ("", "cityscapes")),),
    "camvid": (
        (scenelayout.CAMVID_COLOURED, ("", "CamVid", "camvid")),
        (scenelayout.CAMVID_NUMBERED, ("", "CamVid", "camvid")),
    ),
    "voc2012": ((scenelayout.VOC2012, ("VOC2012", "VOCdevkit/VOC2012", "")),),
    "context59": ((scenelayout.CONTEXT59, ("VOC2010", "VOCdevkit/VOC2010", "")),),
}


@dataclass(frozen=True)
class SceneSet:
    """One of the published datasets.

    name     such as "ade20k"
    title    its name in tables, such as "ADE20K"
    classes  names, class 0 first
    palette  their published colours, L 3; None where it has none
    splits   split -> how many photos are published in it
    """

    name: str
    title: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None
    splits: Mapping[str, int]


@lru_cache(maxsize=1)
def scene_sets() -> tuple[SceneSet, ...]:
    """Return the published datasets.

    >>> [(one.title, len(one.classes), *one.splits.values()) for one in scene_sets()]
    [('ADE20K', 150, 20210, 2000), ('Cityscapes', 19, 2975, 500), ('CamVid', 11, 367, 101, 233),
     ('PASCAL VOC 2012', 21, 1464, 1449), ('PASCAL Context-59', 59, 4998, 5105)]
    """
    return tuple(
        SceneSet(
            name, row["title"], tuple(row["classes"]),
            None if row["palette"] is None else tuple(tuple(colour) for colour in row["palette"]), row["splits"],
        )
        for name, row in _facts().items()
    )  # fmt: skip


def scene_set(name: str) -> SceneSet:
    """Return a published dataset by its name in any spelling; raises BadInput for another name.

    >>> scene_set("VOC-2012") == scene_set("voc2012")
    True
    """
    for one in scene_sets():
        if _plain(name) == _plain(one.name):
            return one
    raise BadInput(f"{name!r} is none of {', '.join(one.name for one in scene_sets())}")


def scene_set_at(folder: str | os.PathLike[str]) -> SceneSet | None:
    """Return the published dataset that a folder is laid out as; None if it is none.

    A folder with an annotations.json is none: `read_labelled` reads it. PASCAL Context is told by its masks.

    >>> scene_set_at("nowhere")
    """
    folder = Path(folder)
    if (folder / "annotations.json").is_file():
        return None
    for name in ("ade20k", "cityscapes", "camvid", "context59", "voc2012"):
        root = _root(folder, name)
        if root is not None and (name != "context59" or _is_context(root)):
            return scene_set(name)
    return None


def read_scenes(folder: str | os.PathLike[str], name: str | None = None, split: str | None = None) -> LabelledPhotos:
    """Read a published dataset as it is unpacked; masks are read when asked.

    folder  the unpacked archive, or the folder that holds it
    name    "ade20k", "cityscapes", "camvid", "voc2012" or "context59"; by default told by the layout
    split   "train", "val", and "test" of CamVid; left out, all of them are read, in this order

    Labels are those that the field scores: ADE20K's 0 and Cityscapes' classes beyond the 19 are no label, Context-59
    is without its background, and CamVid's 32 colours are grouped into 11 classes, as in SegNet's copy of it. A pack
    of CamVid with an annotations.json is read too. Raises BadInput naming the folder, list or photo that is missing, a
    split whose labels are not published, and, when a mask is read, numbers or colours that are not the dataset's.

    >>> read_scenes("nowhere", "ade20k")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: not laid out as ADE20K, with images/training/ and annotations/training/ or ...
    """
    folder = Path(folder)
    found = scene_set_at(folder) if name is None else scene_set(name)
    if found is None:
        names = ", ".join(one.name for one in scene_sets())
        raise BadInput(f"{folder}: laid out as none of {names}; give the unpacked folder of one of them")
    if split is not None and split not in found.splits:
        raise BadInput(f"split={split!r}: {found.title} has labels for {', '.join(found.splits)}")
    if found.name == "camvid" and (folder / "annotations.json").is_file():
        return read_labelled(folder, split)
    root = _root(folder, found.name)
    if root is None:
        layouts = " or ".join(" and ".join(f"{one}/" for one in marks) for marks, _ in _PLACES[found.name])
        raise BadInput(f"{folder}: not laid out as {found.title}, with {layouts}; give the unpacked folder of it")
    splits = tuple(found.splits) if split is None else (split,)
    count = len(found.classes)
    photos = tuple(
        LabelledPhoto(scene.name, scene.photo, str(scene.mask.path), scene.mask.values, count)
        for scene in _finder(found, root)(root, splits)
    )
    if not photos:
        raise BadInput(f"{root}: no photos of the split {split!r}; unpack the whole dataset")
    palette = class_colours(found.classes) if found.palette is None else np.array(found.palette, np.uint8)
    return LabelledPhotos(photos, found.classes, palette)


def read_photos(
    folder: str | os.PathLike[str], split: str | None = None, *, usual: Sequence[str] = ()
) -> LabelledPhotos:
    """Read a published dataset if a folder is laid out as one, and else a user's own labelled photos.

    split  left out, the first of the `usual` ones that the folder has is read, or all photos if it has none of them

    Raises BadInput as `read_scenes` or `read_labelled` does.

    >>> read_photos("nowhere", usual=("train",))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: no such folder; give one of photos and their masks
    """
    if split is None:
        split = next((one for one in usual if one in splits_of(folder)), None)
    return read_labelled(folder, split) if scene_set_at(folder) is None else read_scenes(folder, split=split)


def splits_of(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the splits of a published dataset, or of a user's own labelled photos.

    >>> splits_of("nowhere")
    ()
    """
    found = scene_set_at(folder)
    if found is not None:
        return tuple(found.splits)
    there = {one.split for one in find_labelled(Path(folder))[0]} if Path(folder).is_dir() else set()
    return tuple(split for split in SPLITS if split in there)


def _finder(found: SceneSet, root: Path) -> scenelayout.Find:
    """What finds the photos of a dataset below its root."""
    row = _facts()[found.name]
    if found.name == "cityscapes":
        return partial(scenelayout.cityscapes, label_ids=row["label_ids"])
    if found.name == "context59":
        return partial(scenelayout.context59, names=found.classes)
    if found.name == "camvid" and _has(root, scenelayout.CAMVID_COLOURED):
        groups = {tuple(colour): found.classes.index(group) if group else IGNORE for _, colour, group in row["colours"]}
        return partial(scenelayout.camvid_coloured, colours=groups)
    finders = {
        "ade20k": scenelayout.ade20k, "camvid": scenelayout.camvid_numbered, "voc2012": scenelayout.voc2012,
    }  # fmt: skip
    return finders[found.name]


def _root(folder: Path, name: str) -> Path | None:
    """The folder in which the layout of a dataset begins; None if it is not there."""
    for marks, places in _PLACES[name]:
        for place in places:
            if _has(folder / place, marks):
                return folder / place
    return None


def _is_context(root: Path) -> bool:
    """Whether a folder of VOC is that of PASCAL Context: VOC2010, or one that holds its masks."""
    masks = scenelayout.context_masks(root)
    return masks is not None and (root.name == "VOC2010" or masks.parent == root)


def _has(folder: Path, marks: tuple[str, ...]) -> bool:
    return all((folder / one).is_dir() for one in marks)


@lru_cache(maxsize=1)
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(__file__).with_name(_FACTS).read_text(encoding="utf-8"))
    return facts


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
