"""Pictures of a segmentation: masks as indexed PNG, classes over the photo, and where the answer is uncertain."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from shiftless.atomic import write_atomic
from shiftless.errors import BadInput
from shiftless.view.legend import legend, uncertainty_bar
from shiftless.view.matches import heat_overlay
from shiftless.view.palette import UNLABELLED, check_mask, check_palette, class_counts, percent
from shiftless.view.sheet import contact_sheet, enlarge, rgb, theme_named

_DARK = (20, 20, 20)
_THIN = 480  # pixels of a photo's shorter side for each pixel of a border
_LEAST = 0.05  # nats; a scale never ends lower, so that what is nearly certain is not drawn as if it were in doubt
_HIGHEST = 99.5  # percentile of the values that is the bright end of the scale
_MARGIN, _UNDER = 26, 12
_NARROWEST = 600  # pixels of a picture, so that the legend of a narrow photo has room
_ROOM = 240  # pixels; a legend in less would lose its names
_STRONG = 0.65  # how much colour the small pictures of a sheet have


def indexed_png(
    mask: ArrayLike, palette: ArrayLike, path: str | os.PathLike[str], text: Mapping[str, str] | None = None
) -> Path:
    """Write a mask H W as a PNG with a palette (8 bits a pixel), whole or not at all, and return its path.

    mask     class numbers, 255 where unlabelled; the file reads back equal, by `np.array(Image.open(path))`
    palette  L 3 uint8, at most 255 colours; 255 is white, and so is what no class uses
    text     what else the file says, by keyword, such as what the mask was made from

    Raises BadInput for values that are no classes, and for a path that does not end in .png or cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = indexed_png([[0, 1], [255, 1]], [(200, 0, 0), (0, 0, 200)], f"{folder}/a.png")
    ...     np.array(Image.open(path)).tolist()
    [[0, 1], [255, 1]]
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise BadInput(f"{path}: a mask is written as PNG, which keeps every class number; end the name in .png")
    return write_atomic(path, indexed_png_bytes(mask, palette, text, name=str(path)))


def indexed_png_bytes(
    mask: ArrayLike, palette: ArrayLike, text: Mapping[str, str] | None = None, *, name: str = "mask", clear: int = 255
) -> bytes:
    """Return what `indexed_png` writes.

    name   of the mask, for messages
    clear  how opaque pixels without a class are drawn, 0 (not at all) to 255; it does not change what is read back

    >>> np.array(Image.open(io.BytesIO(indexed_png_bytes([[0, 255]], [(200, 0, 0)], clear=0)))).tolist()
    [[0, 255]]
    """
    colours = check_palette(palette)
    picture = Image.fromarray(np.ascontiguousarray(check_mask(mask, len(colours), name=name)))
    table = np.full((UNLABELLED + 1, 3), 255, np.uint8)
    table[: len(colours)] = colours
    picture.putpalette(table.tobytes())  # a picture of grey values becomes one of a palette
    whole = io.BytesIO()
    about = PngInfo()
    for key, value in (text or {}).items():
        about.add_text(key, value)
    opacity: dict[str, Any] = {} if clear == 255 else {"transparency": bytes([255] * UNLABELLED + [clear])}
    picture.save(whole, "PNG", pnginfo=about, **opacity)
    return whole.getvalue()


