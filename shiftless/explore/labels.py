"""Labels: painted strokes become masks, a pixel ensemble learns from them, and every photo gets its mask."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image

from shiftless.data.palette import class_colours
from shiftless.errors import BadInput
from shiftless.explore.readings import Readings
from shiftless.explore.strokes import ClassColours, Stroke, paint
from shiftless.explore.worker import Job, Step, Steps
from shiftless.tasks.labelnext import label_next
from shiftless.tasks.parts import Parts
from shiftless.tasks.pixelsample import UNLABELLED, LabelledBuckets, PixelSample
from shiftless.training.pixels import fit_pixels
from shiftless.view.palette import check_mask
from shiftless.view.segmentation import uncertainty_end

MEMBERS = 5
"""Classifiers that vote; half of the published ten, as a person waits for them."""
_BATCH, _STEPS, _PIXELS = 64, 300, 12_000  # pixels a step, about how many steps at least, pixels of all photos
_PATIENCE = 25
_SIDE = 160  # cells along the longer side that pixels are classified on
_MAP_SIDE = 256  # cells along the longer side of an uncertainty map that is kept
_SPOTS = 12  # areas along the longer side, of which the most uncertain one is where to paint next
_SUGGESTED = 3


@dataclass(frozen=True)
class Packed:
    """A mask H W uint8 in little memory.

    >>> Packed.of(np.zeros((500, 400), np.uint8)).mask().shape
    (500, 400)
    """

    hw: tuple[int, int]
    content: bytes = field(repr=False)

    @classmethod
    def of(cls, mask: np.ndarray) -> Packed:
        """Pack a mask H W uint8."""
        return cls((mask.shape[0], mask.shape[1]), zlib.compress(np.ascontiguousarray(mask).tobytes(), 1))

    def mask(self) -> np.ndarray:
        """Unpack it."""
        return np.frombuffer(zlib.decompress(self.content), np.uint8).reshape(self.hw).copy()


@dataclass(frozen=True)
class Labels:
    """A request: what was painted, and the column whose features are to learn it.

    strokes  of each photo that was painted on, by its number
    """

    classes: ClassColours
    strokes: Mapping[int, tuple[Stroke, ...]]
    column: int = 0


@dataclass(frozen=True, eq=False)
class PhotoAnswer:
    """What the ensemble says of one photo.

    uncertainty_map  h w float32, nats, its longer side 256 or less
    spot  (x, y) where it is least certain, original pixels
    uncertainty  the mean of the photo's, nats                areas  pixels of each class
    """

    mask: Packed
    uncertainty_map: np.ndarray
    spot: tuple[float, float]
    uncertainty: float
    areas: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class LabelAnswer:
    """Masks of all photos, by their numbers; which to paint on next; and how the fit went."""

    classes: ClassColours
    photos: Mapping[int, PhotoAnswer]
    paint_next: tuple[int, ...]
    steps: int
    seconds: float

    @property
    def end(self) -> float:
        """What the brightest colour of an uncertainty map stands for, in nats; one scale for all photos."""
        return uncertainty_end(*(one.uncertainty_map for one in self.photos.values()))


def painted(readings: Readings, labels: Labels, bases: Mapping[int, Packed]) -> dict[int, np.ndarray]:
    """Return the mask of each photo that was painted on or has an imported mask: H W uint8, 255 where unlabelled.

    bases  imported masks; strokes are painted over them

    Raises BadInput for a class number that no class has.
    """
    masks: dict[int, np.ndarray] = {}
    for photo in sorted({*labels.strokes, *bases}):
        opened = readings.album.photo(photo)
        base = bases[photo].mask() if photo in bases else np.full(opened.hw, UNLABELLED, np.uint8)
        mask = paint(base, labels.strokes.get(photo, ()))
        if (mask != UNLABELLED).any():
            masks[photo] = check_mask(mask, len(labels.classes.names), opened.hw, opened.name)
    return masks


def fit_labels(readings: Readings, labels: Labels, bases: Mapping[int, Packed], job: Job) -> Steps:
    """Fit an ensemble on what was painted and segment every photo of the album with it; returns a LabelAnswer.

    A photo that cannot be opened is left out. Raises BadInput where fewer than two classes are painted, naming what is
    missing.
    """
    album, recipes = readings.album, readings.column(labels.column).recipes
    masks = painted(readings, labels, bases)
    there = {int(label) for mask in masks.values() for label in np.unique(mask) if label != UNLABELLED}
    if len(there) < 2:
        missing = [name for number, name in enumerate(labels.classes.names) if number not in there]
        raise BadInput(f"paint at least two classes; nothing is painted as {', '.join(missing[:4])} yet")
    if len(masks) > album.limits.labelled:
        raise BadInput(f"{len(masks)} photos are painted on; a fit takes at most {album.limits.labelled}")
    total = len(masks) + 1 + len(album)
    for done, photo in enumerate(masks, 1):
        readings.read(photo, recipes, job.check)
        yield Step(done, total, "reading")
    began = time.perf_counter()
    rows = (
        LabelledBuckets([readings.read(photo, recipes, job.check).bucket], mask, f"{photo}: {album.entry(photo).name}")
        for photo, mask in masks.items()
    )
    each = min(1500, max(64, _PIXELS // len(masks)))
    sample = PixelSample.gather(rows, len(masks), per_photo=each, smallest=1)
    epochs = max(2, -(-_STEPS // -(-len(sample) // _BATCH)))
    fitted = fit_pixels(
        sample, labels.classes.names, members=MEMBERS, batch=_BATCH, epochs=epochs // 2, patience=_PATIENCE,
        most_epochs=epochs, recipes=recipes,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    yield Step(len(masks) + 1, total, "segmenting")
    answers: dict[int, PhotoAnswer] = {}
    vectors: dict[int, np.ndarray] = {}
    for photo in range(len(album)):
        try:
            read = readings.read(photo, recipes, job.check)
        except BadInput:
            continue
        parts = fitted.head.predict([read.bucket], side=_SIDE)
        answers[photo] = _answer(parts, len(labels.classes.names))
        vectors[photo] = parts.descriptor
        yield Step(len(masks) + 2 + photo, total, "segmenting")
    following = _next(answers, vectors, list(masks))
    return LabelAnswer(labels.classes, answers, following, max(fitted.steps), seconds)


def uncertainty_png(uncertainty_map: np.ndarray, end: float) -> bytes:
    """Draw an uncertainty map h w as a PNG to lay over the photo: clear where certain, glowing where not.

    >>> uncertainty_png(np.eye(8, dtype=np.float32), 0.5)[1:4]
    b'PNG'
    """
    levels = np.rint(np.clip(uncertainty_map / end, 0, 1) * 255).astype(np.uint8)
    glow = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    out = io.BytesIO()
    Image.fromarray(
        np.ascontiguousarray(np.dstack([glow, 64 + (levels.astype(np.uint16) * 3) // 4]).astype(np.uint8))
    ).save(out, "PNG", compress_level=1)
    return out.getvalue()


def colours_for(names: Sequence[str]) -> ClassColours:
    """Give classes without colours those of the package's own palette.

    >>> colours_for(["background", "leg"]).palette[0]
    (60, 60, 60)
    """
    colours = class_colours(list(names)).tolist()
    return ClassColours(tuple(names), tuple((int(r), int(g), int(b)) for r, g, b in colours))


def _answer(parts: Parts, classes: int) -> PhotoAnswer:
    h, w = parts.mask.shape
    uncertainty_map = _area(parts.uncertainty, _MAP_SIDE)
    coarse = _area(uncertainty_map, _SPOTS)
    row, column = np.unravel_index(int(coarse.argmax()), coarse.shape)
    spot = (float((column + 0.5) * w / coarse.shape[1]), float((row + 0.5) * h / coarse.shape[0]))
    areas = tuple(int(n) for n in parts.areas(classes))
    return PhotoAnswer(Packed.of(parts.mask), uncertainty_map, spot, float(parts.uncertainty.mean()), areas)


def _area(values: np.ndarray, side: int) -> np.ndarray:
    """A map with at most `side` cells along its longer side, by the mean of what each covers."""
    h, w = values.shape
    scale = min(1.0, side / max(h, w))
    size = max(1, round(w * scale)), max(1, round(h * scale))
    return np.asarray(values if scale == 1 else cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def _next(
    answers: Mapping[int, PhotoAnswer], vectors: Mapping[int, np.ndarray], known: Sequence[int]
) -> tuple[int, ...]:
    """The numbers of the photos to paint on next: uncertain ones that differ from those painted on."""
    left = [photo for photo in answers if photo not in known]
    if not left:
        return ()
    labelled = [vectors[photo] for photo in known if photo in vectors]
    chosen = label_next(
        [f"{photo:06d}" for photo in left], [answers[photo].uncertainty for photo in left],
        np.stack([vectors[photo] for photo in left]), _SUGGESTED,
        labelled=np.stack(labelled) if labelled else None,
    )  # fmt: skip
    return tuple(int(one.name) for one in chosen)
