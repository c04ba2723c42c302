"""Several processes on this machine read what one reads, to the bit, also where one of them is killed."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest

from shiftless.engines.run import run
from shiftless.errors import BadInput
from shiftless.store.extraction import extract_into
from shiftless.store.manifest import Manifest
from shiftless.store.place import place_of
from shiftless.store.target import target_of
from tests.workers import BATCH, RECIPES, kill_a_worker, maps_of, same

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="starts processes from a fork server")


def test_two_workers_of_which_one_is_killed_read_what_one_process_reads(given, job):
    killed = []

    def done(result):
        if not killed:
            killed.append(kill_a_worker())

    result = run("local", job, given.paths, 2, devices=["cpu"], done=done)
    assert len(killed) == 1
    assert (result.done + result.there, result.failed) == (10, given.result.failed)
    assert result.failed[0].startswith(str(given.paths[4]))
    assert same(maps_of(Path(job.out)), given.maps)
    assert Manifest.of(place_of(job.out)).commit == 2  # the empty store, and all of it at once
    assert os.listdir(Path(job.out, ".shiftless", "parts")) == []
    assert multiprocessing.active_children() == []


def test_a_folder_is_written_file_by_file_and_what_is_there_is_not_read_again(given, job, tmp_path):
    out = tmp_path / "features"
    with target_of(str(out), given.model, RECIPES) as target:
        extract_into(target, given.model, given.paths[:6], RECIPES, batch=BATCH)
    result = run("local", replace(job, out=str(out)), given.paths, 1, devices=["cpu"])
    assert (result.done, result.there, len(result.failed)) == (5, 5, 1)
    assert same(maps_of(out), given.maps)


def test_an_interrupt_keeps_what_was_read(given, job):
    read = []

    def done(result):
        read.append(result.done)
        if len(read) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("local", job, given.paths, 1, devices=["cpu"], done=done)
    shown = maps_of(Path(job.out))
    assert len(shown) >= 2 * sum(read)  # two recipes
    assert same(shown, {key: given.maps[key] for key in shown})


def test_what_a_worker_refuses_is_one_line(given, job):
    with pytest.raises(BadInput, match="nowhere"):
        run("local", replace(job, model="nowhere"), given.paths, 1, devices=["cpu"])
