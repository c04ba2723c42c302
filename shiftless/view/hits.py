"""Hits of a search: the queried photo and the places that are like its part, each marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from shiftless.errors import BadInput
from shiftless.view.matches import mark_point
from shiftless.view.page import Chapter, Grid, draw_figure, write_page
from shiftless.view.sheet import contact_sheet, enlarge, rgb

_MARK = (255, 196, 0)
_ROW = 5  # pictures in a row
_MISSING = (128, 132, 140)


@dataclass(frozen=True, eq=False)
class ShownHit:
    """A hit as it is drawn: its photo (None where the file is not there any more), (x, y) in its pixels, cosine."""

    name: str
    photo: Any
    point: tuple[float, float]
    score: float


def hits_picture(
    query: Any,
    hits: Sequence[ShownHit],
    *,
    at: Sequence[float] | None = None,
    region: Sequence[float] | None = None,
    height: int = 208,
    theme: str = "light",
) -> Image.Image:
    """Draw the queried photo and the hits in order, with the point or the region (x0, y0, x1, y1) marked in each.

    query   anything `open_photo` takes     height  of every photo, in pixels

    >>> photo = np.zeros((60, 80, 3), np.uint8)
    >>> hits_picture(photo, [ShownHit("a.png", photo, (20, 30), 0.9)], at=(40, 20), height=90).height
    168
    """
    cells: list[Any] = [(_marked(query, at, region, height), "the query")]
    for i, hit in enumerate(hits, 1):
        caption = f"{i}: {hit.score:.2f} {Path(hit.name).name}"
        if hit.photo is None:
            cells.append((Image.new("RGB", (height, height), _MISSING), f"{caption} (is not there any more)"))
        else:
            cells.append((_marked(hit.photo, hit.point, None, height), caption))
    rows = [cells[i : i + _ROW] for i in range(0, len(cells), _ROW)]
    return contact_sheet(rows, height=height, theme=theme)


def search_page(
    out: Path,
    query: Any,
    hits: Sequence[ShownHit],
    *,
    at: Sequence[float] | None = None,
    region: Sequence[float] | None = None,
    lead: str = "",
    foot: str = "",
) -> Path:
    """Write index.html with the picture of the hits, light and dark, and their table; return its path.

    Arguments as in `hits_picture`. Raises BadInput where there is no hit.
    """
    if not hits:
        raise BadInput("no hits to show; search a store that holds another photo")
    caption = "The query, and the hits by falling cosine; the yellow dot is the place that was found."

    def drawn(theme: str) -> Image.Image:
        return hits_picture(query, hits, at=at, region=region, theme=theme)

    rows = [
        (f"{i}: {hit.name}", (f"{hit.point[0]:.1f}", f"{hit.point[1]:.1f}", f"{hit.score:.3f}"))
        for i, hit in enumerate(hits, 1)
    ]
    grid = Grid("Places, in pixels of each photo", ("x", "y", "cosine"), rows)
    figure = draw_figure(out, "hits.png", caption, drawn)
    chapter = Chapter("The hits", [], "", figures=[figure], grids=[grid])
    return write_page(out, "Where this part is", lead, [chapter], foot)


def _marked(photo: Any, point: Sequence[float] | None, region: Sequence[float] | None, height: int) -> np.ndarray:
    """A photo at a height, its part marked: the mark is drawn at that size, however large the photo is."""
    picture = enlarge(photo, height)
    scale = height / rgb(photo).shape[0]
    if point is not None:
        return mark_point(np.array(picture), np.asarray(point, float) * scale, _MARK)
    if region is not None:
        x0, y0, x1, y1 = (v * scale for v in region)
        box = (max(0.0, x0), max(0.0, y0), min(picture.width - 1.0, x1), min(height - 1.0, y1))
        ImageDraw.Draw(picture).rectangle(box, outline=_MARK, width=max(2, height // 70))
    return np.array(picture)
