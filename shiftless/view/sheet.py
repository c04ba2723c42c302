"""Contact sheets: rows of pictures with titles, in one style; and the small things every picture here shares."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shiftless.atomic import write_atomic
from shiftless.errors import BadInput
from shiftless.image import open_photo

Colour = tuple[int, int, int]
_COARSE = 72  # pixels; what is smaller is a map, whose cells are shown as they are
_GAP, _MARGIN, _ROUND = 14, 26, 8


@dataclass(frozen=True)
class Theme:
    """The colours of paper, writing, and lesser writing."""

    paper: Colour
    ink: Colour
    muted: Colour


THEMES = {
    "light": Theme((255, 255, 255), (28, 30, 36), (104, 110, 122)),
    "dark": Theme((22, 24, 29), (236, 237, 240), (152, 158, 170)),
}


def theme_named(name: str) -> Theme:
    """Return a theme; raises BadInput for an unknown name.

    >>> theme_named("dark").paper
    (22, 24, 29)
    """
    if name not in THEMES:
        raise BadInput(f"theme={name!r}: must be one of {', '.join(THEMES)}")
    return THEMES[name]


def contact_sheet(
    rows: Sequence[Sequence[Any]],
    columns: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    *,
    title: str = "",
    note: str = "",
    height: int = 208,
    theme: str = "light",
) -> Image.Image:
    """Lay pictures out in rows under column titles, each with a caption of its own if it has one.

    rows        of cells: a picture (anything `open_photo` takes, or H W 3 uint8), a (picture, caption), or None
    columns     a title over each column           row_titles  a title left of each row
    title, note a line above and below everything  height      of every picture, in pixels
    theme       "light" or "dark"

    Raises BadInput for a sheet without pictures, and for more titles than there is room for.

    >>> cell = np.zeros((8, 8, 3), np.uint8)
    >>> contact_sheet([[cell, (cell, "black")], [cell, None]], ["one", "two"], height=100).width
    266
    """
    look = theme_named(theme)
    cells = [[_cell(cell, height) for cell in row] for row in rows]
    count = max((len(row) for row in cells), default=0)
    if not count or not any(cell for row in cells for cell in row):
        raise BadInput("a contact sheet needs at least one picture")
    if len(columns) > count or len(row_titles) > len(cells):
        raise BadInput(f"{len(columns)} and {len(row_titles)} titles for a sheet of {count} by {len(cells)} pictures")
    widths = [max((c[0].width for row in cells for c in row[i : i + 1] if c), default=height) for i in range(count)]
    big, small = font(19), font(15)
    left = _MARGIN + (max(_lines_width(wrap(t, big, 150), big) for t in row_titles) + 18 if row_titles else 0)
    width = left + sum(widths) + _GAP * (count - 1) + _MARGIN
    heads = [wrap(text, big, widths[i]) for i, text in enumerate(columns)]
    top_lines, note_lines = wrap(title, font(25), width - 2 * _MARGIN), wrap(note, small, width - 2 * _MARGIN)
    captions = [[wrap(c[1], small, widths[i]) if c else [] for i, c in enumerate(row)] for row in cells]
    top = _MARGIN + (_high(top_lines, 25) + 16 if top_lines else 0)
    first = top + (max(_high(h, 19) for h in heads) + 10 if heads else 0)
    under = [max([_high(c, 15) + 7 for c in row if c] or [0]) for row in captions]
    total = first + sum(height + u for u in under) + _GAP * (len(cells) - 1) + _MARGIN
    total += _high(note_lines, 15) + 16 if note_lines else 0

    sheet = Image.new("RGB", (width, total), look.paper)
    pen = ImageDraw.Draw(sheet)
    _write(pen, (_MARGIN, _MARGIN), top_lines, 25, look.ink)
    lefts = [left + sum(widths[:i]) + _GAP * i for i in range(count)]
    for x, head, wide in zip(lefts, heads, widths):
        _write(pen, (x, first - 10 - _high(head, 19)), head, 19, look.ink, wide)
    y = first
    for row, (line, texts) in enumerate(zip(cells, captions)):
        if row < len(row_titles):
            words = wrap(row_titles[row], big, 150)
            _write(pen, (_MARGIN, y + (height - _high(words, 19)) // 2), words, 19, look.ink)
        for x, cell, text, wide in zip(lefts, line, texts, widths):
            if cell:
                sheet.paste(cell[0], (x + (wide - cell[0].width) // 2, y), _rounded(cell[0].size))
                _write(pen, (x, y + height + 7), text, 15, look.muted, wide)
        y += height + under[row] + _GAP
    _write(pen, (_MARGIN, total - _MARGIN - _high(note_lines, 15)), note_lines, 15, look.muted)
    return sheet


def enlarge(image: Any, height: int) -> Image.Image:
    """Resize a picture to a height, keeping its shape: Lanczos for photos, whole cells for coarse maps.

    >>> enlarge(np.zeros((16, 32, 3), np.uint8), 128).size
    (256, 128)
    """
    array = rgb(image)
    coarse = max(array.shape[:2]) <= _COARSE
    size = (max(1, round(array.shape[1] * height / array.shape[0])), height)
    return Image.fromarray(array).resize(size, Image.Resampling.NEAREST if coarse else Image.Resampling.LANCZOS)


def rgb(image: Any) -> np.ndarray:
    """Return H W 3 uint8 of a picture or of a map's picture, however small."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return image
    return open_photo(image).array


