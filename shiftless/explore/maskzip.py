"""Masks in a zip: what Label exports and takes back, as indexed PNG, LabelMe or COCO, and the names of the classes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from shiftless.data.coco import KEYS, coco_document, read_coco
from shiftless.data.labelme import LabelMe, labelme_document
from shiftless.data.palette import BACKGROUND
from shiftless.errors import BadInput
from shiftless.explore.album import Album
from shiftless.explore.labels import Packed, colours_for
from shiftless.explore.strokes import ClassColours
from shiftless.view.palette import check_mask
from shiftless.view.segmentation import indexed_png_bytes

CLASSES, MASKS, LABELS = "classes.json", "masks/", "labels/"
FORMATS = ("png", "labelme", "coco")
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
    album: Album,
    classes: ClassColours,
    masks: Mapping[int, np.ndarray | Packed],
    labels: Mapping[int, np.ndarray],
    form: str = "png",
) -> bytes:
    """Return a zip of masks (what was predicted), labels (what was painted) and classes.json.

    form  "png": masks/NAME.png and labels/NAME.png, indexed; "labelme": masks/NAME.json and labels/NAME.json, polygons;
          "coco": masks.json and labels.json, run lengths

    With images/ and the photos in it, classes.json and masks/ are a folder that `shiftless segment` reads. Raises
    BadInput for another form.

    >>> classes = ClassColours(("a", "b"), ((0, 0, 0), (255, 0, 0)))
    >>> zipfile.ZipFile(io.BytesIO(write_zip(Album([]), classes, {}, {}))).namelist()
    ['classes.json']
    """
    if form not in FORMATS:
        raise BadInput(f"format {str(form)[:20]!r}: must be one of {', '.join(FORMATS)}")
    names, out = album.mask_names(), io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED if form == "png" else zipfile.ZIP_DEFLATED) as file:
        about = {"classes": list(classes.names), "palette": [list(colour) for colour in classes.palette]}
        file.writestr(CLASSES, json.dumps(about, indent=1) + "\n")
        for folder, several in ((MASKS, masks), (LABELS, labels)):
            opened = ((photo, one.mask() if isinstance(one, Packed) else one) for photo, one in several.items())
            if form == "coco" and several:
                photos = ((album.entry(photo).name, mask) for photo, mask in opened)
                file.writestr(f"{folder[:-1]}.json", json.dumps(coco_document(photos, classes.names)) + "\n")
                continue
            for photo, mask in opened:
                if form == "png":
                    content = indexed_png_bytes(mask, classes.palette, name=names[photo])
                    file.writestr(folder + names[photo], content)
                else:
                    document = labelme_document(mask, classes.names, album.entry(photo).name)
                    file.writestr(folder + _json_name(names[photo]), json.dumps(document) + "\n")
    return out.getvalue()


def read_masks(album: Album, content: bytes) -> Imported:
    """Read what `write_zip` wrote, in any of its forms, or one .json of LabelMe or COCO that another tool wrote.

    Of a zip it takes what was painted where there is any, else the masks. Nothing is unpacked to disk, and only files
    that are named after a photo of the album are read. Raises BadInput, naming the file, for a zip that is damaged or
    has no classes, a file that is neither, and a mask of another size or of unknown classes.
    """
    if content.lstrip()[:1] in (b"{", b"["):
        return _read_document(album, content)
    limits = album.limits
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            entries = {info.filename: info for info in file.infolist() if not info.is_dir()}
            if CLASSES not in entries:
                raise BadInput(f"the zip has no {CLASSES}; give one that Export wrote")
            classes = _classes(_read(file, entries[CLASSES], _JSON_BYTES), limits.classes)
            folder = LABELS if any(name.startswith(LABELS[:-1]) for name in entries) else MASKS
            known = _known(album, folder)
            masks = {}
            for name, info in entries.items():
                if name in known:
                    content = _read(file, info, limits.mask_bytes)
                    photo, hw = known[name], album.photo(known[name]).hw
                    if name.endswith(".json"):
                        mask = _drawn(LabelMe(Path(name), _parsed(content, name)), hw, classes.names, name)
                    else:
                        mask = _mask(content, hw, name)
                    masks[photo] = Packed.of(check_mask(mask, len(classes.names), mask.shape, name))
            ignored = [name for name in entries if name.startswith(folder) and name not in known]
            if (one := f"{folder[:-1]}.json") in entries:
                document = _parsed(_read(file, entries[one], limits.zip_bytes), one)
                more, left = _coco_masks(album, document, one, classes.names)
                masks, ignored = masks | more, ignored + left
    except BadInput:
        raise
    except Exception as error:  # broken archives make zipfile and zlib raise nearly anything
        raise BadInput(f"not a whole zip of masks ({type(error).__name__}); give one that Export wrote") from None
    if not masks:
        raise BadInput(f"no mask in the zip is named after a photo here, such as {next(iter(known), folder)}")
    return Imported(classes, masks, tuple(ignored))


def _read_document(album: Album, content: bytes) -> Imported:
    """One .json: COCO's, or LabelMe's, whose "imagePath" names its photo."""
    where = "the .json file"
    document = _parsed(content, where)
    if not isinstance(document, dict) or not ("shapes" in document or all(key in document for key in KEYS)):
        raise BadInput(f"{where}: neither COCO ({', '.join(KEYS)}) nor LabelMe (shapes)")
    if "shapes" in document:
        notes = LabelMe(Path(where), document)
        file = str(document.get("imagePath"))
        photo = _numbers(album).get(_stem(file))
        names = _two(notes.names())
        masks: dict[int, Packed] = {}
        if photo is not None:
            mask = _drawn(notes, album.photo(photo).hw, names, where)
            masks[photo] = Packed.of(check_mask(mask, len(names), mask.shape, where))
        ignored = [file] if photo is None else []
    else:
        names = _two(_category_names(document, where))
        masks, ignored = _coco_masks(album, document, where, names)
    if not masks:
        raise BadInput(f"{where}: labels {', '.join(ignored[:3])}, and no photo here is called so")
    colours = colours_for(names)
    given = [{"name": n, "colour": "#{:02x}{:02x}{:02x}".format(*c)} for n, c in zip(names, colours.palette)]
    return Imported(ClassColours.of(given, album.limits.classes), masks, tuple(ignored))


def _coco_masks(album: Album, document: Any, where: str, names: Sequence[str]) -> tuple[dict[int, Packed], list[str]]:
    """The masks of a COCO file by the numbers of the photos, and names of files that are no photo here."""
    numbers, ignored = _numbers(album), list[str]()
    masks: dict[int, Packed] = {}
    if not isinstance(document, dict):
        raise BadInput(f"{where}: not a JSON object")
    for file, image in read_coco(Path(), Path(where), document, Path):
        photo = numbers.get(_stem(file.as_posix()))
        if photo is None:
            ignored.append(file.as_posix())
        else:
            mask = _drawn(image, album.photo(photo).hw, names, where)
            masks[photo] = Packed.of(check_mask(mask, len(names), mask.shape, where))
    return masks, ignored


def _category_names(document: Any, where: str) -> list[str]:
    images = read_coco(Path(), Path(where), document, Path)
    return images[0][1].names()


def _drawn(source: Any, hw: tuple[int, int], names: Sequence[str], where: str) -> np.ndarray:
    """Draw LabelMe's or COCO's regions as class numbers; a name that is no class is refused."""
    unknown = [name for name in source.names() if name not in names]
    if unknown:
        raise BadInput(f"{where}: the label {unknown[0]!r} is not among the classes: {', '.join(names)}")
    result: np.ndarray = source.values(hw, {name: number for number, name in enumerate(names)})
    return result


def _two(names: Sequence[str]) -> list[str]:
    """At least two classes: of one alone, the rest is background."""
    rest = [name for name in names if name != BACKGROUND]
    return [BACKGROUND, *rest] if BACKGROUND in names or len(rest) < 2 else rest


def _known(album: Album, folder: str) -> dict[str, int]:
    """The files of a folder in the zip that are named after photos, and the photos' numbers."""
    names = album.mask_names()
    return {folder + form(name): photo for photo, name in enumerate(names) for form in (str, _json_name)}


def _numbers(album: Album) -> dict[str, int]:
    """The photos' numbers by their names without the ending; where two share one, by the first."""
    numbers: dict[str, int] = {}
    for photo in range(len(album)):
        numbers.setdefault(_stem(album.entry(photo).name), photo)
    return numbers


def _stem(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/")).with_suffix("")) if name.strip("./\\") else ""


def _json_name(name: str) -> str:
    return f"{name.removesuffix('.png')}.json"


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise BadInput(f"{where}: not JSON; export it again") from None


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
