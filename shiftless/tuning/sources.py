"""Labelled photos with their features: read anew for every view, or read once and kept in memory or on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shiftless.errors import BadInput
from shiftless.reading.together import Reader, stream_together
from shiftless.store.buckets import store_buckets
from shiftless.training.network import Labelled
from shiftless.training.scenesource import KeptScenes, ReadScenes, SceneSource, in_memory, picture_of
from shiftless.tuning.scenes import TunedScenes
from shiftless.tuning.tuning import Tuning

KEEP = ("memory", "disk", "no")
"""Where features are kept: "no" reads the views of photos anew in every step."""


def scene_source(
    reader: Reader,
    labelled: Sequence[Labelled],
    classes: int,
    unscored: Sequence[int] = (),
    *,
    keep: str = "no",
    side: int,
    stride: int | None = None,
    folder: Path | None = None,
    most_bytes: int = 8 * 2**30,
    learning: Tuning | None = None,
    progress: bool = True,
    **reading: Any,
) -> SceneSource:
    """Return labelled photos with their features, as `fit_scenes` takes them.

    classes       how many there are; `unscored` the numbers of those that are not scored
    keep          one of KEEP; features of a model that is in training cannot be kept
    side, stride  of views and windows, where features are not kept; a stride of None segments photos as a whole
    folder        of features on disk          most_bytes  of features in memory
    learning      what is tuned of the reader's model
    reading       `fill` and `batch`, as `shiftless.stream` takes them

    Raises BadInput for another `keep`, features over the limit, and as the source does.
    """
    if keep not in KEEP or (keep == "disk" and folder is None):
        raise BadInput(f"keep={keep!r}: must be one of {', '.join(KEEP)}, and a folder is needed for disk")
    if learning is not None:
        return TunedScenes(learning, reader.recipes, labelled, classes, side, unscored, stride=stride, **reading)
    if keep == "no":
        return ReadScenes(reader, labelled, classes, side, unscored, stride=stride, **reading)
    pictures = [picture_of(one) for one in labelled]
    if keep == "disk":
        assert folder is not None
        stored = store_buckets(folder, reader, pictures, progress=progress, **reading)
        return KeptScenes(labelled, stored, classes, unscored)
    read = stream_together([reader], pictures, dtype=None, progress=progress, **reading)
    return KeptScenes(labelled, in_memory((one for (one,) in read), len(labelled), most_bytes), classes, unscored)


def usual_side(source: Any) -> int:
    """Return the pixels of a view of features that are kept: the shorter side of a photo as it was read, in whole cells
    of the coarsest level."""
    stride = int(source.levels.strides[-1])
    return max(stride, min(source.fed) // stride * stride)
