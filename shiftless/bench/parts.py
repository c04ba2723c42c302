"""Parts from a few labels: read labelled photos, fit a pixel ensemble on them, and score it on others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.bench.table import Row, Table, machine
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.errors import BadInput
from shiftless.features import Bucket, FeatureMaps
from shiftless.header import Origin
from shiftless.image import Frame, Photo, open_photo
from shiftless.metrics.bootstrap import interval
from shiftless.metrics.segmentation import Confusion, mean_of_accuracies, miou_difference, miou_interval
from shiftless.progress import count, reporting
from shiftless.reading.together import Reader, stream_together
from shiftless.taps.names import Tap
from shiftless.tasks.parts import Parts
from shiftless.tasks.pixels import PixelEnsemble
from shiftless.tasks.pixelsample import LabelledBuckets, PixelSample
from shiftless.training.pixels import FittedPixels, fit_pixels

COLOUR = "colour and position"
COMMONEST, COLOURS = "trivial: the class that is commonest there", f"trivial: {COLOUR}"
COLOUR_SIDE = 128  # cells along the longer side
MIOU, PIXELS, MEAN = "mIoU", "pixel accuracy", "mean accuracy"


def read_labelled_photos(
    readers: Sequence[Reader], labelled: LabelledPhotos, **reading: Any
) -> Iterator[LabelledBuckets]:
    """Yield each labelled photo with its buckets, as a PixelSample takes them; `reading` is for `stream_together`."""
    pictures = [_picture(one) for one in labelled]
    for one, buckets in zip(labelled, stream_together(readers, pictures, **reading), strict=True):
        yield LabelledBuckets(buckets, one.mask(), one.name)


def colour_and_position(photo: Photo, side: int = COLOUR_SIDE) -> FeatureMaps:
    """Return what needs no model as features of a photo: its colours, 3 channels, and where they are, 2 channels.

    A head on these shows what a dataset gives away by colour and layout alone.

    >>> colour_and_position(open_photo(np.zeros((40, 60, 3), np.uint8)))
    FeatureMaps(image, 60x40 pixels read as 60x40: colour 3x40x60 stride 1 · position 2x40x60 stride 1)
    """
    h, w = photo.hw
    scale = min(1.0, side / max(h, w))
    grid = max(1, round(h * scale)), max(1, round(w * scale))
    pixels = torch.from_numpy(photo.array.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    ys, xs = ((torch.arange(n) + 0.5) / n * 2 - 1 for n in grid)
    position = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1])[None]
    maps = {"colour": F.interpolate(pixels, grid, mode="area"), "position": position}
    stride = max(1, round(1 / scale))
    taps = {name: Tap(name, int(value.shape[1]), stride, "") for name, value in maps.items()}
    return FeatureMaps(maps, taps, Frame((h, w), (h, w)), name=photo.name, origin=Origin(photo.digest, COLOUR, COLOUR))


def read_colours(labelled: LabelledPhotos) -> Iterator[LabelledBuckets]:
    """Yield each labelled photo with its colours and positions as its only bucket."""
    for one in labelled:
        photo = open_photo(_picture(one), one.name)
        yield LabelledBuckets([Bucket((colour_and_position(photo),))], one.mask(), one.name)


def fit_parts(
    rows: Iterator[LabelledBuckets], labelled: LabelledPhotos, *, sample: dict[str, Any] | None = None, **training: Any
) -> tuple[FittedPixels, PixelSample]:
    """Fit an ensemble on labelled photos as they are read; `sample` is for `PixelSample.gather`, the rest for training.

    Labels that are not scored are learned too: where they are, no other class is.
    """
    kept = PixelSample.gather(rows, len(labelled), **(sample or {}))
    palette = labelled.palette[: len(labelled.classes)].tolist()
    return fit_pixels(kept, labelled.classes, palette=palette, **training), kept


def score_parts(
    head: PixelEnsemble,
    rows: Iterator[LabelledBuckets],
    labelled: LabelledPhotos,
    *,
    side: int | None = 256,
    each: Callable[[LabelledPhoto, np.ndarray, Parts], object] | None = None,
) -> list[Confusion]:
    """Predict each labelled photo at the size of its mask, and count its pixels: one Confusion a photo.

    each  called with every photo, its mask and its parts
    """
    counted = []
    for one, (buckets, mask, _) in zip(labelled, rows):
        parts = head.predict(buckets, side=side, size=mask.shape)
        if each is not None:
            each(one, mask, parts)
        counted.append(Confusion(len(labelled.classes), labelled.unscored).add(mask, parts.mask))
    return counted


def commonest(train: LabelledPhotos, test: LabelledPhotos, *, progress: bool = False) -> list[Confusion]:
    """Score what needs no features: at each place, the class that most training masks show there."""
    with reporting(progress, "reading masks", len(train) + len(test), "mask") as report:
        best = _commonest(train, report)
        return _counted(best, test, report)


def _commonest(train: LabelledPhotos, report: Callable[..., object]) -> np.ndarray:
    """The class of each place that most masks show there."""
    side, n = 64, len(train.classes)
    votes = np.zeros((n, side, side))
    for one in train:
        mask = one.mask()
        ys, xs = ((np.arange(side) + 0.5) / side * length for length in mask.shape)
        small = mask[ys.astype(int)][:, xs.astype(int)]
        votes += small == np.arange(n)[:, None, None]
        report(1)
    result: np.ndarray = votes.argmax(0)
    return result


def _counted(best: np.ndarray, test: LabelledPhotos, report: Callable[..., object]) -> list[Confusion]:
    """Each photo's counts of an answer that is the same for all, on a square grid."""
    side, n, counted = len(best), len(test.classes), []
    for one in test:
        mask = one.mask()
        ys, xs = ((np.arange(length) + 0.5) / length * side for length in mask.shape)
        counted.append(Confusion(n, test.unscored).add(mask, best[ys.astype(int)][:, xs.astype(int)].astype(np.uint8)))
        report(1)
    return counted


