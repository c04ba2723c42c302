"""bench mini-correspondence: GATE's table in miniature: every technique, every head, two test sets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from miniworld.tables.fusion import MAE, evaluate_fused
from miniworld.tables.methods import DIFT_TIMESTEPS, METHODS, Method, readings_of
from miniworld.tables.pairs import mini_pairs
from shiftless import mini
from shiftless.amalgamate.layout import Layout
from shiftless.backbones.base import Backbone
from shiftless.backbones.registry import load
from shiftless.bench.heads import mean_scores, visits
from shiftless.bench.pairs import (
    TRIVIAL,
    Scores,
    flip_with,
    gain,
    mirrored_calls,
    pair_calls,
    reader,
    same_place,
    score,
)
from shiftless.bench.pairs import evaluate as evaluate_pairs
from shiftless.bench.table import Row, Table, machine
from shiftless.data.photopair import PhotoPair
from shiftless.features import Bucket, FeatureMaps
from shiftless.progress import count, reporting
from shiftless.reading.available import available
from shiftless.recipe import Recipe
from shiftless.tasks.correspondence import match
from shiftless.tasks.head import CorrespondenceHead
from shiftless.tasks.pairfeatures import AnnotatedBuckets

LOOKS = ("photo", "embroidery")
QUICK = 60
GAIN = "gain over baseline, bbox"
Heads = Mapping[str, Sequence[CorrespondenceHead]]


def run(
    model: Backbone,
    *,
    quick: bool = False,
    n: int | None = None,
    looks: Sequence[str] = LOOKS,
    heads: Heads | None = None,
    batch: int | None = None,
    progress: bool = True,
) -> Table:
    """Score every method on the test pairs of each look; `heads` are trained ones, by default those shipped.

    quick  60 pairs of each look in place of all 360; `n` sets another number

    A row whose ControlNet, LoRA, captioner or head the model does not have is left out and named in the notes. Each
    row's gain is over the baseline of its kind (features as they are, or with a trained output convolution), paired.
    """
    began = time.perf_counter()
    heads = shipped_heads(model) if heads is None else heads
    rows: list[Row] = []
    notes: list[str] = []
    for look in looks:
        pairs = mini_pairs("test", n or (QUICK if quick else None), look)
        best = dift_timestep(model, look, min(QUICK, len(pairs)), batch, progress)
        recipes = available(model, readings_of(look, best))
        methods = [m for m in METHODS if possible(m, recipes) and (not m.trained or m.heads in heads)]
        scores = evaluate(model, pairs, methods, recipes, heads, batch=batch, title=look, progress=progress)
        scores[TRIVIAL] = score(pairs, [same_place(pair) for pair in pairs])
        suffix = "" if look == "photo" else f", {look}"
        rows += rows_of(scores, methods, suffix)
        if MAE in mini.embedded():
            fused = evaluate_fused(model, load(MAE), pairs, recipes["base0"], batch=batch, progress=progress)
            rows += fused_rows(fused, scores["baseline, convolutional"], suffix)
        notes.append(f"{look}: {len(pairs)} pairs, DIFT read at t = {best}")
        notes += flip_notes(model, pairs, methods, recipes, scores, look)
        left = [m.name for m in METHODS if m not in methods]
        if left:
            notes.append(f"{look}: left out, as parts or heads are not at hand: {'; '.join(left)}")
    seeds = {len(h) for h in heads.values()}
    trained = f"trained rows: mean of {max(seeds)} training seeds; " if seeds else ""
    notes.append(f"{trained}{scores[TRIVIAL].resampling()}; gains paired")
    notes.append(f"{time.perf_counter() - began:.0f} s")
    return Table("mini-correspondence", model.spec.name, rows, machine(), notes)


def fused_rows(scores: Mapping[str, Scores], baseline: Scores, suffix: str) -> list[Row]:
    """Return the rows of the MAE: alone, and fused with the baseline, over which its gain is."""
    rows = []
    for name, one in scores.items():
        rows += [replace(row, metric=row.metric + suffix) for row in one.rows(name) if "per image" not in row.metric]
        gained = one.gain(baseline)
        rows.append(Row(name, GAIN + suffix, gained.value, (gained.low, gained.high)))
    return rows


def rows_of(scores: Mapping[str, Scores], methods: Sequence[Method], suffix: str) -> list[Row]:
    """Return a method's rows: both thresholds, and its gain over the baseline that it is compared with."""
    rows = []
    for name, against in [(TRIVIAL, ""), *((m.name, m.against) for m in methods)]:
        for row in scores[name].rows(name):
            if not row.metric.endswith("per image"):
                rows.append(replace(row, metric=row.metric + suffix))
        if against in scores and against != name:
            gain = scores[name].gain(scores[against])
            rows.append(Row(name, GAIN + suffix, gain.value, (gain.low, gain.high)))
    return rows


