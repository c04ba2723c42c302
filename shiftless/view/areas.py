"""How much of each photo is which class, as CSV: a line for each photo and class."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike

from shiftless.atomic import write_atomic_pieces
from shiftless.errors import BadInput

HEAD = ("photo", "class", "pixels", "share")


def areas_csv(rows: Iterable[tuple[str, ArrayLike]], classes: Sequence[str]) -> str:
    """Return the areas of photos as CSV: under a head, a line for each photo and class, classes without pixels too.

    rows     (name of the photo, pixels of each class: L whole numbers)
    classes  L names

    The share is that of the photo's pixels that have a class, in [0, 1]; it is empty where none has. Raises BadInput
    for counts that are not L whole numbers from 0 on.

    >>> print(areas_csv([("tom.jpg", [30, 10])], ["ear", "mane, long"]), end="")
    photo,class,pixels,share
    tom.jpg,ear,30,0.75
    tom.jpg,"mane, long",10,0.25
    """
    return _lines([HEAD]) + "".join(_photo_lines(name, counts, classes) for name, counts in rows)


@contextmanager
def areas_file(path: str | os.PathLike[str], classes: Sequence[str]) -> Iterator[Callable[[str, ArrayLike], None]]:
    """Write what `areas_csv` returns into a file, photo by photo; memory does not grow with their number.

    The block is given a function that takes the next photo's name and counts. The file stands in its place when the
    block ends, and nothing of it stays after an error. Names that are not valid text keep their bytes. Raises BadInput
    as `areas_csv` does, and if the file cannot be written.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with areas_file(f"{folder}/areas.csv", ["ear", "mane"]) as add:
    ...         add("tom.jpg", [3, 1])
    ...     pathlib.Path(f"{folder}/areas.csv").read_text().splitlines()
    ['photo,class,pixels,share', 'tom.jpg,ear,3,0.75', 'tom.jpg,mane,1,0.25']
    """
    with write_atomic_pieces(path) as write:

        def add(name: str, counts: ArrayLike) -> None:
            write(_photo_lines(name, counts, classes).encode("utf-8", "surrogateescape"))

        write(_lines([HEAD]).encode())
        yield add


def _photo_lines(name: str, counts: ArrayLike, classes: Sequence[str]) -> str:
    pixels = np.asarray(counts)
    if pixels.shape != (len(classes),) or not np.issubdtype(pixels.dtype, np.integer) or (pixels < 0).any():
        raise BadInput(f"{name}: counts of shape {pixels.shape}, {pixels.dtype}; give pixels of {len(classes)} classes")
    total = int(pixels.sum())
    shares = [f"{count / total:.6g}" if total else "" for count in pixels.tolist()]
    return _lines((name, one, count, share) for one, count, share in zip(classes, pixels.tolist(), shares))


def _lines(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
