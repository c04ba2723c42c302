"""Scores of semantic segmentation: a confusion matrix of pixels, summed over a dataset, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import Difference
from shiftless.metrics.iou import confusion, ious_of_totals

IGNORE = 255
"""The value of pixels that have no label, in every mask."""
MOST_CLASSES = 255


class Confusion:
    """Counts of pixels by their class and by the class that was predicted, summed over the photos that are added.

    classes   how many there are, L; masks hold 0 to L - 1, and IGNORE
    unscored  classes that exist but are not scored, such as Bedroom-28's 0

    A pixel whose truth is IGNORE or an unscored class is left out, whatever is predicted there. A pixel of another
    class that is taken for an unscored one is wrong. Scores are those of the summed counts ("dataset-level"), not means
    over photos. Counts of each photo can be added up later, so that intervals can be resampled by photo.

    Raises BadInput unless there are 1 to 255 classes and the unscored ones are among them.

    >>> truth = np.array([[0, 0, 1], [1, 2, 255]])
    >>> counted = Confusion(4).add(truth, np.array([[0, 1, 1], [1, 2, 3]]))
    >>> counted.ious().round(3).tolist()
    [0.5, 0.667, 1.0, nan]
    >>> round(counted.miou(), 3), counted.pixel_accuracy(), round(counted.mean_accuracy(), 3)
    (0.722, 0.8, 0.833)
    """

    def __init__(self, classes: int, unscored: Iterable[int] = ()) -> None:
        self.classes, self.unscored = int(classes), tuple(sorted(set(unscored)))
        if not 1 <= self.classes <= MOST_CLASSES:
            raise BadInput(f"{classes} classes: a mask can hold 1 to {MOST_CLASSES}")
        if any(not 0 <= one < self.classes for one in self.unscored):
            raise BadInput(f"unscored classes {list(self.unscored)}: they must be among 0 to {self.classes - 1}")
        self._all = np.zeros(
            (self.classes + 1, self.classes), np.int64
        )  # the last row counts what IGNORE was taken for

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> Confusion:
        """Count one photo: its mask and the predicted one, both H W of whole numbers; returns this object.

        Raises BadInput for masks of two shapes, or values that are no class (IGNORE is allowed in the truth only).

        >>> Confusion(2).add(np.array([[0, 1]]), np.array([[1, 2]]))
        Traceback (most recent call last):
        ...
        shiftless.errors.BadInput: predicted mask: holds the values 2; the 2 classes are numbered 0 to 1
        """
        truth, predicted = np.asarray(truth), np.asarray(predicted)
        if truth.shape != predicted.shape:
            raise BadInput(f"masks of {truth.shape} and {predicted.shape}: predict at the size of the truth")
        known = truth != IGNORE
        self._check(truth[known], "true mask")
        self._check(predicted, "predicted mask")
        found = confusion(np.where(known, truth, self.classes), predicted, self.classes + 1)
        self._all += found[:, : self.classes]
        return self

    def _check(self, values: np.ndarray, what: str) -> None:
        if values.dtype.kind not in "iu" or (values.size and (values.min() < 0 or values.max() >= self.classes)):
            wrong = np.unique(values[~np.isin(values, np.arange(self.classes))])[:5]
            raise BadInput(
                f"{what}: holds the values {', '.join(f'{value:g}' for value in wrong)}; the {self.classes} classes "
                f"are numbered 0 to {self.classes - 1}"
                if len(wrong)
                else f"{what}: an array of {values.dtype}; give whole numbers"
            )

    def __add__(self, other: Confusion) -> Confusion:
        """Sum the counts of two; raises BadInput unless they are of the same classes.

        >>> one = Confusion(2).add(np.array([[0]]), np.array([[0]]))
        >>> (one + one).counts.tolist(), sum([one, one, one]).counts.tolist()
        ([[2, 0], [0, 0]], [[3, 0], [0, 0]])
        """
        if not isinstance(other, Confusion):
            return NotImplemented
        if (self.classes, self.unscored) != (other.classes, other.unscored):
            raise BadInput(
                f"counts of {self.classes} and {other.classes} classes cannot be summed: score the same ones"
            )
        both = Confusion(self.classes, self.unscored)
        both._all = self._all + other._all
        return both

    def __radd__(self, other: int) -> Confusion:  # sum() begins with 0
        return self + Confusion(self.classes, self.unscored) if other == 0 else NotImplemented

    @property
    def counts(self) -> np.ndarray:
        """The pixels that are scored, L L int64: rows by true class, columns by predicted class."""
        result = self._all[:-1].copy()
        result[list(self.unscored)] = 0
        return result

    def totals(self, masked: bool = True) -> np.ndarray:
        """Return pixels right, there and found, 3 L int64 ("found" is predicted as); 0 for unscored classes.

        masked  leave pixels out whose truth is not scored. False counts what is predicted there as found, as the
                codes of ddpm-segmentation (Baranchuk et al. 2022) and GATE do: each such pixel lowers an IoU.
        """
        counts = self.counts
        found = counts.sum(0) if masked else self._all.sum(0)
        result = np.stack([counts.diagonal(), counts.sum(1), found])
        result[:, list(self.unscored)] = 0
        return result

    def ious(self, absent: str = "skip", masked: bool = True) -> np.ndarray:
        """Return each class's IoU (Everingham et al. 2010), L float64 in [0, 1]; NaN for unscored classes.

        absent  what a class gets that is neither in any truth nor predicted: "skip" is NaN, "zero" is 0, as in the
                codes of ddpm-segmentation and GATE
        masked  as in `totals`
        """
        if absent not in ("skip", "zero"):
            raise BadInput(f"absent={absent!r}: must be one of skip, zero")
        result = ious_of_totals(self.totals(masked))
        if absent == "zero":
            result = np.nan_to_num(result, nan=0.0)
            result[list(self.unscored)] = np.nan
        return result

    def miou(self, absent: str = "skip", masked: bool = True) -> float:
        """Return the mean IoU over classes, in [0, 1]; NaN if nothing is scored. Arguments are those of `ious`.

        >>> counted = Confusion(3).add(np.array([[0, 255, 1]]), np.array([[0, 0, 1]]))
        >>> counted.miou(), counted.miou(absent="zero"), counted.miou(absent="zero", masked=False)
        (1.0, 0.6666666666666666, 0.5)
        """
        return float(_mean(self.ious(absent, masked)))

    def pixel_accuracy(self) -> float:
        """Return the share of scored pixels that are right, in [0, 1]; NaN if there are none."""
        right, there, _ = self.totals()
        return float(right.sum() / there.sum()) if there.any() else float("nan")

    def mean_accuracy(self) -> float:
        """Return the mean over the classes that are there of the share of their pixels that are right; NaN for none."""
        right, there, _ = self.totals()
        return float((right[there > 0] / there[there > 0]).mean()) if there.any() else float("nan")


def mean_iou(totals: np.ndarray) -> np.ndarray:
    """Return the mean IoU of totals ... 3 L, as `Confusion.totals` gives them, over the classes that are there: ...

    >>> mean_iou(np.array([[1, 1, 0], [2, 1, 0], [1, 2, 0]])).round(3)
    np.float64(0.5)
    """
    return _mean(ious_of_totals(totals))


def mean_of_accuracies(totals: np.ndarray) -> np.ndarray:
    """Return the mean accuracy of totals ... 3 L over the classes that are labelled: ...

    >>> mean_of_accuracies(np.array([[1, 1, 0], [2, 1, 0], [1, 2, 0]])).round(3)
    np.float64(0.75)
    """
    right, there = totals[..., 0, :], totals[..., 1, :]
    return _mean(np.divide(right, there, out=np.full(right.shape, np.nan), where=there > 0))


def pixel_accuracy_of(totals: np.ndarray) -> np.ndarray:
    """Return the share of labelled pixels that are right, of totals ... 3 L: ...; NaN where none is labelled.

    >>> pixel_accuracy_of(np.array([[1, 1, 0], [2, 2, 0], [1, 3, 0]]))
    array(0.5)
    """
    right, there = totals[..., 0, :].sum(-1, dtype=float), totals[..., 1, :].sum(-1, dtype=float)
    return np.divide(right, there, out=np.full(np.shape(right), np.nan), where=there > 0)


def miou_interval(
    photos: Sequence[Confusion],
    *,
    score: Callable[[np.ndarray], np.ndarray] = mean_iou,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval (low, high) of the mIoU of K photos, resampled by photo (Efron, "Bootstrap methods", 1979).

    photos  the counts of each
    score   `mean_iou`, or `mean_of_accuracies` for the interval of the mean accuracy
    draws   resamples of K photos with replacement, drawn from `seed`; a class that is in none of them is skipped

    Raises BadInput if there are no photos or they are not of the same classes.

    >>> good, bad = (Confusion(2).add(np.array([[0, 1]]), np.array([[0, found]])) for found in (1, 0))
    >>> low, high = miou_interval([good, good, bad])
    >>> low < sum([good, good, bad]).miou() < high
    True
    """
    low, high = np.percentile(_resampled([_rows(photos)], draws, seed, score)[0], _ends(level))
    return float(low), float(high)


