"""bench mini-parts and mini-rooms: parts from 30 labels, the right half of GATE's Table 1 in miniature."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from miniworld.tables.dataset_ddpm import Generated, distilled, generated
from miniworld.tables.gan_features import DATASET_GAN, INVERSION, GanReader
from miniworld.tables.labelled_pictures import labelled_pictures
from miniworld.tables.part_methods import BASELINE, CHOSEN, DDPM, METHODS, MODELS, PartMethod, readings_of
from shiftless import mini
from shiftless.backbones.base import Backbone
from shiftless.backbones.registry import load
from shiftless.bench.parts import COLOURS, fit_parts, score_parts, without_model
from shiftless.bench.scarce import split_rows
from shiftless.bench.seeded import about_of
from shiftless.bench.table import Row, Table, machine
from shiftless.data.labelledphoto import LabelledPhotos
from shiftless.data.scarce import dealt
from shiftless.features import Bucket
from shiftless.image import open_photo
from shiftless.metrics.resplit import Split, split_difference
from shiftless.progress import Progress, count, reporting
from shiftless.reading.available import available
from shiftless.reading.together import Reader, stream_together
from shiftless.recipe import Recipe
from shiftless.tasks.pixelsample import LabelledBuckets

SIZES = {"parts": (30, 30), "rooms": (40, 20)}
"""Training and test pictures of each split, as published for Horse-21 and Bedroom-28."""
SPLITS = 5
FITTING = {"members": 10, "hidden": 32}
SAMPLE = {"per_photo": 512, "balance": 0.5}
SIDE = 64
Buckets = Mapping[str, Sequence[Bucket]]
"""The buckets of each picture by the model that read them."""


def run(
    model: Backbone,
    name: str = "parts",
    *,
    splits: int = SPLITS,
    n: tuple[int, int] | None = None,
    methods: Sequence[PartMethod] = METHODS,
    loras: tuple[str, str] = ("photo-a", "photo-b"),
    batch: int | None = None,
    progress: bool = True,
    fitting: Mapping[str, Any] | None = None,
    gans: GanReader | None = None,
) -> Table:
    """Fit every method's ensemble on each split's training pictures, and score it on the split's test pictures.

    name    "parts" (horses with riders) or "rooms"
    splits  random splits of one pool of pictures; a row is the mean over them, with its standard deviation
    n       training and test pictures of a split; as published by default
    gans    reads the rows of GANs; by default with the embedded weights

    A row whose ControlNet, LoRA, captioner or model is not at hand is left out and named in the notes. Gains over the
    baseline and over the DDPM are paired, and their intervals resample splits and pictures together.
    """
    began = time.perf_counter()
    train, test = n or SIZES[name]
    pool = labelled_pictures(name, "parts", train + test)
    readings = {key for m in methods for key in (*m.readings, *m.joined)}
    recipes = available(model, {key: recipe for key, recipe in readings_of(name, loras).items() if key in readings})
    beside = {key: MODELS[key] for key in MODELS if any(key in m.models for m in methods)}
    others = {key: load(place) for key, place in beside.items() if place in mini.embedded()}
    gans = gans or GanReader()
    keys = gans.available(dict.fromkeys(key for m in methods for key in m.models))
    chosen = [m for m in methods if _possible(m, recipes, [*others, *keys])]
    read = {**_read(model, recipes, name, others, pool, batch, progress), **_read_gans(gans, keys, pool, progress)}
    counted: dict[str, list[Split]] = {}
    made: dict[str, Generated] = {}
    fits = splits * (len(chosen) + 1)
    with Progress(f"fitting {count(fits, 'ensemble')}", fits, "ensemble") as bar:
        for split in range(splits):
            parts = dealt(len(pool), train, test, split)
            here, there = (pool.but([pool.photos[i] for i in part]) for part in parts)
            options: dict[str, Any] = {"sample": {**SAMPLE, "seed": split}, "seed": split, **FITTING, **(fitting or {})}
            for trivial, found in without_model(here, there, side=SIDE, **options):
                counted.setdefault(trivial, []).append(dict(zip(parts[1], found)))
            bar.advance(text=f"split {split + 1}: {COLOURS}")
            for method in chosen:
                rows = [_labelled(method, read, list(recipes), pool, part) for part in parts]
                fitted, _ = fit_parts(iter(rows[0]), here, **options)
                if method.distilled:
                    (key,) = method.models
                    if key not in made:
                        made[key] = gans.generate(name) if key in keys else generated(others[key], CHOSEN[name][key])
                    found = distilled(made[key], fitted.head, there, side=SIDE, seed=split)
                else:
                    found = score_parts(fitted.head, iter(rows[1]), there, side=SIDE)
                counted.setdefault(method.name, []).append(dict(zip(parts[1], found)))
                bar.advance(text=f"split {split + 1}: {method.name}")
    notes = [f"{count(splits, 'split')} of {len(pool)} pictures: {train} to learn from, {test} to test"]
    notes.append(
        "no model was trained on these pictures; intervals resample splits and pictures together; gains are paired"
    )
    if any(m.distilled and m.models == (INVERSION,) for m in chosen):
        notes.append(DATASET_GAN)
    left = [m.name for m in methods if m not in chosen]
    if left:
        notes.append(f"left out, as parts or models are not at hand: {'; '.join(left)}")
    notes.append(f"{time.perf_counter() - began:.0f} s")
    return Table(f"mini-{name}", model.spec.name, rows_of(counted), machine(), notes, about_of(counted, pool))


def rows_of(counted: Mapping[str, Sequence[Split]]) -> list[Row]:
    """Return each method's rows: mean mIoU, its deviation over splits, and its gains over the baseline and the DDPM."""
    rows = []
    for name, splits in counted.items():
        rows += split_rows(name, splits)
        for against in (BASELINE, DDPM):
            if against in counted and name != against:
                gain = split_difference(splits, counted[against])
                rows.append(Row(name, f"gain over {against}", gain.value, (gain.low, gain.high)))
    return rows


