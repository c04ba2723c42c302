"""The picture of the method: one photo read in several ways, a column each, with features above and heat below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from shiftless.errors import BadInput
from shiftless.view.matches import heat_overlay
from shiftless.view.pca import pca_rgb
from shiftless.view.sheet import Colour, contact_sheet, enlarge

_BITS = 4  # fractions of a pixel that OpenCV draws at
_BRIGHTEST = 99.5  # percentile of all maps of a row that is the bright end of its scale


@dataclass(frozen=True, eq=False)
class Column:
    """One way of reading the photo.

    features  1 C h w               heats     a map of each heat row, h w, nowhere negative
    title     over the column       captions  a line under each heat
    """

    title: str
    features: torch.Tensor
    heats: Sequence[np.ndarray]
    captions: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Outline:
    """The outline of a thing in the photo: its mask H W bool, and the colour of the line."""

    mask: np.ndarray
    colour: Colour


def method_picture(
    photo: Any,
    columns: Sequence[Column],
    row_titles: Sequence[str],
    *,
    beside: Sequence[Any] = (),
    outlines: Sequence[Outline] = (),
    note: str = "",
    height: int = 200,
    theme: str = "light",
) -> Image.Image:
    """Draw how several ways of reading one photo differ: a row of features, and rows of heat maps over the photo.

    row_titles  of the features and of each heat row
    beside      the first column: a cell each row, as in contact_sheet
    outlines    are drawn over every heat map; what lies outside them all is faded in the features
    note, height, theme  as in contact_sheet

    The features of all columns have one colour space (PCA), and the maps of a row one scale, as multiples of an even
    map, so that columns can be compared. Raises BadInput for no columns, and for columns of other numbers of maps.

    >>> photo, flat = np.zeros((32, 32, 3), np.uint8), np.ones((4, 4))
    >>> column = Column("baseline", torch.rand(1, 8, 4, 4), [flat], ["even"])
    >>> method_picture(photo, [column, column], ["features", "heat"], height=100).width > 200
    True
    """
    if not columns or any(len(one.heats) != len(row_titles) - 1 for one in columns):
        raise BadInput(f"{len(columns)} columns under {len(row_titles)} row titles: give each column a map for each")
    first = [*beside, *[None] * (len(row_titles) - len(beside))]
    within = np.any([outline.mask for outline in outlines], axis=0) if outlines else None
    masks = None if within is None else [within] * len(columns)
    rows: list[list[Any]] = [[first[0], *pca_rgb([one.features for one in columns], masks)]]
    ground = np.array(enlarge(photo, height))
    for row in range(len(row_titles) - 1):
        maps = [one.heats[row] / max(float(np.mean(one.heats[row])), 1e-12) for one in columns]
        ends = (0.0, float(np.percentile(np.concatenate([one.ravel() for one in maps]), _BRIGHTEST)) or 1.0)
        cells: list[Any] = []
        for one, heat in zip(columns, maps):
            hot = outlined(heat_overlay(ground, heat, mark=False, ends=ends), outlines)
            cells.append((hot, one.captions[row] if row < len(one.captions) else ""))
        rows.append([first[row + 1], *cells])
    shown = any(cell is not None for cell in first)
    if not shown:
        rows = [row[1:] for row in rows]
    titles = [*(["the picture"] if shown else []), *(one.title for one in columns)]
    return contact_sheet(rows, titles, row_titles, note=note, height=height, theme=theme)


def outlined(image: Any, outlines: Sequence[Outline]) -> np.ndarray:
    """Draw outlines on a picture; masks of any size are stretched over it: a copy, H W 3 uint8.

    >>> mask = np.zeros((8, 8), bool)
    >>> mask[2:6, 2:6] = True
    >>> drawn = outlined(np.zeros((64, 64, 3), np.uint8), [Outline(mask, (255, 255, 255))])
    >>> bool(drawn[16:20, 20:40].any()), bool(drawn[30:34, 30:34].any())
    (True, False)
    """
    array = np.ascontiguousarray(image).copy()
    h, w = array.shape[:2]
    for outline in outlines:
        soft = cv2.resize(outline.mask.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)
        contours, _ = cv2.findContours((soft >= 0.5).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        lines = [np.asarray(line, np.int32) * 2**_BITS for line in contours if len(line) >= 12]  # specks would be noise
        for ink, wide in (((20, 20, 20), 3), (outline.colour, 1)):
            cv2.polylines(array, lines, True, ink, wide, cv2.LINE_AA, _BITS)
    return array
