"""Labels in COCO's format (Lin et al. 2014): one JSON file of images, categories and annotations of regions; read and
written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shiftless.data.classlist import plain_name
from shiftless.data.jsonfile import field
from shiftless.data.labelledphoto import check_size
from shiftless.data.palette import BACKGROUND
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE

KEYS = ("images", "annotations", "categories")


@dataclass(frozen=True, eq=False)
class _Region:
    where: str
    name: str | None  # None: a crowd, whose pixels are not labelled
    segmentation: Any


@dataclass(frozen=True, eq=False)
class CocoImage:
    """One image of a COCO file and its annotations, drawn in the order of the file, later ones on top.

    A crowd ("iscrowd": 1) is outlined loosely: its pixels have no label, unless another annotation covers them. Pixels
    without annotation are background, if a class is called so, and otherwise have no label.
    """

    ordered = True  # the categories, by their ids

    where: str
    categories: tuple[str, ...]
    size: tuple[int, int] | None
    regions: tuple[_Region, ...]

    def names(self) -> list[str]:
        """The names of all categories of the file, in the order of their ids."""
        return list(self.categories)

    def values(self, hw: tuple[int, int], numbers: Mapping[str, int]) -> np.ndarray:
        """Draw the annotations: H W uint8; `numbers` has the number of each category.

        Raises BadInput naming the file and the annotation: a region that is none, or of another size than hw.
        """
        if self.size is not None:
            check_size(self.size, hw, self.where)
        mask = np.full(hw, numbers.get(BACKGROUND, IGNORE), np.uint8)
        for region in sorted(self.regions, key=lambda region: region.name is not None):  # crowds first
            number = IGNORE if region.name is None else numbers[region.name]
            mask[_inside(region.segmentation, hw, region.where)] = number
        return mask


def read_coco(
    folder: Path, path: Path, document: Mapping[str, Any], find: Callable[[str], Path | None] | None = None
) -> list[tuple[Path, CocoImage]]:
    """Return the photos of a COCO file and their annotations; photos lie in FOLDER or FOLDER/images.

    find  says where a photo lies by its "file_name", in place of that

    Raises BadInput naming the file and the entry: a missing field or photo, ids that are there twice or that nothing
    has, an image without annotations, an annotation without a region.
    """
    categories = _by_id(document, "categories", path)
    names: dict[int, str | None] = {}
    for number in sorted(categories):
        name = field(categories[number], "name", f"{path}: category {number}")
        if not isinstance(name, str) or not name.strip():
            raise BadInput(f"{path}: category {number}: 'name' is {name!r}; give the name of a class")
        names[number] = plain_name(name)
    images, regions = _by_id(document, "images", path), _regions(document, names, path)
    unknown = sorted(regions.keys() - images.keys())
    if unknown:
        raise BadInput(f"{path}: annotations of image {unknown[0]}, which is not in 'images'")
    result = []
    listed = tuple(dict.fromkeys(name for name in names.values() if name is not None))
    for number, record in images.items():
        where = f"{path}: image {number}"
        file = str(field(record, "file_name", where))
        places = (folder / "images" / file, folder / file)
        photo = find(file) if find else next((place for place in places if os.path.isfile(place)), None)
        if photo is None:
            raise BadInput(f"{where}: there is no picture {folder / file}, nor is it in {folder / 'images'}")
        if number not in regions:
            raise BadInput(f"{where}: {file} has no annotation; label it, or take it out of 'images'")
        sides = record.get("height"), record.get("width")
        size = sides if all(isinstance(side, int) for side in sides) else None
        result.append((photo, CocoImage(where, listed, size, tuple(regions[number]))))
    return result


def coco_document(photos: Iterable[tuple[str, np.ndarray]], names: Sequence[str]) -> dict[str, Any]:
    """Write masks as a COCO file: an annotation for each class of each photo, by run lengths, which lose nothing.

    photos  the name of each photo's file, and its mask H W uint8, 255 where unlabelled
    names   of class 0, 1, ..., which get the ids 1, 2, ...

    `read_coco` reads exactly the masks back: pixels without a label are a crowd, where one class is the background.

    >>> document = coco_document([("a.jpg", np.array([[0, 1], [0, 1]], np.uint8))], ["sky", "sea"])
    >>> [(one["category_id"], one["segmentation"]["counts"], one["bbox"]) for one in document["annotations"]]
    [(1, [0, 2, 2], [0, 0, 1, 2]), (2, [2, 2], [1, 0, 1, 2])]
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (file, mask) in enumerate(photos, 1):
        h, w = mask.shape
        images.append({"id": number, "file_name": file, "height": h, "width": w})
        kinds = [(label + 1, mask == label, 0) for label in range(len(names))]
        if BACKGROUND in names:
            kinds.append((1, mask == IGNORE, 1))
        for category, inside, crowd in kinds:
            rows, columns = inside.any(1).nonzero()[0], inside.any(0).nonzero()[0]
            if len(rows):
                (x, y), (x1, y1) = (int(columns[0]), int(rows[0])), (int(columns[-1]), int(rows[-1]))
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": category,
                        "segmentation": {"size": [h, w], "counts": _runs_of(inside)},
                        "area": int(inside.sum()),
                        "bbox": [x, y, x1 - x + 1, y1 - y + 1],
                        "iscrowd": crowd,
                    }
                )
    categories = [{"id": label + 1, "name": name, "supercategory": ""} for label, name in enumerate(names)]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def _runs_of(inside: np.ndarray) -> list[int]:
    """H W bool -> lengths of runs of 0 and 1 in turn, down the columns."""
    flat = inside.T.ravel()
    ends = [*(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), len(flat)]
    runs = [int(run) for run in np.diff([0, *ends])]
    return [0, *runs] if flat[0] else runs


