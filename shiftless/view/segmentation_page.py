"""The report of a segmentation: index.html with the scores of each class, what is confused, and uncertain photos."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from shiftless.errors import BadInput
from shiftless.view.confusion import check_counts, confusion_picture, row_shares
from shiftless.view.page import Bars, Chapter, Grid, draw_figure, write_page
from shiftless.view.palette import check_palette
from shiftless.view.segmentation import overlay, segmented, uncertainty_end, uncertainty_picture
from shiftless.view.sheet import contact_sheet, enlarge, theme_named

_KEPT = 640  # pixels of height that a kept photo is shrunk to
_THUMB, _ROW = 150, 4  # pixels of height of a thumbnail; photos in a row
_MISTAKES = 6
_NONE = float("nan")


@dataclass(frozen=True, eq=False)
class SegmentedPhoto:
    """A photo and its answer: photo H W 3 uint8, mask H W, uncertainty H W in nats, and its labels H W if known."""

    name: str
    photo: np.ndarray
    mask: np.ndarray
    uncertainty: np.ndarray
    truth: np.ndarray | None = None

    @property
    def mean_uncertainty(self) -> float:
        """The mean of the uncertainty over the pixels, in nats."""
        return float(self.uncertainty.mean())

    def shrunk(self, height: int = _KEPT) -> SegmentedPhoto:
        """Return it at a height of at most so many pixels.

        >>> tall = np.zeros((20, 10), np.uint8)
        >>> SegmentedPhoto("a", tall[..., None].repeat(3, 2), tall, tall / 1.0).shrunk(10).mask.shape
        (10, 5)
        """
        h, w = self.mask.shape
        if h <= height:
            return self
        size = (max(1, round(w * height / h)), height)

        def numbers(mask: np.ndarray) -> np.ndarray:
            return cv2.resize(np.asarray(mask, np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)

        return replace(
            self,
            photo=cv2.resize(self.photo, size, interpolation=cv2.INTER_AREA),
            mask=numbers(self.mask),
            uncertainty=cv2.resize(np.asarray(self.uncertainty, np.float32), size, interpolation=cv2.INTER_AREA),
            truth=None if self.truth is None else numbers(self.truth),
        )


class LeastCertain:
    """Keeps the photos of the highest mean uncertainty, shrunk to what is drawn of them.

    most  how many photos are kept; memory does not grow with the others

    >>> flat = np.zeros((8, 8, 3), np.uint8)
    >>> kept = LeastCertain(2)
    >>> for name, doubt in (("a", 0.1), ("b", 0.3), ("c", 0.2)):
    ...     kept.add(SegmentedPhoto(name, flat, flat[..., 0], np.full((8, 8), doubt)))
    >>> [photo.name for photo in kept.photos]
    ['b', 'c']
    """

    def __init__(self, most: int = 24) -> None:
        self.most = most
        self.photos: list[SegmentedPhoto] = []  # the least certain first
        self._ranks: list[tuple[float, str]] = []

    def add(self, photo: SegmentedPhoto) -> None:
        """Keep a photo if it is less certain than one of those kept; of equals, those whose names are first stay."""
        rank = (-photo.mean_uncertainty, photo.name)
        place = bisect(self._ranks, rank)
        if place < self.most:
            self._ranks.insert(place, rank)
            self.photos.insert(place, photo.shrunk())
            del self._ranks[self.most :], self.photos[self.most :]


def segmentation_page(
    out: Path,
    photos: Sequence[SegmentedPhoto],
    classes: Sequence[str],
    palette: ArrayLike,
    *,
    total: int | None = None,
    scores: Sequence[tuple[str, float]] = (),
    ious: ArrayLike | None = None,
    counts: ArrayLike | None = None,
    areas: ArrayLike | None = None,
    sheets: int = 8,
    title: str = "",
    foot: str = "",
    commands: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write a segmentation as index.html with its pictures, in light and dark, into a folder; return the page's path.

    photos   those to show, such as a `LeastCertain`'s      total     how many were segmented; by default these
    classes  L names                                        palette   L 3 uint8
    scores   (name, share in [0, 1]) over all classes, such as ("mIoU", 0.53)
    ious     L, in [0, 1], NaN for classes that are not scored
    counts   L L, pixels by their label (row) and what they were taken for (column)
    areas    L, pixels of each class in all photos
    sheets   how many photos get a picture of their own, beside their thumbnail
    title, foot  above and below everything                 commands  what to do next: (command, why)

    Without `ious` or `counts` the page has no scores, as for photos without labels. The pictures are written first and
    the page last. Raises BadInput for lengths that are not L, and if the folder cannot be written.

    >>> import tempfile
    >>> flat = np.zeros((8, 8, 3), np.uint8)
    >>> photo = SegmentedPhoto("tom.jpg", flat, flat[..., 0], np.zeros((8, 8)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     segmentation_page(Path(folder), [photo], ["cat"], [(200, 0, 0)]).name
    'index.html'
    """
    colours = check_palette(palette, len(classes))
    each = {"ious": ious, "areas": areas}
    values = {name: _of_classes(name, one, len(classes)) for name, one in each.items() if one is not None}
    table = None if counts is None else check_counts(counts, len(classes)).astype(np.int64)
    ordered = sorted(photos, key=lambda one: (-one.mean_uncertainty, one.name))
    number = len(ordered) if total is None else total
    chapters = [
        _scored(classes, values["ious"], table) if "ious" in values else None,
        _confused(out, classes, table) if table is not None else None,
        _uncertain(out, ordered, classes, colours, number, sheets) if ordered else None,
        _areas(classes, values["areas"]) if "areas" in values else None,
        _glossary("ious" in values),
        Chapter("What to do next", [], "", commands=list(commands)) if commands else None,
    ]
    many = f"{number:,} photo{'s' if number != 1 else ''}"
    lead = ", ".join([many, f"{len(classes)} classes", *(f"{name} {100 * value:.1f}%" for name, value in scores)])
    return write_page(out, title or f"Segmentation of {many}", f"{lead}.", [one for one in chapters if one], foot)


