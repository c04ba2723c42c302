"""Whether the audit's advice is good: scores of the suggested bucket on pairs that the advice did not use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from miniworld.datasets import SEEDS, photos
from miniworld.tables.pairs import mini_pairs
from shiftless.amalgamate.layout import Layout
from shiftless.auditing.candidates import candidates
from shiftless.auditing.compared import bare
from shiftless.auditing.suggest import Suggestion, suggest
from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import Scores, pair_visits, reader, score
from shiftless.bench.table import Row
from shiftless.features import Bucket, FeatureMaps
from shiftless.metrics.pck import pooled
from shiftless.presets import default_recipe
from shiftless.tasks.correspondence import match
from shiftless.tasks.head import CorrespondenceHead

FIRST = SEEDS["advice"].start
"""The seed of the first picture that advice is taken from; it is in no pair and was audited for no correlation."""
TIMESTEPS = ((100, 200, 300), (500,))
"""The timesteps that advice may choose from: around the embedded model's own, and one with much noise."""
PCK = "PCK@0.1 bbox"


def suggested(
    model: Backbone,
    look: str,
    timesteps: Sequence[int] = TIMESTEPS[0],
    *,
    limit: float = 4.0,
    pictures: int = 16,
    pairs: int = 120,
    batch: int | None = None,
) -> tuple[list[Row], Suggestion]:
    """Take the audit's advice from unseen pictures of a look, and score the bucket on test pairs of that look.

    It is compared with the usual reading, bare at the least timestep, and with as many noise draws of that as the
    limit allows. Maps of a bucket are joined channel by channel.
    """
    start = default_recipe(model.spec.name).but(timestep=min(timesteps))
    usual = bare(start)
    tried = candidates(model, start, timesteps=timesteps)
    advice = suggest(model, [p.image for p in photos(FIRST, pictures, look)], tried, usual, limit=limit, batch=batch)
    draws = [usual.but(seed=seed) for seed in range(max(1, int(limit)))]
    recipes = [*draws, *advice.recipes]
    buckets = {
        f"usual, t={usual.timestep}, {look}": [0],
        f"usual, t={usual.timestep}, {len(draws)} noise draws, {look}": list(range(len(draws))),
        f"suggested within {limit:g} calls, t={usual.timestep}, {look}": list(range(len(draws), len(recipes))),
    }
    test = mini_pairs("test", pairs, look)
    matched: dict[str, list[Any]] = {name: [None] * len(test) for name in buckets}
    for index, a, b, _ in pair_visits(test, reader(model, recipes, batch)):
        for name, chosen in buckets.items():
            one, two = (_joined(bucket, chosen) for bucket in (a, b))
            matched[name][index] = match(one, two, test[index].source_points).points
    return _rows({name: score(test, points) for name, points in matched.items()}), advice


def _joined(bucket: Bucket, chosen: Sequence[int]) -> FeatureMaps:
    some = Bucket(tuple(bucket[k] for k in chosen))
    merged: FeatureMaps = CorrespondenceHead(Layout.of(some), "concat").merge_bucket(some)
    return merged


def _rows(scores: dict[str, Scores]) -> list[Row]:
    rows, usual = [], next(iter(scores.values()))
    for name, one in scores.items():
        rows.append(Row(name, PCK, pooled(one.bbox, one.totals), one.interval()))
        if one is not usual:
            gain = one.gain(usual)
            rows.append(Row(name, f"gain over usual, {PCK}", gain.value, (gain.low, gain.high)))
    return rows
