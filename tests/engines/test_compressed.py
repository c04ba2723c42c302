"""Several workers write one compressed store: what decodes it is learned once, from what one process learns from."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from shiftless.engines import run as module
from shiftless.engines.job import Job, Worker
from shiftless.engines.portions import with_ends
from shiftless.engines.run import run
from shiftless.errors import BadInput
from shiftless.store import writer as writing
from shiftless.store.extraction import extract_into
from shiftless.store.manifest import Manifest
from shiftless.store.place import place_of
from shiftless.store.target import target_of
from shiftless.store.verify import verify
from tests.workers import BATCH, RECIPES, maps_of, same


@pytest.fixture
def calls(monkeypatch, given):
    """Workers in this process, in turn, with the model that is loaded; learning takes four photos."""
    made: list[tuple[int, int, int]] = []

    def read(job, portions, workers, devices, done):
        here = [Worker(replace(job, folder=os.getcwd())) for _ in range(min(workers, len(portions)))]
        for number, photos in enumerate(portions):
            done(number, here[number % len(here)].read(photos))
        for one in here:
            one.close()
        made.append((job.learn, len(here), len(portions)))

    monkeypatch.setattr("shiftless.engines.job.load", lambda *_, **__: given.model)
    monkeypatch.setattr(module, "read_locally", read)
    monkeypatch.setattr(writing, "PHOTOS", 4)
    return made


def test_workers_share_the_transform_that_one_process_learns(calls, given, job, tmp_path):
    alone, paths = tmp_path / "alone.zarr", given.paths[:8]
    with target_of(str(alone), given.model, RECIPES, compress="pca:8", shard=3) as target:
        expected = extract_into(target, given.model, with_ends(paths, BATCH, len(paths)), RECIPES, batch=BATCH)
    job = replace(job, compress="pca:8")
    result = run("local", job, paths, 2, devices=["cpu"])
    assert (result.done, result.failed) == (expected.done, expected.failed)
    assert same(maps_of(Path(job.out)), maps_of(alone))
    assert calls == [(2, 1, 1), (0, 2, 2)]  # two portions of two photos are learned from, and two are left
    place = place_of(job.out)
    assert verify(place, Manifest.opened(place)).faults == []
    again = run("local", job, paths, 2, devices=["cpu"])
    assert (again.done, again.there) == (0, 7)
    assert calls[2:] == [(2, 1, 1), (0, 2, 4)]  # the transforms are there, so that nobody has to learn


def test_few_photos_are_all_read_by_the_worker_that_learns(calls, given, job):
    result = run("local", replace(job, compress="int8"), given.paths[:3], 2, devices=["cpu"])
    assert (result.done, calls) == (3, [(2, 1, 1)])
    assert len(maps_of(Path(job.out))) == 3 * 2


def test_a_part_without_a_transform_beside_it_is_refused(calls, given, tmp_path):
    job = Job(str(tmp_path / "a.zarr"), "run", RECIPES, BATCH, threads=0, compress="int8")
    with pytest.raises(BadInput, match="has no transform for --compress int8"):
        Worker(job).read([str(given.paths[0])])
