"""Untrained: what segments photos without having learned from labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch

from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.metrics.segmentation import MOST_CLASSES
from shiftless.reading.together import Reader, stream_together
from shiftless.recipe import Recipe
from shiftless.tasks.parts import Parts


class Untrained(Protocol):
    """Segments photos without labels.

    method   its name in tables
    classes  what the numbers in its masks stand for
    mark     a digest of all that its answers depend on, besides the photo
    """

    @property
    def method(self) -> str:
        """Its name in tables."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What the numbers in its masks stand for."""

    @property
    def mark(self) -> str:
        """A digest of all that its answers depend on, besides the photo."""

    def segmented(
        self, photos: Sequence[Any], *, skipped: list[str] | None = None, progress: bool = False
    ) -> Iterator[Parts]:
        """Yield each photo's parts, in order; one that cannot be read is left out, and `skipped` gets its message."""


class ByReading(ABC):
    """What segments each photo by what a model reads of it, for methods to derive from.

    model, recipe, batch  what reads photos, how, and how many latents it sees at once
    """

    model: Backbone
    recipe: Recipe
    batch: int | None

    @abstractmethod
    def segment(self, maps: FeatureMaps) -> Parts:
        """Segment one photo, whose maps were read by `recipe`."""

    def segmented(
        self, photos: Sequence[Any], *, skipped: list[str] | None = None, progress: bool = False
    ) -> Iterator[Parts]:
        """Yield each photo's parts, in order; one that cannot be read is left out, and `skipped` gets its message."""
        if not photos:
            return
        reader = Reader(self.model, (self.recipe,))
        for (bucket,) in stream_together([reader], photos, batch=self.batch, skipped=skipped, progress=progress):
            yield self.segment(bucket[0])


def check_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes without spaces around them.

    Raises BadInput for fewer than two, more than a mask can hold, an empty one, and one that is there twice.

    >>> check_names(["sky", " road"])
    ('sky', 'road')
    """
    names = tuple(name.strip() for name in classes)
    if not 2 <= len(names) <= MOST_CLASSES:
        raise BadInput(f"{len(names)} classes: give the names of 2 to {MOST_CLASSES}, such as sky, road, car")
    if not all(names):
        raise BadInput("an empty name among the classes; give each a name")
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"the class {twice[0]!r} is in the list twice; give each name once")
    return names


def parts_of(logits: torch.Tensor, hw: tuple[int, int], name: str) -> Parts:
    """Return the parts of a photo of H W from logits L h w: enlarged bilinearly, then the largest wins.

    The uncertainty is the entropy of the softmax in nats, at most ln L.

    >>> parts_of(torch.tensor([[[9.0, 0.0]], [[0.0, 9.0]]]), (1, 4), "a").mask.tolist()
    [[0, 0, 1, 1]]
    """
    logits = logits.detach().float().cpu()
    shares = logits.softmax(0)
    entropy = torch.special.entr(shares).sum(0, keepdim=True).clamp_min(0)
    grid = int(logits.shape[-2]), int(logits.shape[-1])
    return Parts.on(grid, logits.flatten(1), entropy.flatten(1), hw, name)
