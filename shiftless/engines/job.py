"""Job: all that a worker must be told to read photos as the process that started it would."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from shiftless.backbones.registry import load
from shiftless.reading.ahead import default_threads
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe
from shiftless.store.extraction import Extracted, extract_into
from shiftless.store.folder import FeatureFolder
from shiftless.store.parts import part_name
from shiftless.store.place import is_store, place_of
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
        self.target: FeatureFolder | StoreWriter
        if is_store(job.out):
            place, part = place_of(job.out), part_name(job.out, job.run)
            self.target = StoreWriter(part, self.model, job.recipes, shard=job.shard, beside=place, **given)
        else:
            self.target = FeatureFolder(Path(job.out), self.model, job.recipes, **given)

    def read(self, photos: Sequence[str]) -> Extracted:
        """Read a portion of photos; when this returns, what was read outlasts the process."""
        job = self.job
        threads = default_threads() if job.threads is None else job.threads
        result = extract_into(
            self.target, self.model, [Path(photo) for photo in photos], job.recipes,
            batch=job.batch, fill=job.fill, threads=threads,
        )  # fmt: skip
        if isinstance(self.target, StoreWriter) and (job.publish or self.target.place.path is None):
            self.target.publish()
        return result

    def close(self) -> None:
        """Publish what was read in the worker's part."""
        if isinstance(self.target, StoreWriter):
            self.target.close()