def _scored(classes: Sequence[str], ious: np.ndarray, counts: np.ndarray | None) -> Chapter:
    """The IoU of every class as bars; its accuracy, precision and area as a table."""
    scored = [k for k in np.argsort(-ious, kind="stable") if np.isfinite(ious[k])]
    text = [
        "IoU is the part that labels and prediction have in common, as a share of what either covers: 100% is perfect. "
        "Small parts score lower than large ones, as their borders are more of them.",
    ]
    chapter = Chapter("How well each class is found", text, "")
    mean = float(np.mean(ious[scored])) if scored else 0.0
    rows = [(classes[k], 100 * float(ious[k]), _NONE, _NONE, bool(ious[k] >= mean)) for k in scored]
    chapter.bars.append(Bars("IoU, the highest first; in colour where at or above the mean", rows, 100.0, "{:.1f}%"))
    absent = [classes[k] for k in range(len(classes)) if not np.isfinite(ious[k])]
    if absent:
        chapter.after.append(f"Not scored, or neither labelled nor predicted: {', '.join(absent)}.")
    if counts is not None:
        right, labelled, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
        heads = ["IoU", "accuracy", "precision", "share of labels"]
        shares = [(right, labelled), (right, predicted), (labelled, np.full(len(labelled), counts.sum()))]
        cells = [[_shown(part[k], whole[k]) for part, whole in shares] for k in scored]
        named = [(classes[k], [f"{100 * ious[k]:.1f}%", *row]) for k, row in zip(scored, cells)]
        chapter.grids.append(Grid("Every class", heads, named))
    return chapter


def _confused(out: Path, classes: Sequence[str], counts: np.ndarray) -> Chapter:
    """The confusion picture, and the mistakes that cost most pixels."""
    shares, wrong = row_shares(counts), counts.astype(np.float64)
    np.fill_diagonal(wrong, 0)
    chapter = Chapter("What is taken for what", ["The mistakes that cost most pixels are listed below."], "")

    def drawn(theme: str) -> Image.Image:
        return confusion_picture(counts, classes, theme=theme)

    caption = "A row for each class as labelled, a column for each as predicted, in percent of the row."
    chapter.figures.append(draw_figure(out, "confusion.png", caption, drawn))
    for place in np.argsort(-wrong, axis=None, kind="stable")[:_MISTAKES]:
        i, j = np.unravel_index(place, wrong.shape)
        if wrong[i, j]:
            line = f"{100 * shares[i, j]:.1f}% of the pixels labelled {classes[i]} were taken for {classes[j]}."
            chapter.items.append(line)
    if not chapter.items:
        chapter.text = ["No pixel was taken for another class."]
    return chapter


