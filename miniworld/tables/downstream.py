"""Downstream scores of configurations: matches of the world's pairs, and parts by a linear probe."""

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
    """Scores of one configuration: its matches on each pair, and the mean IoU of its parts.

    mious  of the pictures of each half of the pairs, as `half_of` splits them
    """

    matches: Scores
    miou: float
    mious: tuple[float, float]

    def half(self, half: int) -> Downstream:
        """Return the scores on half 0 or 1 of the pairs alone."""
        m = self.matches
        rows = half_of(np.arange(len(m.totals))) == half
        photos = None if m.photos is None else [two for two, kept in zip(m.photos, rows) if kept]
        part = Scores(m.img[rows], m.bbox[rows], m.totals[rows], m.alpha, photos)
        return Downstream(part, self.mious[half], (self.mious[half], self.mious[half]))


def downstream(
    model: Backbone,
    recipes: Mapping[str, Recipe],
    look: str,
    *,
    n: int,
    split: str = "test",
    batch: int | None = None,
    progress: bool = False,
) -> dict[str, Downstream]:
    """Score recipes on n of the world's pairs of a look; {category} in a prompt is the kind of the thing shown.

    Every picture is read once for all recipes: its maps are matched, and shown to a probe of each recipe.
    """
    drawn = datasets.pairs(split, n, look)
    pairs = photo_pairs(drawn, split)
    truth = {two.source.name: one.source for one, two in zip(drawn, pairs)}
    truth |= {two.target.name: one.target for one, two in zip(drawn, pairs)}
    half = {photo.name: int(half_of(i)) for i, pair in enumerate(pairs) for photo in (pair.source, pair.target)}
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
                    if name in learned:
                        probe.learn(maps, truth[name].parts)
                    else:
                        probe.score(maps, truth[name].parts, half[name])
            yield bucket

    choices: dict[str, Choice] = {name: (k, None) for k, name in enumerate(recipes)}
    doing = f"matching {count(len(pairs), 'pair')} by {count(len(recipes), 'configuration')}, {look}"
    with reporting(progress, doing, pair_calls(pairs, list(recipes.values())), "denoiser call") as report:
        counted = Counted(model, report)
        scores = evaluate(pairs, read, choices)
    return {
        name: Downstream(scores[name], probes[name].miou(), (probes[name].miou(0), probes[name].miou(1)))
        for name in recipes
    }


def half_of(index: Any) -> Any:
    """Return the half, 0 or 1, of the picture or pair at an index.

    Indices alternate two by two, because every second pair faces opposite ways: each half keeps half of those.

    >>> [half_of(i) for i in range(6)]
    [0, 0, 1, 1, 0, 0]
    """
    return index // 2 % 2


def halves_of_pairs(scores: Scores) -> tuple[float, float]:
    """Return a configuration's PCK on half of the pairs, and on the others, to see how well PCK predicts itself."""
    half = half_of(np.arange(len(scores.totals))) == 0
    first, second = (scores.bbox[rows].sum() / scores.totals[rows].sum() for rows in (half, ~half))
    return float(first), float(second)