def save_picture(picture: Image.Image, path: str | os.PathLike[str]) -> Path:
    """Write a picture whole or not at all, in the format of its ending; raises BadInput if it cannot be written."""
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise BadInput(f"{path}: the ending says no format that can be written; use .png or .jpg")
    whole = io.BytesIO()
    picture.save(whole, kind)
    return write_atomic(path, whole.getvalue())


@cache
def font(size: int) -> Any:
    """Pillow's own font, in pixels."""
    return ImageFont.load_default(size)


def wrap(text: str, face: Any, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels; a word that is too long is broken too.

    >>> wrap("a brown horse", font(16), 60)
    ['a brown', 'horse']
    >>> wrap("horses-of-mine.safetensors", font(16), 110)
    ['horses-of-', 'mine.safetens', 'ors']
    """
    lines: list[str] = []
    for paragraph in text.split("\n") if text else []:
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and face.getlength(longer) > width:
                lines.append(line)
                longer = word
            while len(longer) > 1 and face.getlength(longer) > width:
                part = _fitting(longer, face, width)
                lines.append(part)
                longer = longer[len(part) :]
            line = longer
        lines.append(line)
    return lines


def cut(text: str, face: Any, width: int) -> str:
    """Return a text in one line of at most `width` pixels, its end cut off where it is too long.

    >>> cut("left front leg", font(16), 200), cut("left front leg", font(16), 80)
    ('left front leg', 'left fro...')
    """
    text = " ".join(text.split())
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text.rstrip()}..."


def _fitting(word: str, face: Any, width: int) -> str:
    """The longest beginning of a word that fits, up to where it is joined if it is; at least a letter."""
    count = next((i for i in range(2, len(word)) if face.getlength(word[:i]) > width), len(word)) - 1
    joint = max(word[:count].rfind(mark) for mark in "-_/+=,:@") + 1
    return word[: joint or count]


def _cell(cell: Any, height: int) -> tuple[Image.Image, str] | None:
    if cell is None:
        return None
    picture, caption = cell if isinstance(cell, tuple) else (cell, "")
    return enlarge(picture, height), caption


@cache
def _rounded(size: tuple[int, int]) -> Image.Image:
    """A mask with rounded corners, anti-aliased."""
    big = Image.new("L", (size[0] * 4, size[1] * 4), 0)
    corner = (size[0] * 4 - 1, size[1] * 4 - 1)
    ImageDraw.Draw(big).rounded_rectangle(((0, 0), corner), _ROUND * 4, fill=255)
    return big.resize(size, Image.Resampling.BOX)


def _high(lines: Sequence[str], size: int) -> int:
    return round(len(lines) * size * 1.28)


def _lines_width(lines: Sequence[str], face: Any) -> int:
    return max((int(face.getlength(line)) + 1 for line in lines), default=0)


def _write(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    lines: Sequence[str],
    size: int,
    colour: Colour,
    centred_in: int = 0,
) -> None:
    """Write lines from the top left corner, or centred in a width."""
    face = font(size)
    for i, line in enumerate(lines):
        x = place[0] + (centred_in - face.getlength(line)) / 2 if centred_in else place[0]
        pen.text((x, place[1] + round(i * size * 1.28)), line, fill=colour, font=face)
