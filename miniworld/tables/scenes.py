"""bench mini-scenes and mini-streets: what every pixel shows, GATE's Table 2 in miniature."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from miniworld.tables.labelled_pictures import labelled_pictures
from miniworld.tables.scene_methods import (
    BASELINE,
    HEAD,
    MAE_RECIPE,
    METHODS,
    MODELS,
    SETTINGS,
    TAPS,
    TIMESTEP,
    SceneMethod,
    readings_of,
)
from shiftless import mini
from shiftless.backbones.base import Backbone
from shiftless.backbones.registry import load
from shiftless.bench.colours import Coloured, coloured_scenes
from shiftless.bench.parts import COLOURS, COMMONEST, commonest
from shiftless.bench.seeded import about_of, scene_rows, seeded_scores
from shiftless.bench.table import Row, Table, machine
from shiftless.data.labelledphoto import LabelledPhotos
from shiftless.errors import BadInput
from shiftless.features import Bucket
from shiftless.image import open_photo
from shiftless.metrics.resplit import Split, split_interval, split_scores
from shiftless.progress import Progress, count
from shiftless.reading.available import available
from shiftless.reading.together import Reader
from shiftless.store.buckets import store_buckets
from shiftless.training.scenesettings import SceneSettings
from shiftless.training.scenesource import KeptScenes, in_memory

SIZES = (400, 100, 100)
"""Pictures that heads learn from, that choose the step to keep, and that rows are scored on."""
SEEDS = 3
MEMORY = 6 * 2**30
"""The most bytes of features that one row keeps in main memory."""
CELLS = (128, 4)  # pixels of a picture, and of a cell of colours, as of the finest features
CHOICES: Mapping[str, tuple[int, tuple[str, ...], dict[str, Any], dict[str, Any]]] = {
    # a reading, changes of the settings, and changes of the head
    **{f"t={t}": (t, TAPS, {}, {}) for t in (20, 50, 100, 200)},
    **{"+".join(taps): (TIMESTEP, taps, {}, {}) for taps in (("up0", "up1"), ("up1", "up2"))},
    "slower": (TIMESTEP, TAPS, {"lr": 1e-3, "least_lr": 1e-5}, {}),
    "without Lovász": (TIMESTEP, TAPS, {"lovasz": 0.0}, {}),
    "linear": (TIMESTEP, TAPS, {}, {"decoder": "linear"}),
    "UPerNet": (TIMESTEP, TAPS, {}, {"decoder": "upernet"}),
}
"""What `--choose` tries: one change at a time."""
Kept = Sequence[KeptScenes]


@dataclass(frozen=True, eq=False)
class ScenePictures:
    """The labelled pictures of a table: to learn from, to validate on, and to test on."""

    train: LabelledPhotos
    val: LabelledPhotos
    test: LabelledPhotos

    @classmethod
    def drawn(cls, name: str, sizes: tuple[int, int, int] = SIZES) -> ScenePictures:
        """Draw them; `name` is "scenes" or "streets".

        >>> [len(part) for part in ScenePictures.drawn("scenes", (2, 1, 1)).parts]
        [2, 1, 1]
        """
        names = ("scenes train", "scenes val", "scenes test")
        return cls(*(labelled_pictures(name, split, n) for split, n in zip(names, sizes)))

    @property
    def parts(self) -> tuple[LabelledPhotos, LabelledPhotos, LabelledPhotos]:
        """All three."""
        return self.train, self.val, self.test


Other = Callable[[ScenePictures, int], list[Split]]
"""A row of another kind: of the pictures and the number of seeds, the counts of each test picture for each seed."""


def run(
    model: Backbone,
    name: str,
    keep: Path,
    *,
    sizes: tuple[int, int, int] = SIZES,
    seeds: int = SEEDS,
    methods: Sequence[SceneMethod] = METHODS,
    others: Mapping[str, Other] | None = None,
    settings: SceneSettings = SETTINGS,
    head: Mapping[str, Any] = HEAD,
    batch: int | None = None,
    notes: Sequence[str] = (),
    progress: bool = True,
) -> Table:
    """Train every method's heads, one for each seed, and score them on pictures that nothing else was done with.

    name    "scenes" (16 classes) or "streets" (the 19 of Cityscapes)
    keep    folder of features and heads, which are made once
    others  further rows, by name: what a SceneHead cannot say, such as a model that is tuned or that knows words
    notes   what else the table should say

    A row whose ControlNet, LoRA, captioner or model is not at hand is left out and named in the notes. Raises BadInput
    for another name.
    """
    began = time.perf_counter()
    check(name)
    pictures = ScenePictures.drawn(name, sizes)
    beside = {key: load(place) for key, place in MODELS.items() if place in mini.embedded()}
    own = available(model, readings_of())
    chosen = [m for m in methods if all(key in own or key in beside for key in m.readings)]
    counted: dict[str, list[Split]] = {}
    counted[COMMONEST] = [dict(enumerate(commonest(pictures.train, pictures.test)))] * seeds
    fits = seeds * (len(chosen) + 1)
    how: dict[str, Any] = {"seeds": seeds, "device": model.device, **head}
    classes, heads = pictures.train.classes, keep / "heads"
    readers = {key: (model, recipe) for key, recipe in own.items()}
    readers |= {key: (other, MAE_RECIPE) for key, other in beside.items()}
    with Progress(f"fitting {count(fits, 'head')}", fits, "head") as bar:
        train, val, test = (coloured_scenes(part, list(Coloured(part, *CELLS))) for part in pictures.parts)
        counted[COLOURS] = seeded_scores(train, test, classes, heads, settings, validation=val, progress=bar, **how)
        for method in chosen:
            readings = [readers[key] for key in method.readings]
            train, val, test = kept_scenes(readings, pictures, keep / "features", batch, progress)
            options = {**how, "options": {**how["options"], "gated": method.gated}}
            counted[method.name] = seeded_scores(
                train, test, classes, heads, settings, validation=val, progress=bar, **options
            )
    for other, scores in (others or {}).items():
        counted[other] = scores(pictures, seeds)
    notes = [
        f"{sizes[0]} pictures to learn from, {sizes[1]} to choose the step, {sizes[2]} to test; {count(seeds, 'seed')}",
        "no model had seen these pictures; intervals resample pictures and seeds together; gains are paired",
        *notes,
    ]
    left = [m.name for m in methods if m not in chosen]
    if left:
        notes.append(f"left out, as parts or models are not at hand: {'; '.join(left)}")
    notes.append(f"{time.perf_counter() - began:.0f} s")
    return Table(f"mini-{name}", model.spec.name, rows_of(counted), machine(), notes, about_of(counted, pictures.test))


def choose(
    model: Backbone,
    name: str,
    keep: Path,
    *,
    sizes: tuple[int, int, int] = SIZES,
    settings: SceneSettings = SETTINGS,
    choices: Sequence[str] = tuple(CHOICES),
    batch: int | None = None,
    progress: bool = True,
) -> Table:
    """Score the baseline with one setting changed at a time, on the pictures for validation: none is tested on.

    Heads are scored at their last step. The best change is named in the notes.
    """
    began = time.perf_counter()
    check(name)
    pictures = ScenePictures.drawn(name, (*sizes[:2], 1))
    scores: dict[str, list[Split]] = {}
    with Progress(f"fitting {count(len(choices), 'head')}", len(choices), "head") as bar:
        for what in choices:
            timestep, taps, changed, other = CHOICES[what]
            recipe = readings_of(timestep, taps)["base0"]
            train, val, _ = kept_scenes([(model, recipe)], pictures, keep / "features", batch, progress)
            scores[what] = seeded_scores(
                train, val, pictures.train.classes, keep / "heads", replace(settings, **changed), seeds=1,
                device=model.device, progress=bar, **{**HEAD, **other},
            )  # fmt: skip
    rows = [Row(what, "mIoU", float(split_scores(s).mean()), split_interval(s)) for what, s in scores.items()]
    best = max(rows, key=lambda row: row.value)
    notes = [
        f"{sizes[0]} pictures to learn from, scored on {sizes[1]} that no table scores; one seed",
        f"best: {best.method}",
        f"{time.perf_counter() - began:.0f} s",
    ]
    return Table(f"mini-{name} --choose", model.spec.name, rows, machine(), notes)


def rows_of(counted: Mapping[str, Sequence[Split]]) -> list[Row]:
    """Return the rows of all methods, each with its gain over the baseline where there is one."""
    baseline = {BASELINE: counted[BASELINE]} if BASELINE in counted else {}
    rows = []
    for name, splits in counted.items():
        rows += scene_rows(name, splits, {} if name == BASELINE else baseline)
    return rows


def kept_scenes(
    readings: Sequence[tuple[Backbone, Any]],
    pictures: ScenePictures,
    folder: Path,
    batch: int | None = None,
    progress: bool = False,
) -> list[KeptScenes]:
    """Read the pictures by each (model, recipe), but for what the folder holds, and return all three parts of them."""
    sources = []
    for labelled in pictures.parts:
        photos = [open_photo(one.photo, one.name) for one in labelled]
        columns = [
            store_buckets(folder, Reader(model, (recipe,)), photos, batch=batch, progress=progress)
            for model, recipe in readings
        ]
        merged = (Bucket(tuple(maps for bucket in row for maps in bucket)) for row in zip(*columns))
        kept = in_memory(merged, len(photos), MEMORY)
        sources.append(KeptScenes(labelled, kept, len(labelled.classes), labelled.unscored))
    return sources


def check(name: str) -> None:
    """Raise BadInput for a table of another name."""
    if name not in ("scenes", "streets"):
        raise BadInput(f"table {name!r}: must be one of scenes, streets")