def without_model(
    train: LabelledPhotos, test: LabelledPhotos, *, side: int | None = 256, **training: Any
) -> Iterator[tuple[str, list[Confusion]]]:
    """Yield (name, the counts of each test photo) of what needs no model, learned from the training photos."""
    yield COMMONEST, commonest(train, test)
    fitted, _ = fit_parts(read_colours(train), train, **training)
    yield COLOURS, score_parts(fitted.head, read_colours(test), test, side=side)


def rows_of(method: str, counted: Sequence[Confusion]) -> list[Row]:
    """Return a method's rows: mIoU, pixel accuracy and mean accuracy of all photos, with intervals over photos.

    >>> counted = [Confusion(2).add(np.array([[0, 1]]), np.array([[0, found]])) for found in (1, 0)]
    >>> [(row.metric, round(row.value, 3)) for row in rows_of("a head", counted)]
    [('mIoU', 0.583), ('pixel accuracy', 0.75), ('mean accuracy', 0.75)]
    """
    whole = sum(counted[1:], counted[0])
    right, there = (np.array([one.totals()[i].sum() for one in counted], float) for i in (0, 1))
    scored = there > 0
    accuracy = interval(right[scored], there[scored]) if scored.any() else (float("nan"),) * 2
    return [
        Row(method, MIOU, whole.miou(), miou_interval(counted)),
        Row(method, PIXELS, whole.pixel_accuracy(), accuracy),
        Row(method, MEAN, whole.mean_accuracy(), miou_interval(counted, score=mean_of_accuracies)),
    ]


def gain_of(method: str, ours: Sequence[Confusion], theirs: Sequence[Confusion]) -> Row:
    """Return the row of a paired difference of mIoU, resampled over photos."""
    gain = miou_difference(ours, theirs)
    return Row(method, f"gain in {MIOU}", gain.value, (gain.low, gain.high))


def run(
    head: PixelEnsemble,
    readers: Sequence[Reader],
    labelled: LabelledPhotos,
    *,
    name: str = "segment",
    side: int | None = 256,
    notes: Sequence[str] = (),
    each: Callable[[LabelledPhoto, np.ndarray, Parts], object] | None = None,
    **reading: Any,
) -> tuple[Table, list[Confusion]]:
    """Score a head on labelled photos: (table, the counts of each photo); `each` as in `score_parts`.

    Raises BadInput for photos whose classes are not the head's.
    """
    check_classes(head.classes, labelled)
    counted = score_parts(head, read_labelled_photos(readers, labelled, **reading), labelled, side=side, each=each)
    models = " and ".join(reader.model.spec.name for reader in readers)
    return table_of(f"{head.members} classifiers", models, counted, labelled, name=name, notes=notes), counted


def table_of(
    method: str,
    model: str,
    counted: Sequence[Confusion],
    labelled: LabelledPhotos,
    *,
    name: str = "segment",
    notes: Sequence[str] = (),
) -> Table:
    """Return the table of a method's counts: its rows, each class's IoU and the confusion matrix."""
    whole = sum(counted[1:], counted[0])
    ious = {one: float(iou) for one, iou in zip(labelled.classes, whole.ious())}
    absent = sum(np.isnan(iou) for iou in ious.values()) - len(labelled.unscored)
    notes = [f"{count(len(labelled), 'photo')}; intervals are over photos", *notes]
    if absent:
        notes.append(f"{count(absent, 'class')} neither labelled nor found in these photos, and left out of the mean")
    about = {"classes": list(labelled.classes), "iou": {k: None if np.isnan(v) else v for k, v in ious.items()}}
    about |= {"confusion": whole.counts.tolist()}
    return Table(name, model, rows_of(method, counted), machine(), notes, about)


def check_classes(classes: Sequence[str], labelled: LabelledPhotos, what: str = "head") -> None:
    """Raise BadInput for photos whose classes are not those of a head, or of what else is named."""
    if tuple(labelled.classes) != tuple(classes):
        raise BadInput(
            f"the photos are labelled with {_some(labelled.classes)} and the {what} knows {_some(classes)}; "
            f"give photos labelled with the {what}'s classes, in its order"
        )


def _picture(one: LabelledPhoto) -> Any:
    return open_photo(one.photo, one.name) if isinstance(one.photo, np.ndarray) else one.photo


def _some(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:4])}{' ...' if len(names) > 4 else ''})"
