"""What configurations are worth downstream: matches of the world's pairs, and parts from a linear probe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from miniworld import datasets
from miniworld.tables.pairs import photo_pairs
from miniworld.tables.part_probe import PartProbe
from miniworld.world.picture import PARTS
from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import Choice, Scores, evaluate, pair_calls
from shiftless.features import Bucket
from shiftless.progress import count, reporting
from shiftless.reading.counted import Counted
from shiftless.recipe import Recipe

LEARNED = 1 / 3
"""The share of the pictures that the probe of parts learns from; it is scored on the rest."""


@dataclass(frozen=True, eq=False)
class Downstream:
    """What one configuration is worth: its matches on each pair, and the mean IoU of its parts."""

    matches: Scores
    miou: float


def downstream(
    model: Backbone,
    recipes: Mapping[str, Recipe],
    look: str,
    *,
    n: int,
    split: str = "test",
    batch: int = 16,
    progress: bool = False,
) -> dict[str, Downstream]:
    """Score recipes on n of the world's pairs of a look; {category} in a prompt is the kind of the thing shown.

    Every picture is read once for all recipes: its maps are matched, and shown to a probe of each recipe.
    """
    drawn = datasets.pairs(split, n, look)
    pairs = photo_pairs(drawn, split)
    truth = {two.source.name: one.source for one, two in zip(drawn, pairs)}
    truth |= {two.target.name: one.target for one, two in zip(drawn, pairs)}
    probes = {name: PartProbe(len(PARTS)) for name in recipes}

    def read(photos: list[Any]) -> Iterator[Bucket]:
        from shiftless.reading import stream

        creatures = [photo.name for photo in photos if truth[photo.name].parts.any()]
        learned = set(creatures[: max(1, round(len(creatures) * LEARNED))])
        chosen: Sequence[Recipe] = list(recipes.values())
        kinds = {photo.name: {"category": truth[photo.name].kind} for photo in photos}
        for bucket in stream(counted, photos, chosen, fill=lambda photo: kinds[photo.name], batch=batch):
            name = bucket[0].name
            if truth[name].parts.any():
                for probe, maps in zip(probes.values(), bucket):
                    (probe.learn if name in learned else probe.score)(maps, truth[name].parts)
            yield bucket

    choices: dict[str, Choice] = {name: (k, None) for k, name in enumerate(recipes)}
    doing = f"matching {count(len(pairs), 'pair')} by {count(len(recipes), 'configuration')}, {look}"
    with reporting(progress, doing, pair_calls(pairs, list(recipes.values())), "denoiser call") as report:
        counted = Counted(model, report)
        found = evaluate(pairs, read, choices)
    return {name: Downstream(found[name], probes[name].miou()) for name in recipes}


def halves_of_pairs(scores: Scores) -> tuple[float, float]:
    """Return a configuration's PCK on every second pair, and on the others: how far PCK predicts itself."""
    even = np.arange(len(scores.totals)) % 2 == 0
    first, second = (scores.bbox[rows].sum() / scores.totals[rows].sum() for rows in (even, ~even))
    return float(first), float(second)
