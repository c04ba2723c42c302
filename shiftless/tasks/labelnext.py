"""Which photos to label next: uncertain ones that differ from what is labelled, and from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from shiftless.errors import BadInput

_ROWS = 4096  # photos whose differences are held at once
_MOST = 10  # the highest power of a distance


@dataclass(frozen=True)
class NextPhoto:
    """A photo to be labelled, and why it was chosen.

    uncertainty  of the photo, as it was given
    distance     to `nearest`, 0 to 2: that of two descriptors of length 1; infinite if it was the first of all
    nearest      the photo nearest to it of those labelled or chosen before it, or None if there was none
    """

    name: str
    uncertainty: float
    distance: float
    nearest: str | None

    def reason(self) -> str:
        """Say in one line why the photo was chosen.

        >>> NextPhoto("tom.jpg", 0.31, 0.42, "kit.jpg").reason()
        'uncertainty 0.31; 0.42 from kit.jpg, the nearest photo labelled or chosen before'
        >>> NextPhoto("tom.jpg", 0.31, float("inf"), None).reason()
        'uncertainty 0.31, the highest'
        """
        if self.nearest is None:
            return f"uncertainty {self.uncertainty:.2g}, the highest"
        where = f"{self.distance:.2g} from {self.nearest}, the nearest photo labelled or chosen before"
        return f"uncertainty {self.uncertainty:.2g}; {where}"


def label_next(
    names: Sequence[str],
    uncertainty: ArrayLike,
    descriptors: ArrayLike,
    n: int,
    *,
    labelled: ArrayLike | None = None,
    labelled_names: Sequence[str] = (),
    diversity: float = 1.0,
) -> list[NextPhoto]:
    """Choose the `n` unlabelled photos to label next, the first one first.

    names        N, of the unlabelled photos       uncertainty     N, the mean over each photo's pixels, at least 0
    descriptors  N D, such as mean features        labelled        M D, descriptors of the photos already labelled
    n            all are returned if fewer         labelled_names  M, for the reasons; by default "labelled photo 1"
    diversity    0 to 10: 0 takes the most uncertain, whatever they show; large values take the most different

    Each choice is the photo of the largest uncertainty x distance^diversity, where the distance is that of the
    descriptors, made unit length, to the nearest photo labelled or chosen before; without any, the most uncertain is
    first. So a near-duplicate of a chosen photo waits, however uncertain it is. Of equals, the farther one comes
    first, then the more uncertain one, then that whose name is first. The answer is the same in every order of photos.

    This is the greedy k-center selection of Sener & Savarese, "Active learning for convolutional neural networks: a
    core-set approach", 2018, with each distance weighted by uncertainty, as Dyer & Frieze, "A simple heuristic for the
    p-centre problem", 1985, weight it. Like BADGE (Ash et al. 2020), it wants both uncertain and diverse photos; unlike
    BADGE it needs no gradients and draws nothing at random.

    Raises BadInput for lengths that differ, numbers that are not finite, negative uncertainties and n below 1.

    >>> photos = ["a", "a again", "b"]
    >>> [one.name for one in label_next(photos, [0.9, 0.8, 0.5], [(1, 0), (1, 0), (0, 1)], 2)]
    ['a', 'b']
    """
    doubts, given = _doubts(names, uncertainty), _finite("descriptors", descriptors, len(names))
    known = np.empty((0, given.shape[1])) if labelled is None else _finite("labelled", labelled)
    if known.shape[1] != given.shape[1]:
        raise BadInput(f"labelled: {known.shape[1]} numbers a photo, the others {given.shape[1]}; describe all alike")
    if labelled_names and len(labelled_names) != len(known):
        raise BadInput(f"labelled_names: {len(labelled_names)} for {len(known)} descriptors; give a name for each")
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise BadInput(f"n={n!r}: give how many photos to choose, 1 or more")
    if not 0 <= diversity <= _MOST:
        raise BadInput(f"diversity={diversity:g}: give 0 to {_MOST}; 1 weighs uncertainty and difference alike")

    before = list(labelled_names) or [f"labelled photo {i + 1}" for i in range(len(known))]
    vectors = _unit(given)
    distances, nearest = np.full(len(names), np.inf), np.full(len(names), -1)
    for i, vector in enumerate(_unit(known)):
        _approach(distances, nearest, vectors, vector, i)
    rank = np.argsort(np.argsort(np.array(names, dtype=object), kind="stable"), kind="stable")
    left = np.ones(len(names), bool)
    chosen: list[NextPhoto] = []
    for _ in range(min(n, len(names))):
        first = not before
        far = np.ones(len(names)) if first else distances
        best = _best(np.flatnonzero(left), doubts * far**diversity, far, doubts, -rank)
        near = None if first else before[nearest[best]]
        chosen.append(NextPhoto(names[best], float(doubts[best]), float(distances[best]), near))
        left[best] = False
        before.append(names[best])
        _approach(distances, nearest, vectors, vectors[best], len(before) - 1)
    return chosen


def _best(places: np.ndarray, *scores: np.ndarray) -> int:
    """The place of the highest first score; of equals, that of the highest second one, and so on."""
    for score in scores:
        values = score[places]
        places = places[values == values.max()]
    return int(places[0])


def _approach(distances: np.ndarray, nearest: np.ndarray, vectors: np.ndarray, vector: np.ndarray, index: int) -> None:
    """Let a photo that is now labelled or chosen be the nearest of those that it is nearer to than any before."""
    for start in range(0, len(vectors), _ROWS):
        rows = slice(start, start + _ROWS)
        apart = np.linalg.norm(vectors[rows] - vector, axis=1)
        nearer = apart < distances[rows]
        distances[rows][nearer] = apart[nearer]
        nearest[rows][nearer] = index


def _doubts(names: Sequence[str], uncertainty: ArrayLike) -> np.ndarray:
    values = np.asarray(uncertainty, np.float64)
    if not len(names):
        raise BadInput("no unlabelled photos were given; give at least one")
    if values.shape != (len(names),):
        raise BadInput(f"uncertainty: shape {values.shape} for {len(names)} photos; give one number for each")
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        k = int(wrong.argmax())
        raise BadInput(f"{names[k]}: its uncertainty is {values[k]:g}; give a finite number of at least 0")
    return values


def _finite(what: str, vectors: ArrayLike, count: int | None = None) -> np.ndarray:
    array = np.asarray(vectors)
    if array.ndim != 2 or not array.shape[1] or (count is not None and len(array) != count):
        raise BadInput(f"{what}: shape {array.shape}; give {'M' if count is None else count} rows of D numbers")
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    wrong = ~np.isfinite(array).all(1)
    if wrong.any():
        raise BadInput(f"{what}: row {int(wrong.argmax())} is not finite; describe the photo again in fp32")
    return array


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, float32; those of length 0 stay. They are scaled first, so that no square overflows."""
    result = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _ROWS):
        rows = vectors[start : start + _ROWS].astype(np.float64)
        largest = np.abs(rows).max(1, keepdims=True)
        rows /= np.where(largest > 0, largest, 1)
        result[start : start + _ROWS] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    return result
