"""A user's own labelled photos: a folder of photos and masks, LabelMe polygons or COCO annotations.

    FOLDER/images/a.jpg              FOLDER/a.jpg                   FOLDER/annotations.json   COCO: the only .json file
    FOLDER/masks/a.png               FOLDER/a.png                   FOLDER/images/a.jpg       may have another name

Masks are NAME.png (indexed, or grey: class numbers, not colours), NAME.npy or NAME.json (LabelMe). A photo that is a
PNG itself has its mask in a folder of its own, or as .npy or .json. Splits are folders called train, val and test: in
FOLDER, or in both FOLDER/images and FOLDER/masks. In masks, 255 is no label.

FOLDER/classes.json or classes.txt names the classes (`classlist.py`). Without it, numbers up to the highest one that a
mask holds are "class 0", "class 1", ...; names of LabelMe and COCO are numbered from 1, and 0 is the background, which
nobody drew. An annotations.json may also list classes and masks itself:

    {"classes": ["sky", "road"], "ignore_index": 11,
     "items": [{"split": "train", "image": "images/a.jpg", "mask": "masks/a.png"}]}
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from shiftless.data.classlist import read_class_list
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos, never_labelled
from shiftless.data.labelsource import NUMBERED, SPLITS, Found, Source, find_labelled
from shiftless.data.maskfile import PngMask
from shiftless.data.palette import BACKGROUND, class_colours
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE, MOST_CLASSES

__all__ = ["IGNORE", "LabelledPhoto", "LabelledPhotos", "never_labelled", "read_labelled"]


def read_labelled(
    folder: str | os.PathLike[str], split: str | None = None, *, usual: str | None = None
) -> LabelledPhotos:
    """Read a folder of labelled photos in any of the layouts above; `LabelledPhoto.mask` reads each mask when asked.

    split  "train", "val" or "test"; left out, all photos are read
    usual  the split that is read if `split` is left out and the folder has it

    The classes are those of the whole folder, whichever split is read. Colours are those of classes.json, of the first
    indexed PNG, or by the rule of `palette`. Raises BadInput naming the file: a missing folder or file, a photo
    without labels or labels without a photo, two masks of one photo, names that are not among the classes, a split
    that is not there.

    >>> read_labelled("nowhere")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: no such folder; give one of photos and their masks
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; give one of photos and their masks")
    found, listed = find_labelled(folder)
    given = read_class_list(folder) or listed
    names = given.names if given else _names(folder, found)
    ignore = given.ignore if given else None
    numbers = {name: number for number, name in enumerate(names)}
    for one in found:
        _check_names(one, numbers)
    if split is None and any(one.split == usual for one in found):
        split = usual
    chosen = [one for one in found if split in (None, one.split)]
    if not chosen:
        there = [name for name in SPLITS if any(one.split == name for one in found)]
        raise BadInput(
            f"{folder}: no split {split!r}; it has {', '.join(there) or 'none: make folders train and test'}"
        )
    photos = tuple(
        LabelledPhoto(one.name, one.photo, one.where, partial(_values, one.source, numbers, ignore), len(names))
        for one in chosen
    )
    palette = _palette(names, given.palette if given else None, found)
    return LabelledPhotos(photos, names, palette, given.unscored if given else ())


def _values(source: Source, numbers: Mapping[str, int], ignore: int | None, hw: tuple[int, int]) -> np.ndarray:
    """The labels of one photo, with IGNORE in the place of the file's own number for no label."""
    if not isinstance(source, NUMBERED):
        return source.values(hw, numbers)
    values = source.values(hw)
    return values if ignore is None else np.where(values == ignore, IGNORE, values)


def _names(folder: Path, found: Sequence[Found]) -> tuple[str, ...]:
    """Names of classes that no list gives."""
    named = [one.source for one in found if not isinstance(one.source, NUMBERED)]
    if not named:
        highest = max(_highest(one) for one in found)
        if highest == 0:
            raise BadInput(
                f"{folder}: no mask holds another class than 0; number them 0, 1, 2, ...; {IGNORE} is no label"
            )
        return tuple(f"class {number}" for number in range(highest + 1))
    if len(named) < len(found):
        raise BadInput(f"{folder}: some labels are names and some are numbers; write a classes.txt, a name a line")
    names = dict.fromkeys(name for source in named for name in source.names() if name != BACKGROUND)
    ordered = tuple(names) if all(source.ordered for source in named) else tuple(sorted(names))
    if not 1 <= len(ordered) < MOST_CLASSES:
        raise BadInput(f"{folder}: {len(ordered)} classes are drawn; draw 1 to {MOST_CLASSES - 1} and the background")
    return (BACKGROUND, *ordered)


def _highest(one: Found) -> int:
    assert isinstance(one.source, NUMBERED)
    values = one.source.values()
    known = values[values != IGNORE]
    if known.size and (known.min() < 0 or known.max() > IGNORE):
        raise BadInput(
            f"{one.where}: label values from {known.min()} to {known.max()}; classes are numbered from 0, "
            f"at most {MOST_CLASSES} of them, and {IGNORE} is no label"
        )
    return int(known.max()) if known.size else 0


def _check_names(one: Found, numbers: Mapping[str, int]) -> None:
    if not isinstance(one.source, NUMBERED):
        unknown = [name for name in one.source.names() if name not in numbers]
        if unknown:
            raise BadInput(f"{one.where}: the label {unknown[0]!r} is not among the classes: {', '.join(numbers)}")


def _palette(names: Sequence[str], given: np.ndarray | None, found: Sequence[Found]) -> np.ndarray:
    result = class_colours(names)
    if given is None:
        given = next((one.source.palette() for one in found if isinstance(one.source, PngMask)), None)
    if given is not None:
        result[: len(given)] = given[: len(names)]
    return result