def overlay(photo: Any, mask: ArrayLike, palette: ArrayLike, alpha: float = 0.55, edges: bool = True) -> np.ndarray:
    """Lay the colours of the classes over a photo: H W 3 uint8; unlabelled pixels stay as they are.

    photo    anything `open_photo` takes         mask  H W class numbers, 255 where unlabelled
    palette  L 3 uint8                           alpha  how much of a pixel is its class's colour, 0 to 1
    edges    draw thin dark borders around regions, one pixel wide for every 480 of the shorter side

    Raises BadInput for a mask of another size or of values that are no classes.

    >>> grey = np.full((8, 8, 3), 100, np.uint8)
    >>> overlay(grey, np.zeros((8, 8), np.uint8), [(200, 0, 100)], alpha=0.5)[0, 0].tolist()
    [150, 50, 100]
    """
    array, colours = rgb(photo), check_palette(palette)
    numbers = check_mask(mask, len(colours), array.shape[:2])
    if not 0 <= alpha <= 1:
        raise BadInput(f"alpha={alpha:g}: give the share of the class's colour, from 0 to 1")
    table = np.zeros((UNLABELLED + 1, 3), np.uint8)
    table[: len(colours)] = colours
    mixed = cv2.addWeighted(table[numbers], alpha, np.ascontiguousarray(array), 1 - alpha, 0)
    if edges:
        mixed[region_borders(numbers)] = _DARK
    return np.where((numbers == UNLABELLED)[..., None], array, mixed)


def region_borders(mask: np.ndarray) -> np.ndarray:
    """Return where a mask H W changes its value, on the labelled side: H W bool.

    Of two classes side by side the left or upper one's pixels are border; the lines are thicker on large masks.

    >>> region_borders(np.array([[0, 0, 1, 1], [0, 0, 1, 255]], np.uint8)).astype(int).tolist()
    [[0, 1, 0, 1], [0, 1, 1, 0]]
    """
    border = np.zeros(mask.shape, bool)
    for first, second in (((slice(None), slice(-1)), (slice(None), slice(1, None))), ((slice(-1),), (slice(1, None),))):
        differs = mask[first] != mask[second]
        border[first] |= differs
        border[second] |= differs & (mask[first] == UNLABELLED)
    thick = round(min(mask.shape) / _THIN)
    if thick > 1:
        border = cv2.dilate(border.astype(np.uint8), np.ones((thick, thick), np.uint8)) > 0
    return border & (mask != UNLABELLED)


def uncertainty_picture(photo: Any, uncertainty: ArrayLike, most: float | None = None) -> np.ndarray:
    """Lay an uncertainty map over the photo in grey, dark where certain, glowing where not: H W 3 uint8.

    photo        anything `open_photo` takes
    uncertainty  H W, at least 0, such as the divergence of an ensemble's members in nats
    most         what the brightest colour stands for, for several photos on one scale; by default `uncertainty_end`

    The colours are matplotlib's "inferno", whose lightness grows evenly; `uncertainty_bar` draws their scale.
    Raises BadInput for a map of another size, values below 0 or not finite, and `most` not above 0.

    >>> uncertainty_picture(np.zeros((8, 8, 3), np.uint8), np.eye(8)).shape
    (8, 8, 3)
    """
    array = rgb(photo)
    values = check_uncertainty(uncertainty, array.shape[:2])
    end = uncertainty_end(values) if most is None else most
    if not (0 < end < float("inf")):
        raise BadInput(f"most={end:g}: give the uncertainty in nats that the brightest colour stands for, above 0")
    return heat_overlay(array, values, mark=False, ends=(0.0, end))


def uncertainty_end(*maps: np.ndarray) -> float:
    """Return the end of a scale for uncertainty maps: the highest value of the most uncertain map but for 1 in 200.

    It is at least 0.05 nats, so that what is nearly certain everywhere is not drawn as if it were in doubt.

    >>> uncertainty_end(np.full((2, 2), 0.25), np.full((2, 2), 0.5)), uncertainty_end(np.zeros((2, 2)))
    (0.5, 0.05)
    """
    return max([_LEAST, *(float(np.percentile(one, _HIGHEST)) for one in maps)])


def check_uncertainty(uncertainty: ArrayLike, hw: tuple[int, ...]) -> np.ndarray:
    """Return an uncertainty map H W float32; raises BadInput for another size, values below 0 or not finite.

    >>> check_uncertainty([[0, -1]], (1, 2))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: uncertainty: holds values below 0 or not finite; give H W numbers, 0 where certain
    """
    values = np.asarray(uncertainty, np.float32)
    if values.shape != tuple(hw):
        raise BadInput(f"uncertainty: has shape {values.shape}, the photo {tuple(hw)}; give H W of the photo's size")
    if not (np.isfinite(values) & (values >= 0)).all():
        raise BadInput("uncertainty: holds values below 0 or not finite; give H W numbers, 0 where certain")
    return values


