"""SPair-71k: 70,958 annotated pairs of 18 categories (Min et al., 2019), in its published layout.

SPair-71k/Layout/large/{trn,val,test}.txt                 one pair a line, 000001-2008_000033-2008_000585:aeroplane
SPair-71k/PairAnnotation/{trn,val,test}/<that line>.json  src_imname, trg_imname, src_kps, trg_kps, trg_bndbox, ...
SPair-71k/JPEGImages/<category>/<imname>
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from shiftless.data.jsonfile import field, read_json
from shiftless.data.photopair import PhotoPair, check_box, check_points, evenly
from shiftless.errors import BadInput

SPLITS = ("trn", "val", "test")


def read_spair(
    folder: str | os.PathLike[str],
    split: str = "test",
    *,
    layout: str = "large",
    category: str | None = None,
    per_category: int | None = None,
) -> list[PhotoPair]:
    """Read a split of SPair-71k as it is unpacked, in the layout file's order.

    layout        "large" (every pair) or "small"
    category      only this one, such as "cat"
    per_category  how many of each, evenly spaced; 20 of "val" are 360 pairs, as many as hyperfeatures tests on

    Keypoints name pixels from 0 and become pixel centres (+0.5); so does the box, whose size stays as published.
    Raises BadInput naming the missing or malformed file.

    >>> read_spair("nowhere")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: no such folder; give the unpacked SPair-71k (Layout, PairAnnotation, JPEGImages)
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise BadInput(f"split={split!r}: SPair-71k has {', '.join(SPLITS)}")
    if (folder / "SPair-71k").is_dir():
        folder = folder / "SPair-71k"
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; give the unpacked SPair-71k (Layout, PairAnnotation, JPEGImages)")
    listing = folder / "Layout" / layout / f"{split}.txt"
    try:
        lines = [line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise BadInput(
            f"{listing}: cannot be read; give the unpacked SPair-71k (Layout, PairAnnotation, JPEGImages)"
        ) from None
    kinds: dict[str, list[str]] = {}
    for line in lines:
        kinds.setdefault(line.rpartition(":")[2], []).append(line)
    if (category is not None and category not in kinds) or not kinds:
        raise BadInput(f"{listing}: no pair of category {category!r}; it has {', '.join(sorted(kinds)) or 'none'}")
    chosen = [
        line
        for kind, its in kinds.items()
        if category in (None, kind)
        for line in evenly(its, len(its) if per_category is None else per_category)
    ]
    return [_pair(folder, split, line) for line in chosen]


def _pair(folder: Path, split: str, line: str) -> PhotoPair:
    path = folder / "PairAnnotation" / split / f"{line}.json"
    if not os.path.isfile(path):  # systems that allow no colon in a name unpack it as an underscore
        path = next((p for p in (path.with_name(path.name.replace(":", "_")),) if os.path.isfile(p)), path)
    notes = read_json(path)
    category = str(field(notes, "category", str(path)))
    photos, sizes, points = [], [], []
    for side in ("src", "trg"):
        photo = folder / "JPEGImages" / category / str(field(notes, f"{side}_imname", str(path)))
        if not os.path.isfile(photo):  # False for a name that no file can have, too
            raise BadInput(f"{path}: there is no picture {photo}")
        photos.append(photo)
        sizes.append(_size(notes, side, path))
        points.append(_centres(field(notes, f"{side}_kps", str(path)), sizes[-1], f"{path}: {side}_kps"))
    if len(points[0]) != len(points[1]):
        raise BadInput(f"{path}: {len(points[0])} src_kps and {len(points[1])} trg_kps; they must correspond")
    x0, y0, x1, y1 = check_box(field(notes, "trg_bndbox", str(path)), f"{path}: trg_bndbox")
    box = (x0 + 0.5, y0 + 0.5, x1 + 0.5, y1 + 0.5)
    return PhotoPair(photos[0], photos[1], points[0], points[1], sizes[0], sizes[1], box, category, line)


def _size(notes: dict[str, Any], side: str, path: Path) -> tuple[int, int]:
    value = field(notes, f"{side}_imsize", str(path))
    try:
        width, height = int(value[0]), int(value[1])
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        raise BadInput(f"{path}: {side}_imsize is {value!r}; it must be [width, height, 3]") from None
    if not (1 <= height < 2**31 and 1 <= width < 2**31):
        raise BadInput(f"{path}: {side}_imsize is {width}x{height}; it must be the photo's size in pixels")
    return height, width


def _centres(rows: Any, size: tuple[int, int], where: str) -> np.ndarray:
    """Pixel indices -> centres; an annotation a pixel past the border is taken as on it."""
    points = check_points(rows, (size[0] + 1, size[1] + 1), where)
    return np.minimum(points + 0.5, (size[1], size[0]))
