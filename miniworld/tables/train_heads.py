"""Training of the correspondence table's heads: every trained row, on the same pairs, with the same budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from miniworld.tables.correspondence import LOOKS, gathered, possible, slug
from miniworld.tables.methods import METHODS, Method, readings_of, recipes_of
from miniworld.tables.pairs import mini_pairs
from shiftless.backbones.base import Backbone
from shiftless.bench.heads import visits
from shiftless.reading.available import available
from shiftless.tasks.head import CorrespondenceHead
from shiftless.tasks.pairfeatures import AnnotatedBuckets, PairFeatures
from shiftless.training.head import Fitted, fit

PAIRS = {"train": 120, "val": 40}
"""Pairs of each look."""
STEPS = 480
SIDE = 16
OPTIONS: dict[str, dict[str, Any]] = {"hyper": {"width": 128}}


def train(
    model: Backbone,
    out: Path | None = None,
    *,
    methods: Sequence[Method] = METHODS,
    looks: Sequence[str] = LOOKS,
    seeds: Sequence[int] = (0, 1, 2),
    kept: int = 1,
    pairs: dict[str, int] | None = None,
    steps: int = STEPS,
    peak: float = 0.0,
    batch: int | None = None,
    progress: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, list[CorrespondenceHead]]:
    """Train every head of the table and return them: method -> one a seed.

    out    a folder for the first `kept` of each, as float16 files
    pairs  how many of each look train and validate
    steps  of one pair each, the same for every row; the step that is best on the validation pairs is kept
    peak   also try the gates with a sparsity term of this strength, and report; the heads returned are without

    Heads are trained on the pairs of all looks together, read once; test pairs are never read.
    """
    pairs = pairs or PAIRS
    common = [set(available(model, readings_of(look))) for look in looks]
    keys = [key for key in readings_of(looks[0]) if all(key in there for there in common)]
    methods = [m for m in methods if m.trained and not m.flip_of and possible(m, dict.fromkeys(keys))]  # type: ignore[arg-type]
    used = {name.partition("/")[0] for m in methods for name in (*m.readings, *m.attention)}
    keys = [key for key in keys if key in used]
    kept_pairs = {split: _read(model, split, n, looks, keys, batch, progress) for split, n in pairs.items()}
    heads: dict[str, list[CorrespondenceHead]] = {}
    for method in methods:
        began = time.perf_counter()
        fitted = _fit(method, kept_pairs, keys, looks[0], seeds, steps, progress)
        heads[method.name] = [one.head for one in fitted]
        report(f"{method.name}: validation PCK {_scores(fitted)}; {time.perf_counter() - began:.0f} s")
        if peak and method.head == "gate":  # to compare by validation score
            peaked = _fit(method, kept_pairs, keys, looks[0], seeds, steps, progress, peak=peak, ramp=0.5)
            report(f"{method.name}, sparsity {peak:g}: validation PCK {_scores(peaked)}")
        for one in fitted[:kept] if out is not None else []:
            assert out is not None
            one.head.save(out / f"{slug(method.name)}.{one.seed}.safetensors", torch.float16)
    return heads


def _read(
    model: Backbone, split: str, n: int, looks: Sequence[str], keys: Sequence[str], batch: int | None, progress: bool
) -> list[AnnotatedBuckets]:
    rows = []
    for look in looks:
        recipes = readings_of(look)
        chosen = [recipes[key] for key in keys]
        title = f"{split}, {look}"
        visited = visits(model, mini_pairs(split, n, look), chosen, batch=batch, title=title, progress=progress)
        rows += [pair for _, pair in visited]
    return rows


def _fit(
    method: Method,
    rows: dict[str, list[AnnotatedBuckets]],
    keys: Sequence[str],
    look: str,
    seeds: Sequence[int],
    steps: int,
    progress: bool,
    **more: Any,
) -> list[Fitted]:
    joined = len(method.attention)
    train_pairs = PairFeatures.gather(gathered(method, rows["train"], keys), attention=joined, side=SIDE)
    val_pairs = PairFeatures.gather(gathered(method, rows["val"], keys), layout=train_pairs.layout)
    recipes = recipes_of(method, look)
    amalgamator = method.head or "mean"
    options = OPTIONS.get(amalgamator, {})
    settings: dict[str, Any] = {"amalgamator": amalgamator, "conv": method.conv, "options": options, **more}
    every = max(1, steps // 3)
    return [
        fit(train_pairs, val_pairs, recipes=recipes, seed=seed, steps=steps, every=every, progress=progress, **settings)
        for seed in seeds
    ]


def _scores(fitted: Sequence[Fitted]) -> str:
    return ", ".join(f"{max(row['pck'] for row in one.history):.3f} at step {one.best}" for one in fitted)
