"""The audit's pictures: the clean images predicted by recipes, and heat maps of where content shifted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from shiftless.auditing.measures import FINISHED, HEADLINE, measure_named
from shiftless.errors import BadInput
from shiftless.view.sheet import contact_sheet, font, theme_named, wrap

if TYPE_CHECKING:
    from shiftless.auditing.audit import Audit
    from shiftless.auditing.observation import Observation

COLUMNS = 7
"""How many recipes a sheet shows at most."""
_CELL = 180  # pixels; the side of a square photo, other shapes have its area
_NARROWEST, _HIGHEST = 132, 250  # what a title needs; what keeps a row in sight
_SCALES = (5, 10, 15, 20, 30, 40, 50, 70, 100)  # ends of the heat's scale, CIEDE2000
_RAMP = (230, 14)
_MARGIN = 26
_GLANCE = 132


def photo_sheet(
    observation: Observation,
    labels: Sequence[str],
    shown: Sequence[int],
    *,
    headline: str = HEADLINE,
    top: float | None = None,
    theme: str = "light",
) -> Image.Image:
    """Draw the predicted clean images of one photo: a column for each recipe.

    labels    K, the titles of the recipes' columns
    shown     the indices of those that are drawn, in the order of the columns; a line says how many were left out
    headline  the measure under each picture
    top       the end of the heat's scale in CIEDE2000, one for all columns; `heat_scale` of this photo by default

    The rows are the clean image predicted in one step, where it shifted, drawn over the autoencoder's own copy of the
    photo, and the image after denoising to the end, if there is one. Raises BadInput if labels and readings differ in
    number, and for indices out of range or repeated.
    """
    if len(observation.once) != len(labels) or not shown or not set(shown) <= set(range(len(labels))):
        raise BadInput(
            f"{len(labels)} labels for {len(observation.once)} readings, of which {list(shown)}: give one of each"
        )
    if len(set(shown)) < len(shown):
        raise BadInput(f"{list(shown)}: a reading is to be shown twice; give one of each")
    top = heat_scale([observation], shown) if top is None else top
    rows: list[list[Any]] = [
        [(observation.given, "as the model is fed it")],
        [(observation.kept, "the autoencoder's copy")],
    ]
    rows[0] += [(observation.once[k], _score(observation, headline, k)) for k in shown]
    rows[1] += [
        (shift_overlay(observation.kept, observation.where[k], top), _score(observation, "colour", k)) for k in shown
    ]
    titles = ["predicted clean image after one step", "where content shifted"]
    if observation.finished:
        rows.append([None, *((observation.finished[k], _score(observation, "colour" + FINISHED, k)) for k in shown)])
        titles.append("denoised to the end")
    paper = theme_named(theme).paper
    cells = [[cell and (_widened(cell[0], paper), cell[1]) for cell in row] for row in rows]
    left_out = len(labels) - len(shown)
    note = f"{left_out} more recipe{'s are' if left_out > 1 else ' is'} left out here." if left_out else ""
    heads = ["the photo", *(labels[k] for k in shown)]
    sheet = contact_sheet(cells, heads, titles, note=note, height=_height(observation.given.shape), theme=theme)
    return _with_legend(sheet, top, theme)


def glance_sheet(
    sheets: Sequence[Observation], labels: Sequence[str], shown: Sequence[int], top: float, *, theme: str = "light"
) -> Image.Image:
    """Draw where content shifted in several photos at one glance: a row each, a column for each recipe shown.

    shown  the recipes' indices, in the order of the columns        top  the end of the heat's one scale
    """
    paper = theme_named(theme).paper
    rows = [
        [
            _widened(observation.given, paper),
            *(_widened(shift_overlay(observation.kept, observation.where[k], top), paper) for k in shown),
        ]
        for observation in sheets
    ]
    heads = ["the photo", *(labels[k] for k in shown)]
    return _with_legend(contact_sheet(rows, heads, height=_GLANCE, theme=theme), top, theme)


def shift_overlay(kept: np.ndarray, where: np.ndarray, top: float) -> np.ndarray:
    """Lay a map of shift over a faded grey copy of a picture: H W 3 uint8, glowing where content shifted.

    kept  H W 3 uint8        where  h w of any size, 0 where nothing shifted        top  the end of the scale

    Where nothing shifted the grey copy is left as it is. Raises BadInput for a map that is not finite.

    >>> shift_overlay(np.full((64, 96, 3), 100, np.uint8), np.zeros((64, 96)), 20.0)[0, 0].tolist()
    [60, 60, 60]
    """
    values = np.asarray(where, np.float32)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise BadInput(f"where has shape {values.shape}; give h w of finite values")
    h, w = kept.shape[:2]
    share = np.clip(cv2.resize(values, (w, h), interpolation=cv2.INTER_LINEAR) / max(top, 1e-9), 0, 1)
    # The colours start a quarter into Inferno, whose black would look like a shadow in the photo.
    level = (255 * (0.25 + 0.75 * share)).round().astype(np.uint8)
    glow = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1].astype(np.float32)
    grey = 0.6 * kept.mean(2, keepdims=True)
    weight = 0.92 * share[..., None] ** 0.7
    return np.asarray((grey * (1 - weight) + glow * weight).round(), np.uint8)


def heat_scale(sheets: Sequence[Observation], shown: Sequence[int]) -> float:
    """Return a round end for one scale of the heat maps of some photos and recipes, in CIEDE2000.

    It covers 99.5% of the values where it can, and is at least 5, so that barely visible differences stay dark.
    """
    values = np.concatenate([observation.where[k].ravel() for observation in sheets for k in shown])
    end = float(np.percentile(values, 99.5))
    return float(next((scale for scale in _SCALES if scale >= end), _SCALES[-1]))


def columns(audit: Audit, most: int = COLUMNS) -> list[int]:
    """Return the recipes that sheets show, least shift first: those of the timestep where they differ most.

    The best, the worst and the bare reading are always among them, then the others as they rank. Where recipes differ
    nowhere, as at timesteps with one recipe each, it is the timestep that shifts most.
    """
    means = audit.scores[audit.headline].mean(0)
    here: dict[int, list[int]] = {}
    for k in audit.ranked():
        here.setdefault(audit.recipes[k].timestep, []).append(k)
    some = max(here.values(), key=lambda ks: (means[ks[-1]] - means[ks[0]], means[ks[-1]]))
    first = (some[0], some[-1], audit.baselines[some[0]])
    kept = set(list(dict.fromkeys([*first, *(audit.baselines[k] for k in some), *some]))[:most])
    return [k for k in some if k in kept]


def roles(audit: Audit, shown: Sequence[int]) -> list[str]:
    """Return every recipe's label; those shown are marked as least shift, most shift or bare."""
    named = [recipe.label for recipe in audit.recipes]
    if len(shown) > 1:
        marks = {shown[0]: ["least shift"], shown[-1]: ["most shift"]}
        for k in dict.fromkeys(audit.baselines[k] for k in shown):
            marks.setdefault(k, []).insert(0, "bare")
        for k, words in marks.items():
            named[k] = f"{named[k]}\n({', '.join(words)})"
    return named


