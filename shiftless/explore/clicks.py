"""Clicks: where a point of one photo lies in others, by features that are in memory or are read for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from shiftless.explore.readings import Read, Readings
from shiftless.explore.worker import Job, Step, Steps
from shiftless.tasks.correspondence import sample
from shiftless.tasks.dense import cosine_maps


@dataclass(frozen=True)
class Click:
    """A request: where does `point`, in pixels of `photo`, lie in each target by each column?"""

    photo: int
    point: tuple[float, float]
    targets: tuple[int, ...]
    columns: tuple[int, ...]
    side: int = 96

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every (target, column), target after target."""
        return [(target, column) for target in self.targets for column in self.columns]


@dataclass(frozen=True, eq=False)
class PointMatch:
    """Where a point lies in one target by one column.

    point  (x, y) in original pixels of the target    score  its cosine
    heat   h w uint8, the cosines from `low` to `high`; it spans the whole target
    """

    target: int
    column: int
    point: tuple[float, float]
    score: float
    heat: np.ndarray
    low: float
    high: float


def best_match(
    source: Read, target: Read, point: Sequence[float], side: int = 96
) -> tuple[tuple[float, float], float, np.ndarray]:
    """Return the best point of the target in its original pixels, its cosine, and the heat map h w.

    The point is that of `shiftless.match`; the heat has at most `side` cells along its longer side. Raises BadInput for
    a point outside the source.

    >>> import torch
    >>> from shiftless.features import FeatureMaps
    >>> from shiftless.image import Frame
    >>> from shiftless.taps.names import Tap
    >>> grid, frame = torch.eye(16).view(1, 16, 4, 4), Frame((40, 40), (32, 32))
    >>> read = Read((FeatureMaps({"up1": grid}, {"up1": Tap("up1", 16, 8, "")}, frame),))
    >>> where, score, heat = best_match(read, read, (5, 35), side=8)
    >>> [abs(a - b) <= 5 for a, b in zip(where, (5, 35))], round(score, 2), heat.shape
    ([True, True], 1.0, (8, 8))
    """
    points = source.frame.check_points([list(point)], source.bucket[0].name)
    queries = sample(source.dense, source.bucket[0], points)
    ((cosines,),) = cosine_maps(queries, target.dense, target.frame.fed, norm=target.norm)
    index = int(cosines.argmax())
    h, w = target.frame.fed
    ((x, y),) = target.frame.from_grid([(index % w + 0.5, index // w + 0.5)], (h, w))
    values = cosines.numpy()
    shrink = min(1.0, side / max(h, w))
    size = max(1, round(w * shrink)), max(1, round(h * shrink))
    heat = values if shrink == 1 else cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    return (float(x), float(y)), float(values.max()), heat


def quantised(heat: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return a heat map in 256 levels, and the cosines of the lowest and the highest.

    The lowest is that of the lowest value in 100, so that one cold cell does not take the scale.

    >>> levels, low, high = quantised(np.array([[0.0, 0.5, 1.0]]))
    >>> levels.tolist(), round(high, 2)
    ([[0, 126, 255]], 1.0)
    """
    low, high = float(np.percentile(heat, 1)), float(heat.max())
    share = np.clip((heat - low) / max(high - low, 1e-9), 0, 1)
    return np.rint(share * 255).astype(np.uint8), low, high


def from_memory(readings: Readings, click: Click) -> list[PointMatch] | None:
    """Answer a click from memory, without the model and in any thread; None if a feature that it needs is not there."""
    reads: dict[tuple[int, int], Read] = {}
    for photo, column in [*((click.photo, column) for column in click.columns), *click.pairs]:
        read = readings.held(photo, readings.column(column).recipes)
        if read is None:
            return None
        reads[photo, column] = read
    return [_match(reads[click.photo, c], reads[t, c], click, t, c) for t, c in click.pairs]


def answer(readings: Readings, click: Click, job: Job) -> Steps:
    """Answer a click in the model's thread, photo after photo: reading what is not in memory: a list of PointMatch."""
    total = len(click.columns) + len(click.pairs)
    sources: dict[int, Read] = {}
    results: list[PointMatch] = []
    for column in click.columns:
        sources[column] = readings.read(click.photo, readings.column(column).recipes, job.check)
        yield Step(len(sources), total, "reading")
    for target, column in click.pairs:
        read = readings.read(target, readings.column(column).recipes, job.check)
        results.append(_match(sources[column], read, click, target, column))
        yield Step(len(sources) + len(results), total, "reading")
    return results


def read_ahead(readings: Readings, photos: Sequence[int], columns: Sequence[int], job: Job) -> Steps:
    """Read photos by columns into memory. Returns how many there are, photos times columns."""
    pairs = [(photo, column) for photo in photos for column in columns]
    for done, (photo, column) in enumerate(pairs, 1):
        readings.read(photo, readings.column(column).recipes, job.check)
        yield Step(done, len(pairs), "reading")
    return len(pairs)


def _match(source: Read, read: Read, click: Click, target: int, column: int) -> PointMatch:
    point, score, heat = best_match(source, read, click.point, click.side)
    return PointMatch(target, column, point, score, *quantised(heat))