def miou_difference(
    ours: Sequence[Confusion],
    theirs: Sequence[Confusion],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Return mIoU(ours) - mIoU(theirs) with its interval, both counted on the same K photos and resampled together.

    Arguments and errors as in `miou_interval`.

    >>> good, bad = (Confusion(2).add(np.array([[0, 1]]), np.array([[0, found]])) for found in (1, 0))
    >>> miou_difference([good, good], [bad, bad])
    Difference(value=0.75, low=0.75, high=0.75)
    """
    rows = [_rows(ours), _rows(theirs)]
    if rows[0].shape != rows[1].shape or ours[0].unscored != theirs[0].unscored:
        raise BadInput(
            f"{len(ours)} photos against {len(theirs)}: a paired difference needs the same photos and classes"
        )
    mine, other = _resampled(rows, draws, seed)
    low, high = np.percentile(mine - other, _ends(level))
    whole = [float(mean_iou(one.sum(0))) for one in rows]
    return Difference(whole[0] - whole[1], float(low), float(high))


def _rows(photos: Sequence[Confusion]) -> np.ndarray:
    """K 3 L, the totals of each photo."""
    if not photos:
        raise BadInput("no photos: an interval needs the counts of at least one")
    if len({(one.classes, one.unscored) for one in photos}) > 1:
        raise BadInput("counts of different classes cannot be resampled together: score the same ones")
    return np.stack([one.totals() for one in photos])


def _resampled(
    sets: Sequence[np.ndarray], draws: int, seed: int, score: Callable[[np.ndarray], np.ndarray] = mean_iou
) -> list[np.ndarray]:
    """Scores of resampled photos, each set K 3 L -> draws; the sets share the draws."""
    count = len(sets[0])
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
    return [score(np.tensordot(times, one, 1)) for one in sets]


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is not NaN; NaN if all is."""
    there = np.isfinite(values)
    count = there.sum(-1)
    total = np.where(there, values, 0.0).sum(-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def _ends(level: float) -> tuple[float, float]:
    return 50 * (1 - level), 50 * (1 + level)