class Album:
    """Keeps the observations of the photos that shifted most, shrunk to a sheet's cells: the audit's `on_observation`.

    most      how many photos are kept; memory does not grow with the others
    headline  the measure that says how far a photo has shifted, the mean over recipes
    """

    def __init__(self, most: int = 12, headline: str = HEADLINE) -> None:
        self.most, self.headline = most, headline
        self.sheets: list[Observation] = []  # most shift first

    def __call__(self, observation: Observation) -> None:
        self.sheets.append(small(observation))
        self.sheets.sort(key=lambda one: -float(np.mean(one.scores[self.headline])))
        del self.sheets[self.most :]


def small(observation: Observation) -> Observation:
    """Return the observation with its pictures and maps shrunk to the size they are drawn at."""
    high = _height(observation.given.shape)

    def shrunk(array: np.ndarray) -> np.ndarray:
        h, w = array.shape[:2]
        if h <= high:
            return array
        return cv2.resize(array, (max(1, round(w * high / h)), high), interpolation=cv2.INTER_AREA)

    lists: dict[str, Any] = {
        name: [shrunk(one) for one in getattr(observation, name)] for name in ("once", "finished", "where")
    }
    return replace(observation, given=shrunk(observation.given), kept=shrunk(observation.kept), **lists)


def _score(observation: Observation, measure: str, k: int) -> str:
    if measure not in observation.scores:
        return ""
    return f"{measure.removesuffix(FINISHED)} {observation.scores[measure][k]:.{measure_named(measure).digits}f}"


def _height(shape: tuple[int, ...]) -> int:
    return min(round(_CELL * (shape[0] / shape[1]) ** 0.5), _HIGHEST)


def _widened(picture: np.ndarray, paper: tuple[int, int, int]) -> np.ndarray:
    """Put paper beside a picture that is too narrow for its title."""
    h, w = picture.shape[:2]
    wide = int(np.ceil(_NARROWEST * h / _height(picture.shape)))
    if w >= wide:
        return picture
    canvas = np.full((h, wide, 3), paper, np.uint8)
    canvas[:, (wide - w) // 2 : (wide - w) // 2 + w] = picture
    return canvas


def _with_legend(sheet: Image.Image, top: float, theme: str) -> Image.Image:
    look, face = theme_named(theme), font(15)
    wide, high = _RAMP
    ramp = shift_overlay(np.full((high, wide, 3), 128, np.uint8), np.tile(np.linspace(0, top, wide), (high, 1)), top)
    end, unit = f"{top:g} or more", "colour difference (CIEDE2000); 1 is just noticeable"
    x = _MARGIN + face.getlength("0") + 10
    after = x + wide + 10 + face.getlength(end) + 28
    beside = after + face.getlength(unit) < sheet.width - _MARGIN
    lines = [unit] if beside else wrap(unit, face, sheet.width - 2 * _MARGIN)
    below = 0 if beside else 20 * len(lines) + 6
    whole = Image.new("RGB", (sheet.width, sheet.height + high + below + _MARGIN), look.paper)
    whole.paste(sheet, (0, 0))
    whole.paste(Image.fromarray(ramp), (round(x), sheet.height))
    pen, middle = ImageDraw.Draw(whole), sheet.height + high / 2
    pen.text((_MARGIN, middle), "0", fill=look.muted, font=face, anchor="lm")
    pen.text((x + wide + 10, middle), end, fill=look.muted, font=face, anchor="lm")
    for i, line in enumerate(lines):
        place = (after, middle) if beside else (_MARGIN, sheet.height + high + 16 + 20 * i)
        pen.text(place, line, fill=look.muted, font=face, anchor="lm")
    return whole
