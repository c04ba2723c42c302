"""Labelled photos that a model in training reads anew for every view, with the graph of its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from shiftless.image import Photo
from shiftless.reading.together import Reader
from shiftless.recipe import Recipe
from shiftless.training.network import Labelled
from shiftless.training.scenesource import Features, ReadScenes
from shiftless.tuning.tuning import Tuning


class TunedScenes(ReadScenes):
    """ReadScenes of a model that learns: a batch's features keep their graph, and photos are scored as it is now.

    learned  what is tuned of the model; its `with` must last as long as this is used
    recipes  that views are read by

    The other arguments and errors are those of ReadScenes.
    """

    def __init__(
        self, learned: Tuning, recipes: Sequence[Recipe], labelled: Sequence[Labelled], classes: int, side: int,
        unscored: Sequence[int] = (), **options: Any,
    ) -> None:  # fmt: skip
        self.learned = learned
        super().__init__(Reader(learned.model, tuple(recipes)), labelled, classes, side, unscored, **options)

    def batch(self, views: Sequence[tuple[Photo, Any]]) -> tuple[Features, torch.Tensor]:
        """Read views, and stack their levels, which lead back to what learns of the model."""
        with self.learned.model.learning():
            return super().batch(views)
