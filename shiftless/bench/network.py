"""Scores of a segmentation network on labelled photos, beside those of the heads that it was distilled from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shiftless.bench.parts import check_classes, table_of
from shiftless.bench.table import Table
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.metrics.segmentation import Confusion
from shiftless.progress import count, reporting
from shiftless.tasks.parts import Parts
from shiftless.training.segmentation_network import SegmentationNetwork

METHOD = "one network"


def score_network(
    network: SegmentationNetwork,
    labelled: LabelledPhotos,
    *,
    each: Callable[[LabelledPhoto, np.ndarray, Parts], object] | None = None,
    progress: bool = False,
) -> list[Confusion]:
    """Predict each labelled photo at the size of its mask, and count its pixels: one Confusion a photo.

    each  called with every photo, its mask and its parts

    Raises BadInput for photos whose classes are not the network's.
    """
    check_classes(network.classes, labelled, "network")
    counted = []
    doing = f"segmenting {count(len(labelled), 'photo')}"
    with reporting(progress, doing, len(labelled), "photo") as report:
        for one in labelled:
            mask = one.mask()
            parts = network.predict(one.photo, name=one.name, size=mask.shape)
            if each is not None:
                each(one, mask, parts)
            counted.append(Confusion(len(labelled.classes), labelled.unscored).add(mask, parts.mask))
            report(1)
    return counted


def run(
    network: SegmentationNetwork,
    labelled: LabelledPhotos,
    *,
    name: str = "segment",
    each: Callable[[LabelledPhoto, np.ndarray, Parts], object] | None = None,
    progress: bool = False,
) -> tuple[Table, list[Confusion]]:
    """Score a network on labelled photos: (table, the counts of each photo); arguments as in `score_network`."""
    counted = score_network(network, labelled, each=each, progress=progress)
    return table_of(METHOD, f"SegFormer at {network.side} pixels", counted, labelled, name=name), counted
