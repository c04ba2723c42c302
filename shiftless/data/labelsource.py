"""Where the labels of a folder lie: each photo, its split, and the file or the entry that labels it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftless.data.classlist import FILES, ClassList, class_list
from shiftless.data.coco import KEYS, CocoImage, read_coco
from shiftless.data.jsonfile import field, parse_json
from shiftless.data.labelme import LabelMe
from shiftless.data.maskfile import NpyMask, PngMask
from shiftless.errors import BadInput
from shiftless.image import EXTENSIONS, list_photos

SPLITS = ("train", "val", "test")
NOTES = "annotations.json"


Source = PngMask | NpyMask | LabelMe | CocoImage
"""What labels one photo."""
NUMBERED = (PngMask, NpyMask)
"""Those that hold numbers of classes; the others hold names."""


@dataclass(frozen=True)
class Found:
    """One photo and what labels it."""

    name: str
    photo: Path
    where: str
    source: Source
    split: str | None = None


def mask_source(path: Path) -> PngMask | NpyMask | LabelMe:
    """Return the reader of one photo's labels by the file's extension: .png, .npy or .json (LabelMe).

    >>> mask_source(Path("masks/a.jpg"))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: masks/a.jpg: no mask can have this format; save it as .png, .npy or LabelMe's .json
    """
    readers = {".png": PngMask, ".npy": NpyMask, ".json": LabelMe}
    reader: Any = readers.get(path.suffix.lower())
    if reader is None:
        raise BadInput(f"{path}: no mask can have this format; save it as .png, .npy or LabelMe's .json")
    return reader(path)


def find_labelled(folder: Path) -> tuple[list[Found], ClassList | None]:
    """Find the labelled photos of a folder, and the classes if its annotations.json lists them.

    Raises BadInput as `shiftless.data.labelled.read_labelled` says.
    """
    notes = _notes(folder)
    if notes is not None:
        return _listed(folder, notes)
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        return _paired(folder), None
    parts = [name for name in SPLITS if (folder / name).is_dir()]
    if not parts:
        return _beside(folder), None
    found = []
    for part in parts:
        inner, listed = find_labelled(folder / part)
        if listed is not None:
            raise BadInput(f"{folder / part / NOTES}: lists classes of its own; move it to {folder}, with all splits")
        found += [Found(f"{part}/{one.name}", one.photo, one.where, one.source, part) for one in inner]
    return found, None


def _notes(folder: Path) -> Path | None:
    """annotations.json, or the only .json that is no photo's; None if there is neither."""
    if (folder / NOTES).is_file():
        return folder / NOTES
    names = sorted(os.listdir(folder))
    pictures = {Path(name).stem for name in names if name.lower().endswith(EXTENSIONS)}
    found = [name for name in names if name.lower().endswith(".json") and name not in FILES]
    return folder / found[0] if len(found) == 1 and Path(found[0]).stem not in pictures else None


def _listed(folder: Path, path: Path) -> tuple[list[Found], ClassList | None]:
    document = parse_json(path)
    if not isinstance(document, dict) or not ("items" in document or set(KEYS) <= document.keys()):
        raise BadInput(f"{path}: neither COCO ({', '.join(KEYS)}) nor a list of photos (classes, items)")
    if "items" not in document:
        found = []
        for photo, image in read_coco(folder, path, document):
            name = _name(photo, folder)
            found.append(Found(name, photo, image.where, image, _split_of(name)))
        _check_once(found, path)
        return found, None
    items = document["items"]
    if not isinstance(items, list) or not items:
        raise BadInput(f"{path}: 'items' must be a list of photos, at least one")
    found = []
    for index, item in enumerate(items):
        where = f"{path}: item {index}"
        photo, mask = (folder / str(field(item, name, where)) for name in ("image", "mask"))
        for file in (photo, mask):
            if not os.path.isfile(file):  # False for a name that no file can have, too
                raise BadInput(f"{where}: there is no file {file}")
        split = item.get("split")
        if split is not None and split not in SPLITS:
            raise BadInput(f"{where}: the split {split!r}; it must be one of {', '.join(SPLITS)}")
        found.append(Found(_name(photo, folder), photo, str(mask), mask_source(mask), split))
    _check_once(found, path)
    return found, class_list(field(document, "classes", str(path)), str(path), document.get("ignore_index"))


