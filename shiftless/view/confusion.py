"""The confusion picture: of the pixels of each class, how many were taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from shiftless.errors import BadInput
from shiftless.view.palette import percent
from shiftless.view.sheet import Colour, cut, font, theme_named, wrap

RIGHT, WRONG = (0, 114, 178), (213, 94, 0)  # distinguishable for colour-blind readers
_MARGIN, _GAP = 26, 10
_SLANT = 50  # degrees by which the names over the columns rise
_LONGEST = 190  # pixels of a name
_FEW = 14  # classes up to which cells are large
_FAINT = 0.7  # the power of a share that its colour is as strong as, so that few in a hundred are seen


def confusion_picture(
    counts: ArrayLike, classes: Sequence[str], *, title: str = "", theme: str = "light"
) -> Image.Image:
    """Draw a confusion matrix: a row for each class as labelled, a column for each as predicted, in percent of the row.

    counts   L L: pixels by their label (row) and what they were taken for (column)
    classes  L names                title  a line above                theme  "light" or "dark"

    What is right is blue, what is wrong orange. Cells below half a percent stay empty, and classes that were neither
    labelled nor predicted are left out and named below. The last column is the class's share of all labelled pixels.
    Raises BadInput if the matrix is not L L, holds negative or other than finite numbers, or counts nothing.

    >>> small, large = confusion_picture([[8, 2], [0, 5]], ["ear", "mane"]), confusion_picture(np.eye(3), "abc")
    >>> small.height < large.height
    True
    """
    values, look = check_counts(counts, len(classes)), theme_named(theme)
    shown = np.flatnonzero(values.any(0) | values.any(1))
    absent = [classes[k] for k in range(len(classes)) if k not in set(shown.tolist())]
    values = values[np.ix_(shown, shown)]
    totals, shares = values.sum(1), row_shares(values)
    cell, size = (46, 18) if len(shown) <= _FEW else (36, 16)
    face, small = font(size), font(16)
    names = [cut(classes[int(k)], face, _LONGEST) for k in shown]
    slanted = [_slanted(name, face) for name in names]

    left = _MARGIN + max(round(face.getlength(name)) for name in [*names, "labelled"]) + _GAP
    heads = [cut(title, font(22), 1200)] if title else []
    head = _MARGIN + 40 * len(heads)
    top = head + 24 + max(one.height for one in slanted)
    side = cell * len(shown)
    over = max(cell * (i + 0.5) + one.width for i, one in enumerate(slanted))
    width = round(left + max(side + _GAP + 60, over, 300) + _MARGIN)
    note = "Each row: of 100 pixels with this label, how many were taken for which class. Area: share of all labels."
    note += f" Neither labelled nor predicted: {', '.join(absent)}." if absent else ""
    lines = wrap(note, small, width - 2 * _MARGIN)
    picture = Image.new("RGB", (width, round(top + side + 18 + len(lines) * 21 + _MARGIN)), look.paper)
    pen = ImageDraw.Draw(picture)
    for text in heads:
        pen.text((_MARGIN, _MARGIN), text, fill=look.ink, font=font(22))
    pen.text((left, head), "predicted", fill=look.muted, font=small, anchor="la")
    pen.text((left - _GAP, top - 6), "labelled", fill=look.muted, font=small, anchor="rs")
    pen.text((left + side + _GAP, top - 6), "area", fill=look.muted, font=small, anchor="ls")
    for i, name in enumerate(names):
        middle, centre = top + cell * (i + 0.5), round(left + cell * (i + 0.5) - size / 2)
        picture.paste(look.ink, (centre, top - 4 - slanted[i].height), slanted[i])
        pen.text((left - _GAP, middle), name, fill=look.ink, font=face, anchor="rm")
        area = percent(float(totals[i] / totals.sum())) if totals[i] else "none"
        pen.text((left + side + _GAP, middle), area, fill=look.muted, font=small, anchor="lm")
        for j in range(len(names)):
            x, y = left + cell * j, top + cell * i
            colour = _mixed(_mixed(look.paper, look.muted, 0.1), RIGHT if i == j else WRONG, shares[i, j] ** _FAINT)
            pen.rectangle((x + 1, y + 1, x + cell - 2, y + cell - 2), fill=colour)
            text = f"{100 * shares[i, j]:.0f}"
            if text != "0" or (i == j and totals[i]):
                pen.text((x + cell / 2 - 0.5, middle - 0.5), text, fill=_readable(colour), font=face, anchor="mm")
    for i, line in enumerate(lines):
        pen.text((_MARGIN, top + side + 18 + 21 * i), line, fill=look.muted, font=small)
    return picture


def row_shares(counts: np.ndarray) -> np.ndarray:
    """Return counts L L as shares of their rows, float64; a row without any is 0.

    >>> row_shares(np.array([[3, 1], [0, 0]])).tolist()
    [[0.75, 0.25], [0.0, 0.0]]
    """
    values = np.asarray(counts, np.float64)
    totals = values.sum(1, keepdims=True)
    return np.divide(values, totals, out=np.zeros_like(values), where=totals > 0)


def check_counts(counts: ArrayLike, classes: int) -> np.ndarray:
    """Return counts L L float64; raises BadInput for another shape, values below 0 or not finite, and none at all.

    >>> check_counts([[1, 2]], 2)
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: counts of shape (1, 2) for 2 classes; give L L, rows as labelled
    """
    values = np.asarray(counts, np.float64)
    if values.shape != (classes, classes):
        raise BadInput(f"counts of shape {values.shape} for {classes} classes; give L L, rows as labelled")
    if not (np.isfinite(values) & (values >= 0)).all() or not values.any():
        raise BadInput("counts: negative, not finite or all 0; give pixels of at least one photo, L L")
    return values


def _slanted(text: str, face: Any) -> Image.Image:
    """A rising line of text as a mask; it begins in the lower left corner."""
    high = round(face.size * 1.28)
    flat = Image.new("L", (round(face.getlength(text)) + 2, high), 0)
    ImageDraw.Draw(flat).text((0, high / 2), text, fill=255, font=face, anchor="lm")
    return flat.rotate(_SLANT, Image.Resampling.BICUBIC, expand=True)


def _mixed(low: Colour, high: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high))
    return red, green, blue


def _readable(ground: Colour) -> Colour:
    """White or nearly black, whichever can be read on a colour."""
    light = 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2]
    return (255, 255, 255) if light < 140 else (24, 26, 30)