def evaluate(
    model: Backbone,
    pairs: Sequence[PhotoPair],
    methods: Sequence[Method],
    recipes: Mapping[str, Recipe],
    heads: Heads,
    **reading: Any,
) -> dict[str, Scores]:
    """Match every pair by every method; each photo is read once. Trained rows are means over their heads."""
    keys, turned_keys = list(recipes), flipped_keys(methods)
    turned = [recipes[key] for key in turned_keys]
    predicted: dict[tuple[str, int], list[Any]] = {}
    for index, pair in visits(model, pairs, list(recipes.values()), mirrored=turned, **reading):
        for method in methods:
            source, target = (bucket_of(method, b, keys) for b in (pair.source, pair.target))
            mirrored = bucket_of(method, pair.mirrored, turned_keys) if method.flip_of and pair.mirrored else None
            for seed, apply in enumerate(appliers(method, heads, source)):
                either = flip_with(None if mirrored is None else apply(mirrored))
                points = match(apply(source), apply(target), pair.source_points, **either).points
                predicted.setdefault((method.name, seed), [None] * len(pairs))[index] = points
    return {
        m.name: mean_scores([score(pairs, points) for (name, _), points in predicted.items() if name == m.name])
        for m in methods
    }


def flipped_keys(methods: Sequence[Method]) -> list[str]:
    """Return the keys of the readings that methods with flip take, of the mirrored source too."""
    names = (name for m in methods if m.flip_of for name in (*m.readings, *m.attention))
    return list(dict.fromkeys(name.partition("/")[0] for name in names))


def flip_notes(
    model: Backbone,
    pairs: Sequence[PhotoPair],
    methods: Sequence[Method],
    recipes: Mapping[str, Recipe],
    scores: Mapping[str, Scores],
    look: str,
) -> list[str]:
    """Say what flipping gains a method over the same method without, over the baseline with flip, and what it costs."""
    notes, named = [], {m.flip_of: m for m in methods if m.flip_of}
    for name, method in named.items():
        notes.append(f"{look}: {gain(f'{method.name} - without', scores[method.name], scores[name])}")
        if method.against in named and method.against != name:
            base = named[method.against].name
            notes.append(f"{look}: {gain(f'{method.name} - {base}', scores[method.name], scores[base])}")
    turned = [recipes[key] for key in flipped_keys(methods)]
    if turned:
        more, usual = mirrored_calls(pairs, turned, model.spec), pair_calls(pairs, list(recipes.values()), model.spec)
        notes.append(f"{look}: the mirrored sources took {count(more, 'denoiser call')} beside {usual}")
    return notes


def appliers(method: Method, heads: Heads, bucket: Bucket) -> list[Callable[[Bucket], FeatureMaps]]:
    """Return what makes one map of a method's bucket: a head for each seed, a plain mean, or the reading itself."""
    if method.trained:
        return [head.merge_bucket for head in heads[method.heads]]
    if len(bucket) > 1:
        return [CorrespondenceHead(Layout.of(bucket), "mean").merge_bucket]
    return [lambda one: one[0]]


def bucket_of(method: Method, bucket: Bucket, keys: Sequence[str]) -> Bucket:
    """Return the readings of a bucket that a method takes, each with the taps that it takes of it."""
    return Bucket(tuple(_reading(name, bucket, keys) for name in (*method.readings, *method.attention)))


def _reading(name: str, bucket: Bucket, keys: Sequence[str]) -> FeatureMaps:
    key, _, part = name.partition("/")
    maps: FeatureMaps = bucket[keys.index(key)]
    chosen = [tap for tap in maps if (".map." in tap) == (part == "maps")]
    return replace(maps, maps={tap: maps[tap] for tap in chosen}, taps={tap: maps.taps[tap] for tap in chosen})


def possible(method: Method, recipes: Mapping[str, Recipe]) -> bool:
    """Whether every reading of a method is there."""
    return all(name.partition("/")[0] in recipes for name in (*method.readings, *method.attention))


def dift_timestep(model: Backbone, look: str, n: int = QUICK, batch: int | None = None, progress: bool = False) -> int:
    """Return the timestep at which DIFT's one block matches best on n validation pairs (one noise draw each)."""
    pairs = mini_pairs("val", n, look)
    base = readings_of(look)["dift"].but(ensemble=1)
    recipes = [base.but(timestep=t) for t in DIFT_TIMESTEPS]
    choices = {str(t): (k, None) for k, t in enumerate(DIFT_TIMESTEPS)}
    doing = f"DIFT's timestep, {look}: {count(len(pairs), 'pair')} at {count(len(recipes), 'timestep')}"
    with reporting(progress, doing, pair_calls(pairs, recipes), "denoiser call") as report:
        scores = evaluate_pairs(pairs, reader(model, recipes, batch, report), choices)
    return max(DIFT_TIMESTEPS, key=lambda t: int(scores[str(t)].bbox.sum()))


def shipped_heads(model: Backbone) -> dict[str, list[CorrespondenceHead]]:
    """Open the heads in the model folder's `heads/`: method -> one head a training seed."""
    home = getattr(model, "home", None)
    heads: dict[str, list[CorrespondenceHead]] = {}
    for method in METHODS:
        paths = sorted(Path(home, "heads").glob(f"{slug(method.name)}.*.safetensors")) if home else []
        if method.trained and not method.flip_of and paths:
            heads[method.name] = [CorrespondenceHead.from_pretrained(path) for path in paths]
    return heads


def slug(name: str) -> str:
    """Turn a method's name into a file's.

    >>> slug("+ LoRA + output convolution")
    'lora-output-convolution'
    """
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def gathered(method: Method, rows: Sequence[AnnotatedBuckets], keys: Sequence[str]) -> list[AnnotatedBuckets]:
    """Return pairs with what a method takes of their buckets."""
    return [
        row._replace(source=bucket_of(method, row.source, keys), target=bucket_of(method, row.target, keys))
        for row in rows
    ]
