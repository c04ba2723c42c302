"""Scores of what segments photos without having learned from labels."""

from __future__ import annotations

from typing import Any

from shiftless.data.labelledphoto import LabelledPhotos
from shiftless.metrics.segmentation import Confusion
from shiftless.segmenting import NormalisedCuts, Untrained
from shiftless.segmenting.diffcut import told
from shiftless.training.scenesource import picture_of


def score_untrained(method: Untrained, labelled: LabelledPhotos, *, progress: bool = False) -> list[Confusion]:
    """Segment labelled photos and return the counts of each.

    The segments of `NormalisedCuts`, which have no names, are told the class that most of their pixels have. Raises
    BadInput for a photo that cannot be read.
    """
    classes = len(labelled.classes)
    photos: list[Any] = [picture_of(one) for one in labelled]
    counted = []
    for one, parts in zip(labelled, method.segmented(photos, progress=progress), strict=True):
        mask = one.mask()
        found = told(parts.mask, mask, classes) if isinstance(method, NormalisedCuts) else parts.mask
        counted.append(Confusion(classes, labelled.unscored).add(mask, found))
    return counted
