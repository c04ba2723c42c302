"""Masks in a zip: what Label exports and takes back, as indexed PNG beside the names of the classes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from shiftless.errors import BadInput
from shiftless.explore.album import Album
from shiftless.explore.labels import Packed, colours_for
from shiftless.explore.strokes import ClassColours
from shiftless.view.palette import check_mask
from shiftless.view.segmentation import indexed_png_bytes

CLASSES, MASKS, LABELS = "classes.json", "masks/", "labels/"
_JSON_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Imported:
    """What a zip held.

    masks    packed, by the numbers of the photos
    ignored  names of files in the zip that belong to no photo here
    """

    classes: ClassColours
    masks: Mapping[int, Packed]
    ignored: tuple[str, ...]


def write_zip(
    album: Album, classes: ClassColours, masks: Mapping[int, np.ndarray | Packed], labels: Mapping[int, np.ndarray]
) -> bytes:
    """Return a zip of masks/NAME.png (what was predicted), labels/NAME.png (what was painted) and classes.json.

    Beside a folder images/ with the photos, masks/ and classes.json are a folder that `shiftless segment` reads.

    >>> classes = ClassColours(("a", "b"), ((0, 0, 0), (255, 0, 0)))
    >>> zipfile.ZipFile(io.BytesIO(write_zip(Album([]), classes, {}, {}))).namelist()
    ['classes.json']
    """
    names, out = album.mask_names(), io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        about = {"classes": list(classes.names), "palette": [list(colour) for colour in classes.palette]}
        file.writestr(CLASSES, json.dumps(about, indent=1) + "\n")
        for folder, several in ((MASKS, masks), (LABELS, labels)):
            for photo, one in several.items():
                mask = one.mask() if isinstance(one, Packed) else one
                file.writestr(folder + names[photo], indexed_png_bytes(mask, classes.palette, name=names[photo]))
    return out.getvalue()


def read_zip(album: Album, content: bytes) -> Imported:
    """Read what `write_zip` wrote: what was painted where there is any, else the masks.

    Nothing is unpacked to disk, and only files that are named after a photo of the album are read. Raises BadInput,
    naming the file, for a zip that is damaged, has no classes, or holds a mask of another size or of unknown classes.
    """
    limits = album.limits
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            entries = {info.filename: info for info in file.infolist() if not info.is_dir()}
            if CLASSES not in entries:
                raise BadInput(f"the zip has no {CLASSES}; give one that Export wrote")
            classes = _classes(_read(file, entries[CLASSES], _JSON_BYTES), limits.classes)
            folder = LABELS if any(name.startswith(LABELS) for name in entries) else MASKS
            known = {folder + name: photo for photo, name in enumerate(album.mask_names())}
            masks = {}
            for name, info in entries.items():
                if name in known:
                    mask = _mask(_read(file, info, limits.mask_bytes), album.photo(known[name]).hw, name)
                    masks[known[name]] = Packed.of(check_mask(mask, len(classes.names), mask.shape, name))
    except BadInput:
        raise
    except Exception as error:  # broken archives make zipfile and zlib raise nearly anything
        raise BadInput(f"not a whole zip of masks ({type(error).__name__}); give one that Export wrote") from None
    ignored = tuple(name for name in entries if name.startswith(folder) and name not in known)
    if not masks:
        raise BadInput(f"no mask in the zip is named after a photo here, such as {next(iter(known), folder)}")
    return Imported(classes, masks, ignored)


def _read(file: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """A file of the zip, refused if it unpacks to more than is allowed, whatever its header says."""
    with file.open(info) as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise BadInput(f"{info.filename}: unpacks to over {most >> 20} MB; leave it out")
    return content


def _classes(content: bytes, most: int) -> ClassColours:
    try:
        about = json.loads(content)
    except ValueError:
        raise BadInput(f"{CLASSES}: not JSON; give a zip that Export wrote") from None
    names: object = about.get("classes") if isinstance(about, dict) else about
    palette: object = about.get("palette") if isinstance(about, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInput(f'{CLASSES}: give {{"classes": ["background", "leg"]}}')
    colours = _colours(palette) if palette is not None else colours_for(names).palette
    if len(colours) != len(names):
        raise BadInput(f"{CLASSES}: {len(names)} classes and {len(colours)} colours; give as many")
    given = [{"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour)} for name, colour in zip(names, colours)]
    return ClassColours.of(given, most)


def _colours(palette: object) -> Sequence[tuple[int, int, int]]:
    rows: list[Any] = palette if isinstance(palette, list) else [None]
    for row in rows:
        if not (isinstance(row, list) and len(row) == 3 and all(type(v) is int and 0 <= v <= 255 for v in row)):
            raise BadInput(f"{CLASSES}: the palette must be [[red, green, blue], ...], whole numbers to 255")
    return [(row[0], row[1], row[2]) for row in rows]


def _mask(content: bytes, hw: tuple[int, int], name: str) -> np.ndarray:
    """The class numbers of a PNG of the photo's size."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        if image.mode not in ("P", "L"):
            raise BadInput(
                f"{name}: a picture in colours ({image.mode}), not a mask; save class numbers as indexed PNG"
            )
        if (image.height, image.width) != hw:
            raise BadInput(f"{name}: {image.width} x {image.height} pixels, and the photo has {hw[1]} x {hw[0]}")
        return np.array(image, dtype=np.uint8)
