"""Legends: which colour is which class, and what the colours of an uncertainty map say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from shiftless.errors import BadInput
from shiftless.view.matches import heat_overlay
from shiftless.view.palette import check_palette, percent
from shiftless.view.sheet import cut, font, theme_named

_TEXT, _LINE, _SWATCH = 17, 27, 18  # pixels
_SPACE = 9  # between a swatch, its name and its share
_BETWEEN = 30  # columns
_LONGEST = 260  # pixels of a name; the rest is cut off
_BAR, _BAR_TEXT = 14, 15


def legend(
    classes: Sequence[str],
    palette: ArrayLike,
    share: ArrayLike | None = None,
    *,
    present: ArrayLike | None = None,
    width: int = 640,
    theme: str = "light",
) -> Image.Image:
    """Draw a swatch and a name for each class that is present, in the order of the classes.

    classes  L names                 palette  L 3 uint8
    share    L, of the photo's pixels in [0, 1]: written beside the names; classes of share 0 are left out
    present  L bool: the classes to show, in place of those of share above 0
    width    the most that the picture may take, in pixels; there are as many columns as fit

    Raises BadInput if a length is not L, a share is out of range or no class is present.

    >>> both = legend(["ear", "mane"], [(200, 0, 0), (0, 0, 200)], width=400)
    >>> legend(["ear", "mane"], [(200, 0, 0), (0, 0, 200)], [0.0, 0.25], width=400).width < both.width
    True
    """
    look, colours, face = theme_named(theme), check_palette(palette, len(classes)), font(_TEXT)
    shares = None if share is None else np.asarray(share, np.float64)
    if shares is not None and (shares.shape != (len(classes),) or not ((shares >= 0) & (shares <= 1)).all()):
        raise BadInput(f"share of shape {shares.shape}: give a number from 0 to 1 for each of {len(classes)} classes")
    chosen = np.ones(len(classes), bool) if shares is None else shares > 0
    if present is not None:
        chosen = np.asarray(present, bool)
    if chosen.shape != (len(classes),) or not chosen.any():
        raise BadInput(f"present: {chosen.sum()} of {chosen.size} classes; give a flag each and show at least one")
    shown = np.flatnonzero(chosen)
    numbers = ["" if shares is None else percent(float(shares[k])) for k in shown]
    beside = _SWATCH + _SPACE + (_SPACE + _widest(numbers) if shares is not None else 0)
    names = [cut(classes[int(k)], face, min(_LONGEST, width - beside)) for k in shown]
    column = beside + _widest(names)
    fitting = min(len(shown), max(1, (width + _BETWEEN) // (column + _BETWEEN)))
    rows = -(-len(shown) // fitting)
    columns = -(-len(shown) // rows)
    picture = Image.new("RGB", (columns * (column + _BETWEEN) - _BETWEEN, rows * _LINE), look.paper)
    pen = ImageDraw.Draw(picture)
    for place, (k, name, number) in enumerate(zip(shown, names, numbers)):
        x, y = place // rows * (column + _BETWEEN), place % rows * _LINE
        top = y + (_LINE - _SWATCH) // 2
        box = (x, top, x + _SWATCH - 1, top + _SWATCH - 1)
        pen.rounded_rectangle(box, 4, fill=tuple(map(int, colours[k])), outline=look.muted)
        pen.text((x + _SWATCH + _SPACE, y + _LINE / 2), name, fill=look.ink, font=face, anchor="lm")
        pen.text((x + column, y + _LINE / 2), number, fill=look.muted, font=face, anchor="rm")
    return picture


def uncertainty_bar(most: float, *, width: int = 240, theme: str = "light") -> Image.Image:
    """Draw the colours of `uncertainty_picture` from 0 to `most` nats, over mid grey, with three numbers below.

    Raises BadInput unless `most` is above 0 and finite.

    >>> uncertainty_bar(0.5, width=200).size
    (200, 37)
    """
    if not (0 < most < float("inf")):
        raise BadInput(f"most={most:g}: give the uncertainty in nats that the brightest colour stands for, above 0")
    look, face = theme_named(theme), font(_BAR_TEXT)
    picture = Image.new("RGB", (width, _BAR + 4 + round(_BAR_TEXT * 1.28)), look.paper)
    ramp = np.broadcast_to(np.linspace(0, most, width, dtype=np.float32), (_BAR, width))
    ground = np.full((_BAR, width, 3), 128, np.uint8)
    picture.paste(Image.fromarray(heat_overlay(ground, ramp, mark=False, ends=(0.0, most))), (0, 0))
    pen = ImageDraw.Draw(picture)
    texts = ((0, "0", "la"), (width / 2, f"{most / 2:.2g}", "ma"), (width, f"{most:.2g} nats", "ra"))
    for x, text, anchor in texts:
        pen.text((x, _BAR + 4), text, fill=look.muted, font=face, anchor=anchor)
    return picture


def _widest(texts: Sequence[str]) -> int:
    return max(round(font(_TEXT).getlength(text) + 0.5) for text in texts)
