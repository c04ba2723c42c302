"""bench ade20k, cityscapes and scenes: standard segmentation on published sets, and on labelled photos of one's own."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shiftless.backbones.clip_folder import open_clip
from shiftless.bench.colours import Coloured, coloured_scenes
from shiftless.bench.parts import COLOURS, COMMONEST, check_classes, commonest
from shiftless.bench.published import published_scenes
from shiftless.bench.seeded import SCORES, about_of, scene_rows, seeded_scores
from shiftless.bench.table import Table, machine
from shiftless.bench.tuned import tuned_scores
from shiftless.bench.untrained import score_untrained
from shiftless.data.labelledphoto import LabelledPhotos
from shiftless.data.scenes import read_photos, read_scenes, scene_set, scene_set_at, splits_of
from shiftless.errors import BadInput
from shiftless.metrics.resplit import Split
from shiftless.progress import count
from shiftless.reading.together import Reader
from shiftless.segmenting.maskclip import MaskClip
from shiftless.tuning.published import Published
from shiftless.tuning.sources import scene_source, usual_side

STRIDE = 8
"""Pixels of a cell of colours and places, as of the finest level of Stable Diffusion that presets read."""
MASKCLIP = "MaskCLIP"


@dataclass(frozen=True, eq=False)
class SceneParts:
    """The labelled photos of a table.

    name        of the published set, "" for photos of one's own        title  for the table
    train, test      to learn from, and to be scored on
    validation  photos that choose the step to keep; None keeps the last, so that no test photo chooses
    """

    name: str
    title: str
    train: LabelledPhotos
    validation: LabelledPhotos | None
    test: LabelledPhotos


def scene_parts(data: str | os.PathLike[str], name: str | None = None) -> SceneParts:
    """Read the splits of a set: the labels of "test" are scored if they are published, and else those of "val".

    name  of a published set; by default the folder's layout tells which it is, or that it is none

    Raises BadInput as `read_scenes` and `read_labelled` do, and for splits that differ in their classes.

    >>> scene_parts("nowhere", "cityscapes")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: not laid out as Cityscapes, with leftImg8bit/ and gtFine/; ...
    """
    found = scene_set_at(data) if name is None else scene_set(name)

    def read(split: str) -> LabelledPhotos:
        return read_photos(data, split) if found is None else read_scenes(data, found.name, split)

    train = read("train")
    splits = splits_of(data) if found is None else tuple(found.splits)
    if not {"val", "test"} & {*splits}:
        raise BadInput(f"{data}: has the split train alone; put the photos to be scored into test, or val")
    held = read("val") if {"val", "test"} <= {*splits} else None
    test = read("test" if "test" in splits else "val")
    for part in (test, held):
        if part is not None:
            check_classes(train.classes, part, "training set")
    title = Path(data).resolve().name if found is None else found.title
    return SceneParts("" if found is None else found.name, title, train, held, test)


def run(
    reader: Reader,
    parts: SceneParts,
    how: Published,
    folder: Path,
    *,
    keep: str = "no",
    side: int | None = None,
    stride: int | None = None,
    seeds: int = 1,
    presets: Sequence[str] = (),
    colours: bool = True,
    clip: Path | None = None,
    most_bytes: int = 8 * 2**30,
    progress: bool = True,
    **reading: Any,
) -> Table:
    """Train a head of each seed on a set of labelled photos, and score it on others.

    reader   the model and its recipes
    how      published settings, or changed ones
    folder   of features and heads, which are made once; a run that was killed goes on
    keep     where features are kept, as `scene_source` takes it
    side     pixels of a view; by default those of the settings, or the shorter side of features that are kept
    stride   pixels between windows; by default that of the settings
    presets  names of the presets that were read: published numbers stand beside them
    colours  add a row of the same head on colours and places
    clip     folder of a CLIP, for a row of MaskCLIP, and for ODISE's settings
    reading  `fill` and `batch`, as `shiftless.stream` takes them

    Beside the model stands the class that is commonest at each place. Raises BadInput for masks that do not fit the
    classes, and for views that are larger than every photo.
    """
    began = time.perf_counter()
    train, held, test = parts.train, parts.validation, parts.test
    if how.tune is not None and keep != "no":
        raise BadInput(f"keep={keep}: features of a model that learns change, so none are kept; take keep=no")
    check_views(parts, side or (how.scenes.side if keep == "no" else 0))
    trivial = dict(enumerate(commonest(train, test, progress=progress)))  # tells of a wrong mask before any work
    settings = replace(how.scenes, side=side or how.scenes.side)
    stride = min(how.stride, settings.side) if stride is None else stride
    head: dict[str, Any] = {"decoder": how.head, "options": {"width": how.width, "order": how.order}}
    training: dict[str, Any] = {"seeds": seeds, "progress": progress, **head}
    heads, model = folder / "heads", reader.model
    options: dict[str, Any] = {"keep": keep, "side": settings.side, "stride": stride, "most_bytes": most_bytes}
    options |= {"folder": folder / "features", "progress": progress, **reading}
    sources = None
    if how.tune is None:
        sources = [
            None if part is None else scene_source(reader, part, len(part.classes), part.unscored, **options)
            for part in (train, held, test)
        ]
        if keep != "no" and side is None:
            settings = replace(settings, side=usual_side(sources[0]))
    counted: dict[str, list[Split]] = {COMMONEST: [trivial] * seeds}
    if colours:
        plain = [
            None if part is None else coloured_scenes(part, Coloured(part, settings.side, STRIDE))
            for part in (train, held, test)
        ]
        assert plain[0] is not None
        assert plain[2] is not None
        counted[COLOURS] = seeded_scores(
            plain[0], plain[2], train.classes, heads, settings, validation=plain[1], device=model.device, **training
        )
    opened = None if clip is None else open_clip(clip, model.device)
    if opened is not None:
        method = MaskClip(opened, train.classes)
        counted[MASKCLIP] = [dict(enumerate(score_untrained(method, test, progress=progress)))] * seeds
    ours = f"{model.spec.name}, {how.head} head{'' if how.tune is None else f', {how.tune.mode} tuned'}"
    if sources is None:
        assert how.tune is not None
        counted[ours] = tuned_scores(
            reader,
            train,
            test,
            heads,
            settings,
            how.tune,
            validation=held,
            stride=stride,
            clip=opened,
            **training,
            **reading,
        )
    else:
        assert sources[0] is not None
        assert sources[2] is not None
        counted[ours] = seeded_scores(
            sources[0], sources[2], train.classes, heads, settings, validation=sources[1], device=model.device,
            **training,
        )  # fmt: skip
    known = published_scenes(parts.name, (*presets, *(["maskclip"] if clip is not None else [])))
    chosen = "the last step is scored" if held is None else f"{len(held)} to choose the step"
    windows = f"windows of {settings.side} pixels, {stride} apart" if keep == "no" else "photos read as a whole"
    notes = [
        f"{count(len(train), 'photo')} to learn from, {chosen}, {len(test)} to test; {count(seeds, 'seed')}",
        f"settings begin from {how.name} ({how.source}); {count(settings.steps, 'step')} of {settings.batch} views",
        f"{windows}; intervals resample photos and seeds together",
        *(published_note(row) for row in known),
        f"{time.perf_counter() - began:.0f} s",
    ]
    baseline = {COLOURS: counted[COLOURS]} if colours else {}
    rows = [
        row for name, splits in counted.items() for row in scene_rows(name, splits, baseline if name == ours else {})
    ]
    about = {**about_of(counted, test), "published": known, "settings": asdict(settings)}
    return Table(parts.title, model.spec.name, rows, machine(), notes, about)


def published_note(row: dict[str, Any]) -> str:
    """Say what was published for a preset.

    >>> published_note({"preset": "a", "mIoU": 0.4051, "aAcc": 0.8, "source": "a paper"})
    'published for a: mIoU 0.405, aAcc 0.800 (a paper; measured by others)'
    """
    scores = ", ".join(f"{name} {row[name]:.3f}" for name in SCORES if name in row)
    return f"published for {row['preset']}: {scores} ({row['source']}; measured by others)"


def check_views(parts: SceneParts, side: int) -> None:
    """Raise BadInput for views of more pixels than the longer side of every photo to learn from, or to test on."""
    for part in (parts.train, parts.test):
        largest = 0
        for one in part:
            largest = max(largest, *one.hw)
            if largest >= side:
                break
        else:
            raise BadInput(
                f"side={side}: a view is larger than every photo of {parts.title}, the largest of which has "
                f"{largest} pixels along its longer side; give at most that"
            )