def _by_id(document: Mapping[str, Any], key: str, path: Path) -> dict[int, Any]:
    records = field(document, key, str(path))
    if not isinstance(records, list) or not records:
        raise BadInput(f"{path}: {key!r} must be a list of at least one")
    result: dict[int, Any] = {}
    for index, record in enumerate(records):
        number = field(record, "id", f"{path}: {key}[{index}]")
        if isinstance(number, bool) or not isinstance(number, int) or number in result:
            raise BadInput(f"{path}: {key}[{index}] has the id {number!r}; give each a whole number of its own")
        result[number] = record
    return result


def _regions(document: Mapping[str, Any], names: Mapping[int, str | None], path: Path) -> dict[int, list[_Region]]:
    records = field(document, "annotations", str(path))
    if not isinstance(records, list):
        raise BadInput(f"{path}: 'annotations' must be a list")
    result: dict[int, list[_Region]] = {}
    for index, record in enumerate(records):
        where = f"{path}: annotation {record.get('id', index) if isinstance(record, dict) else index}"
        image, category = field(record, "image_id", where), field(record, "category_id", where)
        if not isinstance(image, int):
            raise BadInput(f"{where}: 'image_id' is {image!r}; give the id of an image")
        if not isinstance(category, int) or category not in names:
            raise BadInput(f"{where}: category {category!r} is not in 'categories'")
        segmentation = record.get("segmentation")
        if not segmentation:
            raise BadInput(f"{where}: has no 'segmentation'; a box alone does not label pixels")
        name = None if record.get("iscrowd") else names[category]
        result.setdefault(image, []).append(_Region(where, name, segmentation))
    return result


def _inside(segmentation: Any, hw: tuple[int, int], where: str) -> np.ndarray:
    """A polygon, or several, or run lengths -> H W bool."""
    if isinstance(segmentation, Mapping):
        size, counts = field(segmentation, "size", where), field(segmentation, "counts", where)
        if not isinstance(size, list | tuple) or len(size) != 2 or not all(isinstance(side, int) for side in size):
            raise BadInput(f"{where}: the run lengths' 'size' is {size!r}; it must be [height, width]")
        check_size((size[0], size[1]), hw, where)
        return _from_runs(_runs(counts, where) if isinstance(counts, str) else counts, hw, where)
    if not isinstance(segmentation, list):
        raise BadInput(f"{where}: 'segmentation' must be polygons [[x, y, x, y, ...], ...] or run lengths")
    rings = [_ring(ring, hw, where) for ring in segmentation]
    try:
        from pycocotools import mask as coco_mask
    except ImportError:
        raise BadInput(
            f'{where}: polygons of COCO need pycocotools; install it with: pip install "shiftless[segment]"'
        ) from None
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, *hw))).astype(bool)


def _ring(ring: Any, hw: tuple[int, int], where: str) -> list[float]:
    """A polygon as pycocotools takes it. It is checked, since pycocotools reserves memory for whatever it is given."""
    try:
        array = np.asarray(ring, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.ndim != 1 or len(array) < 6 or len(array) % 2 or not np.isfinite(array).all():
        raise BadInput(f"{where}: a polygon must be [x, y, x, y, ...], three points or more, finite numbers")
    points = array.reshape(-1, 2)
    if (points < (-hw[1], -hw[0])).any() or (points > (2 * hw[1], 2 * hw[0])).any():
        raise BadInput(f"{where}: a polygon reaches far out of the {hw[1]}x{hw[0]} photo; give points in pixels")
    return [float(value) for value in array]


def _runs(text: str, where: str) -> list[int]:
    """Run lengths from COCO's compressed string: five bits a character, differences to the last but one from the third.

    pycocotools decodes them too, but reads memory beyond a string that was cut.
    """
    runs: list[int] = []
    value = bits = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or bits > 40:
            raise BadInput(f"{where}: {letter!r} in the run lengths, which is none of their characters")
        value |= (code & 31) << bits
        bits += 5
        if not code & 32:
            value -= (code & 16) << (bits - 4)  # the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    if bits:
        raise BadInput(f"{where}: the run lengths are cut off; export the file again")
    return runs


def _from_runs(runs: Any, hw: tuple[int, int], where: str) -> np.ndarray:
    """Lengths of runs of 0 and 1 in turn, down the columns -> H W bool."""
    whole = isinstance(runs, list) and all(isinstance(run, int) and 0 <= run <= hw[0] * hw[1] for run in runs)
    if not whole or sum(runs) != hw[0] * hw[1]:
        raise BadInput(f"{where}: the run lengths must be whole numbers that add up to {hw[0]} x {hw[1]} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(hw[::-1]).T
