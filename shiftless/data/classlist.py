"""The classes of a folder of labelled photos: names, colours, and what is not scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shiftless.data.jsonfile import parse_json
from shiftless.data.palette import BACKGROUND
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import MOST_CLASSES

FILES = ("classes.json", "classes.txt")
UNLABELLED_NAME = "__ignore__"
"""LabelMe's name for what is not to be labelled; its lists begin with it."""
_UNLABELLED = (UNLABELLED_NAME, "_ignore_")


@dataclass(frozen=True, eq=False)
class ClassList:
    """The classes of a set of labelled photos.

    names     of class 0, 1, ...
    ignore    the number that masks have where nothing is labelled, besides 255; None if there is no other
    palette   N 3 uint8, the colours of the first N classes; None if they are not said
    unscored  numbers of classes that exist and are not scored

    >>> class_list(["background", "leg", "void"], "classes.json", ignore=2).names
    ('background', 'leg')
    """

    names: tuple[str, ...]
    ignore: int | None = None
    palette: np.ndarray | None = None
    unscored: tuple[int, ...] = ()


def read_class_list(folder: Path) -> ClassList | None:
    """Read classes.json or classes.txt of a folder; None if there is neither.

    classes.json  ["background", "leg"], or {"classes": [...], "ignore": 11, "palette": [[r, g, b], ...],
                  "unscored": ["background"]}, of which only "classes" must be there
    classes.txt   one name a line, class 0 first

    Raises BadInput naming the file: both are there, or it is not valid (see `class_list`).

    >>> read_class_list(Path("nowhere"))
    """
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if not found:
        return None
    path = found[0]
    if len(found) > 1:
        raise BadInput(f"{folder}: has both {' and '.join(FILES)}; keep one")
    document = class_document(path)
    if isinstance(document, Mapping):
        return class_list(
            document.get("classes"),
            str(path),
            document.get("ignore"),
            document.get("palette"),
            document.get("unscored", ()),
        )
    return class_list(document, str(path))


def class_document(path: Path) -> Any:
    """Return what a file says of classes: the lines of a .txt, which are names, or the document of a .json.

    Raises BadInput for a file that cannot be read.

    >>> class_document(Path("nowhere.json"))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere.json: ...
    """
    if path.suffix != ".txt":
        return parse_json(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); save it as UTF-8 text, a name a line") from None
    return [line.strip() for line in text.rstrip().splitlines()]


def class_list(names: Any, where: str, ignore: Any = None, palette: Any = None, unscored: Any = ()) -> ClassList:
    """Check a list of classes as a file gives it.

    ignore    a class of this number is none: the last one is dropped, another keeps its number and is not scored
    unscored  numbers or names

    LabelMe's own names are taken as it means them: a first "__ignore__" has no number, "_background_" is background.
    Raises BadInput naming `where`: names that are empty or there twice, fewer than two or more than 255, colours or
    numbers that are none.

    >>> class_list(["__ignore__", "_background_", "leg"], "classes.txt").names
    ('background', 'leg')
    """
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise BadInput(f"{where}: the classes must be a list of names, none of them empty")
    names = [plain_name(name) for name in names]
    names = names[1:] if names and names[0] is None else names
    if len(set(names)) < len(names) or None in names:
        twice = next(name for name in names if name is None or names.count(name) > 1)
        raise BadInput(f"{where}: the class {twice or _UNLABELLED[0]!r} is in the list twice; give each name once")
    if ignore is not None and (isinstance(ignore, bool) or not isinstance(ignore, int)):
        raise BadInput(f"{where}: 'ignore' is {ignore!r}; give the number that masks have where nothing is labelled")
    skipped = _numbers(unscored, names, where)
    if ignore == len(names) - 1:
        names, skipped = names[:-1], skipped - {ignore}
    elif ignore is not None and 0 <= ignore < len(names):
        skipped |= {ignore}
    if not 2 <= len(names) <= MOST_CLASSES:
        raise BadInput(f"{where}: {len(names)} classes; a segmentation needs 2 to {MOST_CLASSES}")
    return ClassList(tuple(names), ignore, _colours(palette, where), tuple(sorted(skipped)))


def plain_name(name: str) -> str | None:
    """Return a class's name without LabelMe's marks; None for what is not to be labelled.

    >>> plain_name(" _background_"), plain_name("__ignore__"), plain_name("left leg")
    ('background', None, 'left leg')
    """
    name = name.strip()
    if name in _UNLABELLED:
        return None
    return BACKGROUND if name.strip("_") == BACKGROUND else name


def _numbers(values: Any, names: Sequence[str | None], where: str) -> set[int]:
    result = set()
    for value in values if isinstance(values, list | tuple) else [values]:
        number = names.index(value) if value in names else value
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(names):
            raise BadInput(
                f"{where}: 'unscored' has {value!r}, which is no class; give names or numbers from 'classes'"
            )
        result.add(number)
    return result


def _colours(value: Any, where: str) -> np.ndarray | None:
    if value is None:
        return None
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] != 3 or not ((array >= 0) & (array <= 255) & (array % 1 == 0)).all():
        raise BadInput(f"{where}: 'palette' must be a list of colours [r, g, b], whole numbers from 0 to 255")
    return array.astype(np.uint8)
