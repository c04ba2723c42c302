"""A run: photos are cut into portions, an engine's workers read them, and their parts become visible by one commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from shiftless.engines.job import Job, joined
from shiftless.engines.local import read_locally
from shiftless.engines.on_ray import read_on_ray
from shiftless.engines.portions import portion_size, portions
from shiftless.errors import BadInput
from shiftless.store.extraction import Extracted
from shiftless.store.parts import merge_parts, new_run
from shiftless.store.place import is_store, place_of
from shiftless.store.transform import NONE

ENGINES = ("local", "ray")
_LEARNERS = 4096  # photos that a transform is learned from the first good ones of, at most
Done = Callable[[int, Extracted], object]


def run(
    engine: str,
    job: Job,
    photos: Sequence[Any],
    workers: int,
    *,
    devices: Sequence[str] = ("auto",),
    cpus: float | None = None,
    gpus: float | None = None,
    done: Callable[[Extracted], object] = lambda result: None,
) -> Extracted:
    """Read photos by several processes into one target.

    engine   local: processes on this machine, which take `devices` in turn; ray: see `shiftless.engines.on_ray`
    done     called with what became of each portion of photos

    What is read is, on one kind of device, what one process reads, to the bit. The workers of a store keep what they
    write in parts inside it, which one commit makes visible at the end, also where the run fails or is interrupted.
    Where this process is killed, the next run into the store does it. Compressed maps need a transform: if the store
    has none yet, one worker reads portions into it until there is one, and then all begin. Raises BadInput as the
    engines do.
    """
    pieces = portions(photos, job.batch)
    results: dict[int, Extracted] = {}

    def keep(number: int, result: Extracted) -> None:
        results[number] = result
        done(result)

    def by_engine(job: Job, pieces: Sequence[Sequence[str]], workers: int, keep: Done) -> None:
        if engine == "ray":
            read_on_ray(replace(job, publish=True), pieces, workers, keep, cpus=cpus, gpus=gpus)
        else:
            read_locally(job, pieces, workers, devices, keep)

    def read(job: Job) -> None:
        first = 0
        if job.compress != NONE:  # one worker reads until the transforms are learned, as one process would
            size = portion_size(len(photos), job.batch)
            asked = [photo for piece in pieces[: -(-_LEARNERS // size)] for photo in piece]
            by_engine(replace(job, learn=size), [asked], 1, lambda _, result: keep(-1, result))
            seen = results[-1].done + results[-1].there + len(results[-1].failed)
            first = -(-seen // size)
        if pieces[first:]:
            by_engine(job, pieces[first:], workers, lambda number, result: keep(first + number, result))

    job = replace(job, folder=os.getcwd())
    if not is_store(job.out):
        read(job)
    else:
        place = place_of(job.out)
        with ExitStack() as stack:
            own = stack.enter_context(new_run(place))
            try:
                read(replace(job, run=own.name))
            except BaseException:
                with suppress(BadInput):  # the parts stay where they are, for the next run
                    merge_parts(place, own)
                raise
            merge_parts(place, own)
    return joined(results[number] for number in sorted(results))
