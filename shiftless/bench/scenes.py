"""Scores of a scene head on labelled photos, read as a whole or by windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from shiftless.bench.parts import check_classes, table_of
from shiftless.bench.table import Table
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.metrics.segmentation import Confusion
from shiftless.reading.together import Reader
from shiftless.tasks.parts import Parts
from shiftless.tasks.scenehead import SceneHead
from shiftless.training.scenesource import picture_of, segmented


def run(
    head: SceneHead,
    reader: Reader,
    labelled: LabelledPhotos,
    *,
    name: str = "segment",
    stride: int | None = None,
    each: Callable[[LabelledPhoto, np.ndarray, Parts], object] | None = None,
    **reading: Any,
) -> tuple[Table, list[Confusion]]:
    """Score a head on labelled photos: (table, the counts of each photo).

    stride   pixels between the windows that photos are read by; None reads them as a whole
    each     called with every photo, its mask and what the head says of it
    reading  as `shiftless.training.scenesource.segmented` takes it

    Raises BadInput for photos whose classes are not the head's, and as `segmented` does.
    """
    check_classes(head.classes, labelled)
    counted = []
    found = segmented(head, reader, [picture_of(one) for one in labelled], stride=stride, **reading)
    for one, parts in zip(labelled, found, strict=True):
        mask = one.mask()
        if each is not None:
            each(one, mask, parts)
        counted.append(Confusion(len(labelled.classes), labelled.unscored).add(mask, parts.mask))
    how = "photos read as a whole" if stride is None else f"windows of {head.window} pixels, {stride} apart"
    method = f"{head.settings['decoder']} head"
    return table_of(method, reader.model.spec.name, counted, labelled, name=name, notes=[how]), counted