def _name(photo: Path, folder: Path) -> str:
    """A photo's name in its set: the path below the folder or its images/, without the extension."""
    try:
        below = photo.relative_to(folder).with_suffix("").parts
    except ValueError:  # it lies elsewhere
        return photo.stem
    return "/".join(below[below[0] == "images" and len(below) > 1 :])


def _check_once(found: Iterable[Found], where: Path) -> None:
    seen: set[str] = set()
    for one in found:
        if one.name in seen:
            raise BadInput(f"{where}: {one.photo} is there twice, or another photo has its name; keep one")
        seen.add(one.name)


def _paired(folder: Path) -> list[Found]:
    """Photos below images/, masks below masks/, by the same path without extension."""
    images, masks = folder / "images", folder / "masks"
    photos = list_photos(images)
    files = []
    for top, inner, names in os.walk(masks):
        inner[:] = [name for name in inner if not name.startswith(".")]
        files += [Path(top, name) for name in names if not name.startswith(".")]
    return _matched(folder, [(_key(p, images), p) for p in photos], [(_key(f, masks), f) for f in sorted(files)])


def _key(path: Path, top: Path) -> str:
    return path.relative_to(top).with_suffix("").as_posix()


def _beside(folder: Path) -> list[Found]:
    """Photos with NAME.png, NAME.npy or NAME.json beside them; a NAME.png beside another picture is its mask."""
    names = sorted(name for name in os.listdir(folder) if not name.startswith(".") and name not in FILES)
    pictures = [folder / name for name in names if name.lower().endswith(EXTENSIONS)]
    others = {path.stem for path in pictures if path.suffix.lower() != ".png"}
    drawn = [path for path in pictures if path.suffix.lower() == ".png" and path.stem in others]
    masks = drawn + [folder / name for name in names if name.lower().endswith((".npy", ".json"))]
    photos = [path for path in pictures if path not in drawn]
    if not photos:
        raise BadInput(
            f"{folder}: no photos with masks; give a folder with images/ and masks/, or NAME.jpg and NAME.png"
        )
    return _matched(folder, [(path.stem, path) for path in photos], [(path.stem, path) for path in sorted(masks)])


def _matched(folder: Path, photos: list[tuple[str, Path]], masks: list[tuple[str, Path]]) -> list[Found]:
    for what, rows in (("photos", photos), ("masks", masks)):
        seen: dict[str, Path] = {}
        for key, path in rows:
            if key in seen:
                raise BadInput(f"{folder}: {seen[key].name} and {path.name} are two {what} called {key}; keep one")
            seen[key] = path
    by_photo, by_mask = dict(photos), dict(masks)
    _check_all(folder, "photos have no mask", by_photo, by_mask, "label them, or take them out of the folder")
    _check_all(
        folder, "masks have no photo", by_mask, by_photo, "give the photos the same names, or take the masks out"
    )
    return [Found(key, path, str(by_mask[key]), mask_source(by_mask[key]), _split_of(key)) for key, path in photos]


def _check_all(folder: Path, what: str, rows: dict[str, Path], others: dict[str, Path], remedy: str) -> None:
    missing = [path for key, path in rows.items() if key not in others]
    if missing:
        shown = ", ".join(path.relative_to(folder).as_posix() for path in missing[:3]) + ", ..." * (len(missing) > 3)
        raise BadInput(f"{folder}: {len(missing)} of {len(rows)} {what} ({shown}); {remedy}")


def _split_of(key: str) -> str | None:
    first, slash, _ = key.partition("/")
    return first if slash and first in SPLITS else None
