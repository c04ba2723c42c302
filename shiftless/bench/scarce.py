"""bench horse21, bedroom28, ffhq34, cat15: parts from a few labels on the published sets, over random splits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shiftless.bench.parts import read_labelled_photos, without_model
from shiftless.bench.published import published_rows
from shiftless.bench.table import Row, Table, machine
from shiftless.data.labelledphoto import LabelledPhotos
from shiftless.data.scarce import dealt, part_set, read_scarce
from shiftless.metrics.resplit import Split, split_interval, split_scores
from shiftless.metrics.segmentation import Confusion
from shiftless.progress import count
from shiftless.reading.together import Reader
from shiftless.tasks.pixels import PixelEnsemble
from shiftless.tasks.pixelsample import PixelSample
from shiftless.training.pixels import fit_pixels

SPREAD = "std over splits"


def run(
    readers: Sequence[Reader],
    data: Path,
    name: str,
    *,
    splits: int = 5,
    presets: Sequence[str] = (),
    sample: dict[str, Any] | None = None,
    fitting: dict[str, Any] | None = None,
    side: int | None = 256,
    batch: int | None = None,
    fill: Any = None,
    progress: bool = True,
) -> Table:
    """Fit an ensemble on each of several random splits of a published set, and score it on the rest of the split.

    readers   the models and their recipes
    name      "horse21", "bedroom28", "ffhq34" or "cat15"
    splits    the pool of train and test photos is dealt out anew for each, as many to each part as published
    presets   names of the presets that were read, unchanged: published numbers stand beside them
    sample    for `PixelSample.gather`; fitting  for `fit_pixels`

    Photos are read twice, and the memory is that of the drawn pixels: first every photo gives pixels to learn from,
    then each is predicted by the heads of the splits that test on it. Beside it stand the class that is commonest at
    each place and an ensemble on colour and position. Raises BadInput as `read_scarce` does.
    """
    began = time.perf_counter()
    about, pool = part_set(name), read_scarce(data, name)
    parts = [dealt(len(pool), about.train, about.test, seed, str(data)) for seed in range(splits)]
    reading = {"batch": batch, "fill": fill, "progress": progress}
    kept = PixelSample.gather(read_labelled_photos(readers, pool, **reading), len(pool), **(sample or {}))
    options = {"device": readers[0].model.device, "progress": progress, **(fitting or {})}
    heads = [
        fit_pixels(kept.of_photos(train), pool.classes, seed=seed, **options).head
        for seed, (train, _) in enumerate(parts)
    ]
    ours = predicted(heads, [test for _, test in parts], readers, pool, side, **reading)
    trivial: dict[str, list[Split]] = {}
    for train, test in parts:
        here, there = (pool.but([pool.photos[i] for i in part]) for part in (train, test))
        for method, found in without_model(here, there, side=side, **(fitting or {})):
            trivial.setdefault(method, []).append(dict(zip(test, found)))
    models = " and ".join(reader.model.spec.name for reader in readers)
    rows = [row for method, counted in {**trivial, models: ours}.items() for row in split_rows(method, counted)]
    notes = [
        f"{count(splits, 'split')} of {len(pool)} photos: {about.train} to learn from, {about.test} to test",
        "intervals resample splits and photos together",
        *(f"published for {row['preset']}: {row['value']:.3f} ({row['source']}; measured by others)"
          for row in published(about.folder, presets)),
        f"{time.perf_counter() - began:.0f} s",
    ]  # fmt: skip
    zero = [_total(split).miou(absent="zero", masked=False) for split in ours]
    notes.append(f"mIoU as the published codes count it: {sum(zero) / len(zero):.3f}")
    return Table(f"{about.title}", models, rows, machine(), notes, {"published": published(about.folder, presets)})


def predicted(
    heads: Sequence[PixelEnsemble],
    tests: Sequence[Sequence[int]],
    readers: Sequence[Reader],
    pool: LabelledPhotos,
    side: int | None,
    **reading: Any,
) -> list[Split]:
    """Read each photo that some split tests on once, and predict it by the heads of those splits: a Split for each."""
    wanted = sorted({i for test in tests for i in test})
    counted: list[dict[int, Confusion]] = [{} for _ in tests]
    some = pool.but([pool.photos[i] for i in wanted])
    for i, (buckets, mask, _) in zip(wanted, read_labelled_photos(readers, some, **reading)):
        for head, test, found in zip(heads, tests, counted):
            if i in test:
                parts = head.predict(buckets, side=side, size=mask.shape)
                found[i] = Confusion(len(pool.classes), pool.unscored).add(mask, parts.mask)
    return list(counted)


def split_rows(method: str, counted: Sequence[Split]) -> list[Row]:
    """Return a method's mean mIoU over splits with its interval, and its standard deviation over splits."""
    scores = split_scores(counted)
    spread = float(scores.std(ddof=1)) if len(scores) > 1 else 0.0
    return [
        Row(method, "mIoU", float(scores.mean()), split_interval(counted)),
        Row(method, SPREAD, spread, (spread, spread)),
    ]


def published(folder: str, presets: Sequence[str]) -> list[dict[str, Any]]:
    """Return what was published for some presets on a set: rows of "preset", "value" (mIoU in [0, 1]) and "source".

    >>> [row["value"] for row in published("horse_21", ["ddpm-segmentation"])]
    [0.65]
    """
    rows = published_rows("published_parts.json")
    return [row for row in rows if row["set"] == folder and row["preset"] in presets]


def _total(split: Split) -> Confusion:
    every = list(split.values())
    return sum(every[1:], every[0])