def segmented(
    photo: Any,
    mask: ArrayLike,
    uncertainty: ArrayLike,
    classes: Sequence[str],
    palette: ArrayLike,
    name: str = "",
    truth: ArrayLike | None = None,
    *,
    most: float | None = None,
    height: int = 288,
    theme: str = "light",
) -> Image.Image:
    """Draw one segmented photo: the photo, its labels if there are any, its parts, its uncertainty, and the legend.

    photo    anything `open_photo` takes        mask, truth  H W class numbers, 255 where unlabelled
    classes  L names                            palette      L 3 uint8
    name     a line above                       uncertainty  H W >= 0, nats
    most     as in `uncertainty_picture`        height       of each of the pictures, in pixels
    theme    "light" or "dark"

    Below the pictures stand the classes that are in the mask, with their share of the photo, and those that are in the
    truth alone; below the uncertainty stands its scale. Raises BadInput for what does not fit the photo.

    >>> photo, mask = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    >>> segmented(photo, mask, mask, ["horse"], [(200, 0, 0)], height=200).width
    680
    """
    array, colours = rgb(photo), check_palette(palette, len(classes))
    hw = array.shape[:2]
    parts, values = check_mask(mask, len(classes), hw), check_uncertainty(uncertainty, hw)
    labels = None if truth is None else check_mask(truth, len(classes), hw, "truth")
    end = uncertainty_end(values) if most is None else most
    ground = np.array(enlarge(array, height))
    wide = ground.shape[1]
    cells: list[Any] = [ground]
    for numbers in (labels, parts):
        if numbers is not None:
            resized = cv2.resize(numbers, (wide, height), interpolation=cv2.INTER_NEAREST_EXACT)
            none = float((numbers == UNLABELLED).mean())
            cells.append((overlay(ground, resized, colours, _STRONG), f"{percent(none)} unlabelled" if none else ""))
    shrinks = height < hw[0]
    values_shown = cv2.resize(values, (wide, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    cells.append(uncertainty_picture(ground, values_shown, end))
    titles = ["photo", *(["labels"] if labels is not None else []), "parts", "uncertainty"]
    sheet = contact_sheet([cells], titles, title=name, height=height, theme=theme)

    bar = uncertainty_bar(end, width=max(wide, 150), theme=theme)
    counts = class_counts(parts, len(classes))
    present = counts > 0 if labels is None else (counts > 0) | (class_counts(labels, len(classes)) > 0)
    low = sheet.height - _MARGIN + _UNDER
    places = [(bar, (sheet.width - _MARGIN - bar.width, low))]
    if present.any():
        places.append(_placed_legend(sheet, bar, low, classes, colours, counts / parts.size, present, theme))
    bottom = max(y + picture.height for picture, (_, y) in places)
    whole = Image.new("RGB", (max(sheet.width, _NARROWEST), bottom + _MARGIN), theme_named(theme).paper)
    for picture, place in [(sheet, (0, 0)), *places]:
        whole.paste(picture, place)
    return whole


def _placed_legend(
    sheet: Image.Image,
    bar: Image.Image,
    y: int,
    classes: Sequence[str],
    colours: np.ndarray,
    share: np.ndarray,
    present: np.ndarray,
    theme: str,
) -> tuple[Image.Image, tuple[int, int]]:
    """The legend left of the colour bar, or below it where that takes less height, and its place."""
    full, room = max(sheet.width, _NARROWEST) - 2 * _MARGIN, sheet.width - bar.width - 3 * _MARGIN
    below = legend(classes, colours, share, present=present, width=full, theme=theme)
    if room >= _ROOM:
        beside = legend(classes, colours, share, present=present, width=room, theme=theme)
        if beside.height <= bar.height + _UNDER + below.height:
            return beside, (_MARGIN, y)
    return below, (_MARGIN, y + bar.height + _UNDER)
