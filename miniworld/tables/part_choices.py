"""The settings of the tables of parts, chosen on pictures that no row is scored on: `bench mini-parts --choose`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from miniworld.tables.labelled_pictures import labelled_pictures
from miniworld.tables.part_methods import MODELS, OTHERS, SIMPLE
from miniworld.tables.parts import FITTING, SAMPLE, SIDE, SIZES
from shiftless import mini
from shiftless.backbones.base import Backbone
from shiftless.backbones.registry import load
from shiftless.bench.parts import fit_parts, score_parts
from shiftless.bench.table import Row, Table, machine
from shiftless.data.labelledphoto import LabelledPhotos
from shiftless.data.scarce import dealt
from shiftless.features import Bucket
from shiftless.metrics.resplit import Split, split_interval, split_scores
from shiftless.progress import Progress, count
from shiftless.reading.together import Reader, stream_together
from shiftless.recipe import Recipe
from shiftless.tasks.pixelsample import LabelledBuckets

SPLITS = 2
TIMESTEPS = (20, 50, 100, 200, 300)
TAPS = (("up0",), ("up1",), ("up0", "up1"), ("up0", "up1", "up2"), ("mid", "up0", "up1", "up2"))
FITS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as they are": ({"balance": 0.0}, {}),
    "equal classes": ({"balance": 1.0}, {}),
    "raw channels": ({}, {"standardise": False}),
    "wider, 256 and 128": ({}, {"layers": (256, 128)}),
    "twice the pixels": ({"per_photo": 2 * SAMPLE["per_photo"]}, {}),
}
"""Changes of how pixels are drawn, and of how classifiers are fitted, tried at the best reading."""


def candidates(name: str) -> dict[str, tuple[str, Recipe]]:
    """Return every reading that is tried: what it is -> (the key of its model, its recipe).

    >>> candidates("parts")["t=100 up0+up1"][1].taps
    ('up0', 'up1')
    """
    tried: dict[str, tuple[str, Recipe]] = {}
    for t in TIMESTEPS:
        for taps in TAPS:
            tried[f"t={t} {'+'.join(taps)}"] = "", Recipe(timestep=t, taps=taps, prompt=SIMPLE[name])
    for key, recipes in OTHERS.items():
        tried |= {f"{MODELS[key]} {recipe.label}": (key, recipe) for recipe in recipes}
    return tried


def choose(model: Backbone, name: str, *, batch: int | None = None, progress: bool = True) -> Table:
    """Score every candidate on two splits of pictures set aside for choosing: readings first, then ways to fit.

    The best of each model is named in the notes. Models that are not at hand are left out.
    """
    began = time.perf_counter()
    train, test = SIZES[name]
    pool = labelled_pictures(name, "parts choice", train + test)
    others = {key: load(place) for key, place in MODELS.items() if place in mini.embedded()}
    models = {"": model, **others}
    tried = {what: one for what, one in candidates(name).items() if one[0] in models}
    read = _read(models, tried, pool, batch, progress)
    scores: dict[str, list[Split]] = {}
    fits = len(tried) + len(FITS)
    with Progress(f"fitting {count(fits * SPLITS, 'ensemble')}", fits * SPLITS, "ensemble") as bar:
        for what in tried:
            scores[what] = _scored(pool, read[what], train, test, {}, {})
            bar.advance(SPLITS, what)
        best = {key: _best({what: scores[what] for what in tried if tried[what][0] == key}) for key in models}
        for change, (sample, fitting) in FITS.items():
            scores[f"{best['']}, {change}"] = _scored(pool, read[best[""]], train, test, sample, fitting)
            bar.advance(SPLITS, change)
    rows = [Row(what, "mIoU", float(split_scores(s).mean()), split_interval(s)) for what, s in scores.items()]
    notes = [
        f"{count(SPLITS, 'split')} of {len(pool)} pictures that no table scores: {train} to learn from, {test} to test",
        *(f"best of {models[key].spec.name}: {what}" for key, what in best.items()),
        f"{time.perf_counter() - began:.0f} s",
    ]
    return Table(f"mini-{name} --choose", model.spec.name, rows, machine(), notes)


def _read(
    models: Mapping[str, Backbone],
    tried: Mapping[str, tuple[str, Recipe]],
    pool: LabelledPhotos,
    batch: int | None,
    progress: bool,
) -> dict[str, list[Bucket]]:
    """Read every picture by every candidate: what it is -> a bucket of one for each picture."""
    names = {key: [what for what, one in tried.items() if one[0] == key] for key in models}
    readers = [Reader(models[key], tuple(tried[what][1] for what in names[key])) for key in models]
    read: dict[str, list[Bucket]] = {what: [] for what in tried}
    pictures = [one.photo for one in pool]
    for buckets in stream_together(readers, pictures, batch=batch, dtype="bf16", progress=progress):
        for key, bucket in zip(models, buckets):
            for what, maps in zip(names[key], bucket):
                read[what].append(Bucket((maps,)))
    return read


def _scored(
    pool: LabelledPhotos,
    read: Sequence[Bucket],
    train: int,
    test: int,
    sample: Mapping[str, Any],
    fitting: Mapping[str, Any],
) -> list[Split]:
    splits: list[Split] = []
    for seed in range(SPLITS):
        parts = dealt(len(pool), train, test, seed)
        rows = [[LabelledBuckets([read[i]], pool[i].mask(), pool[i].name) for i in part] for part in parts]
        here, there = (pool.but([pool.photos[i] for i in part]) for part in parts)
        drawn = {**SAMPLE, **sample, "seed": seed}
        fitted, _ = fit_parts(iter(rows[0]), here, sample=drawn, seed=seed, **{**FITTING, **fitting})
        splits.append(dict(zip(parts[1], score_parts(fitted.head, iter(rows[1]), there, side=SIDE))))
    return splits


def _best(scores: Mapping[str, Sequence[Split]]) -> str:
    return max(scores, key=lambda what: float(split_scores(scores[what]).mean()))
