"""A typical pair: the validation pair in the middle, when pairs are ordered by how many of their points are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from miniworld.tables.pairs import mini_pairs
from shiftless.backbones.base import Backbone
from shiftless.data.photopair import PhotoPair
from shiftless.features import FeatureMaps
from shiftless.metrics.bootstrap import Difference, interval
from shiftless.metrics.pck import hits, pooled
from shiftless.reading import extract
from shiftless.recipe import Recipe
from shiftless.tasks.correspondence import Matches, match

PAIRS = 41
"""How many validation pairs are ordered: an odd number, so that one of them is in the middle."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A pair with its matches.

    maps  the features of its source and of its target        right  N bool, which of its points are right (PCK@0.1)
    """

    pair: PhotoPair
    maps: tuple[FeatureMaps, FeatureMaps]
    matches: Matches
    right: np.ndarray

    @property
    def share(self) -> float:
        """The share of points that are right."""
        return float(self.right.mean())


@dataclass(frozen=True, eq=False)
class Typical:
    """Two pairs out of many, chosen by their place in the order of scores.

    middle  the pair in the middle                   quarter  the pair a quarter from the bottom
    every   all pairs, in the order of their scores
    """

    middle: Judged
    quarter: Judged
    every: list[Judged]

    def overall(self) -> Difference:
        """Return the share of right points over all pairs, with its 95% interval; the pairs share no picture."""
        counts, totals = ([f(one.right) for one in self.every] for f in (np.sum, len))
        return Difference(pooled(counts, totals), *interval(counts, totals))


def judged(model: Backbone, recipe: Recipe, pairs: Sequence[PhotoPair]) -> list[Judged]:
    """Match every point of the pairs and score each match."""
    every = []
    for pair in pairs:
        a, b = extract(model, [pair.source, pair.target], recipe)
        matches = match(a, b, pair.source_points)
        every.append(Judged(pair, (a, b), matches, hits(matches.points, pair.target_points, pair.target_box)))
    return every


def typical(model: Backbone, recipe: Recipe, count: int = PAIRS) -> Typical:
    """Return the pair in the middle of the first `count` validation pairs, and the one a quarter from the bottom.

    The tables of the demo score test pairs, and the pairs shown were not picked by eye.
    """
    ordered = sorted(judged(model, recipe, mini_pairs("val", count)), key=lambda one: one.share)
    return Typical(ordered[len(ordered) // 2], ordered[len(ordered) // 4], ordered)
