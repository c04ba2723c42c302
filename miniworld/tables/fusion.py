"""Rows of mini-correspondence with the embedded MAE: alone, and its features fused with the diffusion model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shiftless.amalgamate.fusion import fuse
from shiftless.backbones.base import Backbone
from shiftless.bench.pairs import Scores, pair_visits, score
from shiftless.data.photopair import PhotoPair
from shiftless.features import Bucket
from shiftless.reading.together import Reader, stream_together
from shiftless.recipe import Recipe
from shiftless.tasks.correspondence import match

MAE = "mini-mae"
ALONE, FUSED = "MAE alone", "baseline fused with the MAE"
READING = Recipe(taps=("block3",))
"""Where the MAE is read."""


def evaluate_fused(
    model: Backbone,
    mae: Backbone,
    pairs: Sequence[PhotoPair],
    recipe: Recipe,
    *,
    reading: Recipe = READING,
    batch: int | None = None,
    progress: bool = False,
) -> dict[str, Scores]:
    """Match pairs with the MAE's features, and with these fused with one reading of the model: name -> Scores.

    Both maps are made unit length at each cell and joined on the finer grid, so that a cosine of fused vectors is the
    mean of the two cosines (A Tale of Two Features, Zhang et al., NeurIPS 2023).
    """
    readers = [Reader(model, (recipe,)), Reader(mae, (reading,))]

    def read(photos: Any) -> Iterator[Bucket]:
        for one, other in stream_together(readers, photos, batch=batch, dtype=None, progress=progress):
            yield Bucket((other[0], fuse([one[0], other[0]])))

    predicted: dict[str, list[Any]] = {name: [None] * len(pairs) for name in (ALONE, FUSED)}
    for index, source, target, _ in pair_visits(pairs, read):
        for k, name in enumerate(predicted):
            predicted[name][index] = match(source[k], target[k], pairs[index].source_points).points
    return {name: score(pairs, points) for name, points in predicted.items()}