def class_table(table: Table) -> Any:
    """Return a printable table of each method's IoU of each class."""
    from rich import box
    from rich.table import Table as Printable

    ious: dict[str, list[float | None]] = table.about["iou"]
    shown = Printable(box=box.SIMPLE_HEAD, title="IoU of each class, over all splits", title_justify="left")
    shown.add_column("class")
    for method in ious:
        shown.add_column(method, justify="right", overflow="fold")
    for i, name in enumerate(table.about["classes"]):
        if any(values[i] is not None for values in ious.values()):
            shown.add_row(name, *("" if (value := values[i]) is None else f"{value:.3f}" for values in ious.values()))
    return shown


def _read(
    model: Backbone,
    recipes: Mapping[str, Recipe],
    name: str,
    others: Mapping[str, Backbone],
    pool: LabelledPhotos,
    batch: int | None,
    progress: bool,
) -> Buckets:
    """Read every picture once with every model; kept in half precision."""
    readers = {"": Reader(model, tuple(recipes.values()))} if recipes else {}
    readers |= {key: Reader(other, (CHOSEN[name][key],)) for key, other in others.items()}
    if not readers:
        return {}
    pictures = [one.photo for one in pool]
    read: dict[str, list[Bucket]] = {key: [] for key in readers}
    for buckets in stream_together(list(readers.values()), pictures, batch=batch, dtype="bf16", progress=progress):
        for key, bucket in zip(readers, buckets):
            read[key].append(bucket)
    return read


def _read_gans(gans: GanReader, keys: Sequence[str], pool: LabelledPhotos, progress: bool) -> Buckets:
    """Read every picture by each way of reading GANs that is asked for."""
    photos = [open_photo(one.photo, one.name) for one in pool]
    doing = f"reading {count(len(pool), 'photo')} with GANs"
    with reporting(progress and bool(keys), doing, len(keys) * len(photos), "photo") as report:
        return {key: gans.read(key, photos, report) for key in keys}


def _labelled(
    method: PartMethod, read: Buckets, keys: Sequence[str], pool: LabelledPhotos, part: Sequence[int]
) -> list[LabelledBuckets]:
    """The pictures of a part of the pool, with the buckets that a method takes."""
    rows = []
    for i in part:
        buckets = [read[key][i] for key in method.models]
        if method.readings:
            names = (*method.readings, *method.joined)
            buckets.insert(0, Bucket(tuple(read[""][i][keys.index(one)] for one in names)))
        rows.append(LabelledBuckets(buckets, pool[i].mask(), pool[i].name))
    return rows


def _possible(method: PartMethod, recipes: Mapping[str, Recipe], others: Sequence[str]) -> bool:
    names = (*method.readings, *method.joined)
    return all(name in recipes for name in names) and all(key in others for key in method.models)
