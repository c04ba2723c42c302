"""Job: all that a worker must be told to read photos as the process that started it would."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from shiftless.backbones.registry import load
from shiftless.errors import BadInput
from shiftless.image import Photo, open_photo
from shiftless.reading.ahead import default_threads
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe
from shiftless.store.extraction import Extracted, extract_into
from shiftless.store.folder import FeatureFolder
from shiftless.store.parts import part_name
from shiftless.store.place import is_store, place_of
from shiftless.store.transform import NONE
from shiftless.store.writer import StoreWriter


@dataclass(frozen=True)
class Job:
    """What is read, by which model, and where it goes; it can be pickled.

    out      a folder, or a store that ends in .zarr
    run      the name of this run, under which its workers keep what they write until it is merged
    batch    how many noisy latents the model sees at once
    folder   from which relative paths lead, as every worker has to find the same files
    threads  that open photos ahead of each worker's model; None: one for each core that it may use, at most 8
    cores    that torch computes on in each worker, where it computes on the CPU; None leaves torch's own number
    learn    0; or how many photos a portion has, for the one worker that reads portions into the store itself, in their
             order, until the store keeps what decodes compressed maps
    publish  whether what a portion gave is brought into the worker's part at once: where a worker that ends may not
             close it, or its photos wait in main memory

    Other fields are the arguments of `shiftless.load`, `StoreWriter` and `FeatureFolder`.
    """

    out: str
    run: str
    recipes: tuple[Recipe, ...]
    batch: int
    model: str = "mini"
    device: str = "auto"
    dtype: str = "auto"
    offload: str = ""
    quantise: str = ""
    fill: Fill | None = None
    save_dtype: str = "fp16"
    pool: int = 1
    shard: int | None = None
    threads: int | None = None
    compress: str = NONE
    learn: int = 0
    publish: bool = False
    cores: int | None = None
    folder: str = ""

    def on(self, device: str) -> Job:
        """Return the job for a worker on one device."""
        return replace(self, device=device)


class Worker:
    """A model, and a place of its own where it writes; used by one process, whose working folder it sets.

    A store's worker writes a part, a store of its own beside the others' (`shiftless.store.parts`), and so owns the
    shards that it fills. A folder of files is written by all workers alike.
    """

    def __init__(self, job: Job) -> None:
        os.chdir(job.folder or ".")
        self.job = job
        if job.cores is not None:
            torch.set_num_threads(job.cores)
        self.model = load(job.model, device=job.device, dtype=job.dtype, offload=job.offload, quantise=job.quantise)
        given: dict[str, Any] = {"fill": job.fill, "dtype": job.save_dtype, "pool": job.pool}
        stored: dict[str, Any] = {**given, "shard": job.shard, "compress": job.compress}
        self.target: FeatureFolder | StoreWriter
        if is_store(job.out) and job.learn:
            self.target = StoreWriter(job.out, self.model, job.recipes, **stored)
        elif is_store(job.out):
            place, part = place_of(job.out), part_name(job.out, job.run)
            self.target = StoreWriter(part, self.model, job.recipes, beside=place, **stored)
        else:
            self.target = FeatureFolder(Path(job.out), self.model, job.recipes, **given)

    def read(self, photos: Sequence[str]) -> Extracted:
        """Read a portion of photos; when this returns, what was read outlasts the process.

        The worker that learns is given many portions at once, reads as many as it needs, and closes the store.
        """
        if self.job.learn:
            return self._learn(photos)
        result = self._extracted(photos)
        if isinstance(self.target, StoreWriter) and (self.job.publish or self.target.place.path is None):
            self.target.publish()
        return result

    def close(self) -> None:
        """Publish what was read in the worker's part."""
        if isinstance(self.target, StoreWriter) and not self.job.learn:
            self.target.close()

    def _extracted(self, photos: Sequence[str]) -> Extracted:
        job = self.job
        threads = default_threads() if job.threads is None else job.threads
        return extract_into(
            self.target, self.model, [Path(photo) for photo in photos], job.recipes,
            batch=job.batch, fill=job.fill, threads=threads,
        )  # fmt: skip

    def _learn(self, photos: Sequence[str]) -> Extracted:
        assert isinstance(self.target, StoreWriter)
        results: list[Extracted] = []
        with self.target as target:  # which learns from fewer photos where there are no more, and not where it fails
            target.recover()
            first = next(filter(None, map(_opened, photos)), None)
            for i in range(0, len(photos), self.job.learn):
                if first is not None and target.has_transforms(first):
                    break
                results.append(self._extracted(photos[i : i + self.job.learn]))
        return joined(results)


def joined(results: Iterable[Extracted]) -> Extracted:
    """Add up what became of portions, in their order.

    >>> joined([Extracted(1, 0, ["a: empty"]), Extracted(2, 1, ["b: empty"])])
    Extracted(done=3, there=1, failed=['a: empty', 'b: empty'], widened=0)
    """
    total = Extracted()
    for one in results:
        total.done += one.done
        total.there += one.there
        total.widened += one.widened
        total.failed += one.failed
    return total


def _opened(photo: str) -> Photo | None:
    try:
        return open_photo(Path(photo))
    except BadInput:
        return None
