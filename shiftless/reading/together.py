"""Several models read the same photos, side by side: one bucket of each model for a photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.features import Bucket
from shiftless.progress import Progress, count, reporting
from shiftless.reading.counted import Counted, calls
from shiftless.reading.extraction import stream
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe


class Reader(NamedTuple):
    """A loaded model and the recipes that it reads each photo by."""

    model: Backbone
    recipes: tuple[Recipe, ...]


def stream_together(
    readers: Sequence[Reader],
    photos: Sequence[Any],
    *,
    fill: Fill | None = None,
    batch: int | None = None,
    dtype: str | torch.dtype | None = "fp32",
    skipped: list[str] | None = None,
    progress: bool | Progress = False,
    title: str = "",
) -> Iterator[list[Bucket]]:
    """Yield each photo's buckets, one for each reader, with the memory of one batch of each.

    photos    what `shiftless.stream` takes, in a sequence, as each reader opens them for itself
    skipped   if given, a photo that cannot be read is left out and its message is added here instead of raised
    progress  whether to show it, or the Progress that the denoiser calls are to be reported to
    title     what the photos are, where progress is shown

    Other arguments are those of `stream`. Raises BadInput without a reader, and as `stream` does.

    >>> from shiftless.backbones.registry import load
    >>> sd = Reader(load("twin:sd15"), (Recipe(taps=("up1",)), Recipe(taps=("up1",), seed=1)))
    >>> dino = Reader(load("twin:dino-s16"), (Recipe(taps=("block0",)),))
    >>> [[len(bucket) for bucket in buckets] for buckets in stream_together([sd, dino], [torch.zeros(3, 64, 64)])]
    [[2, 1]]
    """
    if not readers:
        raise BadInput("no model was given; give at least one reader")
    each = sum(calls(reader.recipes, reader.model.spec) for reader in readers)
    names = " and ".join(reader.model.spec.name for reader in readers)
    doing = f"reading {count(len(photos), 'photo')}{title and f' ({title})'} with {names}"
    with reporting(progress, doing, each * len(photos), "denoiser call") as report:
        missing: list[list[str]] = [[] for _ in readers]
        streams = [
            stream(
                Counted(reader.model, report) if progress else reader.model, photos, list(reader.recipes),
                fill=fill, batch=batch, dtype=dtype, skipped=None if skipped is None else one,
            )
            for reader, one in zip(readers, missing)
        ]  # fmt: skip
        for buckets in zip(*streams, strict=True):
            if skipped is not None:
                skipped += missing[0][len(skipped) :]
            yield list(buckets)
        if skipped is not None:
            skipped += missing[0][len(skipped) :]
