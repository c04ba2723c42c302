"""Scene heads of several seeds, trained and scored on the same photos, and the rows that they give."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from shiftless.backbones.device import choose_device
from shiftless.bench.table import Row
from shiftless.data.labelledphoto import LabelledPhotos
from shiftless.digest import digest_of
from shiftless.metrics.resplit import Score, Split, split_difference, split_interval, split_scores
from shiftless.metrics.segmentation import mean_iou, mean_of_accuracies, pixel_accuracy_of
from shiftless.progress import Progress
from shiftless.training.scenes import fit_scenes
from shiftless.training.scenesettings import SceneSettings
from shiftless.training.scenesource import SceneSource

SCORES: Mapping[str, Score] = {"mIoU": mean_iou, "aAcc": pixel_accuracy_of, "mAcc": mean_of_accuracies}
"""The scores of a table of scenes, by the names that papers give them."""
SPREAD = "std over seeds"
_MARK = 12  # letters of a digest in a folder's name


def seeded_scores(
    train: SceneSource,
    test: SceneSource,
    classes: Sequence[str],
    folder: Path,
    settings: SceneSettings,
    *,
    seeds: int,
    validation: SceneSource | None = None,
    decoder: str = "upernet",
    options: Mapping[str, Any] | None = None,
    device: Any = "auto",
    progress: bool | Progress = False,
) -> list[Split]:
    """Train a head of each seed, score it on the test photos, and return the counts of each: one Split a seed.

    folder      of the heads and their checkpoints; a head that is there, of the same features and settings, is not
                trained again
    validation  photos that choose the step to keep; None keeps the last
    progress    whether to show that of each head, or the Progress that whole heads are to be reported to

    Other arguments are those of `fit_scenes`, and so are the errors.
    """
    about = [train.source.to_list(), [one.to_dict() for one in train.recipes], train.levels.to_dict(), decoder]
    names = [train.names, None if validation is None else validation.names]
    counted: list[Split] = []
    for seed in range(seeds):
        here = replace(settings, seed=seed)
        place = folder / mark_of([about, names, dict(options or {}), asdict(here)])
        fitted = fit_scenes(
            train, classes, place, here, validation=validation, decoder=decoder, options=options, device=device,
            progress=progress is True,
        )  # fmt: skip
        counted.append(dict(enumerate(test.score(fitted.head.to(choose_device(device))))))
        if isinstance(progress, Progress):
            progress.advance()
    return counted


def mark_of(values: Any) -> str:
    """Return a short name that tells values, as JSON holds them, from others: of the folder of a head.

    >>> mark_of({"seed": 0}) == mark_of({"seed": 0}), mark_of({"seed": 0}) == mark_of({"seed": 1})
    (True, False)
    """
    return digest_of(json.dumps(values))[:_MARK]


def scene_rows(
    method: str, counted: Sequence[Split], against: Mapping[str, Sequence[Split]] | None = None
) -> list[Row]:
    """Return a method's rows: the mean of each score over its seeds, their deviation in mIoU, and gains in mIoU.

    counted  the counts of each test photo, one Split a seed
    against  other methods to compare with, of the same photos and as many seeds

    Intervals resample photos and seeds together, and gains are paired in both.

    >>> import numpy as np
    >>> from shiftless.metrics.segmentation import Confusion
    >>> right, half = (Confusion(2).add(np.array([[0, 1]]), np.array([[0, found]])) for found in (1, 0))
    >>> rows = scene_rows("ours", [{0: right}], {"theirs": [{0: half}]})
    >>> [(row.metric, round(row.value, 2)) for row in rows]
    [('mIoU', 1.0), ('aAcc', 1.0), ('mAcc', 1.0), ('std over seeds', 0.0), ('gain over theirs', 0.75)]
    """
    rows = [
        Row(method, name, float(split_scores(counted, score).mean()), split_interval(counted, score=score))
        for name, score in SCORES.items()
    ]
    scores = split_scores(counted)
    spread = float(scores.std(ddof=1)) if len(scores) > 1 else 0.0
    rows.append(Row(method, SPREAD, spread, (spread, spread)))
    for name, theirs in (against or {}).items():
        gain = split_difference(counted, theirs)
        rows.append(Row(method, f"gain over {name}", gain.value, (gain.low, gain.high)))
    return rows


def about_of(counted: Mapping[str, Sequence[Split]], pool: LabelledPhotos) -> dict[str, Any]:
    """Return each method's IoU of each class, over all test pictures of all splits: {"classes", "iou"}."""
    ious = {}
    for name, splits in counted.items():
        every = [one for split in splits for one in split.values()]
        whole = sum(every[1:], every[0])
        ious[name] = [None if np.isnan(iou) else round(float(iou), 4) for iou in whole.ious()]
    return {"classes": list(pool.classes), "iou": ious}