def _uncertain(
    out: Path,
    photos: Sequence[SegmentedPhoto],
    classes: Sequence[str],
    palette: np.ndarray,
    total: int,
    sheets: int,
) -> Chapter:
    """Thumbnails of all photos that are shown, the least certain first, and a picture of each of the first."""
    most = uncertainty_end(*(photo.uncertainty for photo in photos))
    shown = f"Shown are {len(photos)} of {total:,} photos. " if total > len(photos) else ""
    text = [
        f"{shown}Uncertainty is how much the members of the ensemble disagree at a pixel, and the photos whose mean is "
        "highest come first: these are the ones to check by eye, and to label next. All have one scale of uncertainty.",
    ]
    chapter = Chapter("The least certain photos", text, "")
    pairs = []
    for photo in photos:
        small = photo.shrunk(2 * _THUMB)
        parts = overlay(small.photo, small.mask, palette)
        heat = uncertainty_picture(small.photo, small.uncertainty, most)
        pairs.append([np.array(enlarge(one, _THUMB)) for one in (parts, heat)])

    def glance(theme: str) -> Image.Image:
        between = np.full((_THUMB, 4, 3), theme_named(theme).paper, np.uint8)
        names = [f"{photo.name}: {photo.mean_uncertainty:.2g} nats" for photo in photos]
        cells = [(np.hstack([parts, between, heat]), name) for (parts, heat), name in zip(pairs, names)]
        rows = [cells[i : i + _ROW] for i in range(0, len(cells), _ROW)]
        return contact_sheet(rows, height=_THUMB, theme=theme)

    caption = "Parts on the left, uncertainty on the right of each pair, with the photo's mean uncertainty."
    chapter.figures.append(draw_figure(out, "photos.png", caption, glance))
    for place, photo in enumerate(photos[:sheets], 1):

        def sheet(theme: str, photo: SegmentedPhoto = photo) -> Any:
            given = (photo.photo, photo.mask, photo.uncertainty, classes, palette)
            return segmented(*given, truth=photo.truth, most=most, theme=theme)

        caption = f"{photo.name}: mean uncertainty {photo.mean_uncertainty:.2g} nats"
        chapter.figures.append(draw_figure(out, f"photo-{place:02}.png", caption, sheet))
    return chapter


def _areas(classes: Sequence[str], areas: np.ndarray) -> Chapter:
    shares = 100 * areas / max(float(areas.sum()), 1.0)
    order = [k for k in np.argsort(-shares, kind="stable") if shares[k] > 0]
    rows = [(classes[k], float(shares[k]), _NONE, _NONE, True) for k in order]
    top = max([1.0, *(row[1] for row in rows)])
    chapter = Chapter("How much is predicted of each class", [], "")
    chapter.bars.append(Bars("Share of the pixels of all photos, the largest first", rows, top, "{:.1f}%"))
    absent = [classes[k] for k in range(len(classes)) if not shares[k]]
    if absent:
        chapter.after.append(f"Nowhere: {', '.join(absent)}.")
    return chapter


def _glossary(scored: bool) -> Chapter:
    terms = [
        ("uncertainty", "the Jensen-Shannon divergence of the members at a pixel, in nats; at 0 all say the same."),
    ]
    if scored:
        terms += [
            ("accuracy", "of the pixels with a label, the share that was found."),
            ("precision", "of the pixels predicted to be of a class, the share that is labelled so."),
            ("mIoU", "the mean of the classes' IoU, each counted over the pixels of all photos together."),
            ("pixel accuracy", "the share of all labelled pixels whose class was found."),
            ("mean accuracy", "the mean of the classes' accuracy."),
        ]
    return Chapter("What is measured", [], "", terms=terms)


def _of_classes(name: str, values: ArrayLike, classes: int) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.shape != (classes,):
        raise BadInput(f"{name}: shape {array.shape} for {classes} classes; give one number for each")
    return array


def _shown(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%" if whole else ""
