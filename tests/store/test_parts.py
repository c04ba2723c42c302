"""Parts: what workers write becomes visible by one commit, by second names where a shard is full, and is never lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from shiftless import FeatureStore
from shiftless.store.manifest import Manifest
from shiftless.store.parts import PARTS, merge_parts, new_run, part_name
from shiftless.store.place import place_of


@pytest.fixture
def part(work, write):
    """Write photos into a new part of a run."""

    def into(out, run, which, **more):
        name = part_name(str(out), run.name)
        assert write(name, which, beside=place_of(out), **more) == len(which)
        return name

    return into


def check_all(work, out, count=10):
    store = FeatureStore(out, work.recipes, dtype=None)
    assert len(store) == count
    for bucket in store:
        expected = work.buckets[int(bucket[0].name[0])]
        assert all(torch.equal(maps[tap], one[tap]) for maps, one in zip(bucket, expected) for tap in one)


@pytest.mark.parametrize("before", [[0], [0, 8], [0, 8, 9, 7, 5]])  # none to two of ten rows of the square photos
def test_parts_become_visible_at_once_and_full_shards_are_not_copied(work, write, part, tmp_path, before):
    out = tmp_path / "a.zarr"
    write(out, before, shard=2)
    place = place_of(out)
    commit = Manifest.of(place).commit
    left = [i for i in (1, 2, 4, 5, 7, 3) if i not in before], [i for i in (6, 8, 9) if i not in before]
    with new_run(place) as run:
        names = [part(out, run, which, shard=2) for which in left]
        assert len(FeatureStore(out, work.recipes)) == len(before)
        firsts = sorted(Path(names[0]).rglob("plain-128x128/up1/c.0.0.0.0"))
        full = {path.stat().st_ino for path in firsts}
        assert len(full) == 1
        assert merge_parts(place, run) == 2 * (10 - len(before))
    assert Manifest.of(place).commit == commit + 1
    assert full & {path.stat().st_ino for path in out.rglob("c.*")}
    assert os.listdir(out / PARTS) == []
    check_all(work, out)
    assert merge_parts(place) == 0


def test_a_run_that_goes_on_is_left_alone_and_an_ended_one_is_found_by_the_next(work, write, part, tmp_path):
    out = tmp_path / "a.zarr"
    place = place_of(out)
    with new_run(place) as run:
        part(out, run, range(5))
        assert merge_parts(place) == 0
        assert write(out, [9]) == 1
        assert len(FeatureStore(out, work.recipes)) == 1
    assert write(out, range(10)) == 4  # recovered first, so that five of ten were there, beside the ninth
    check_all(work, out)


def test_a_worker_that_was_killed_leaves_its_photos_to_the_merge(work, part, tmp_path):
    from benchmarks.robustness.storekills import killed_at
    from shiftless.store.writer import StoreWriter

    out = tmp_path / "a.zarr"
    place = place_of(out)
    with new_run(place) as run:
        part(out, run, range(5))

        def act(done):
            writer = StoreWriter(part_name(str(out), run.name), work.model, work.recipes, shard=4, beside=place)
            for photo, bucket in list(zip(work.photos, work.buckets))[3:8]:
                writer.claim(photo)
                writer.write(bucket)
            os.kill(os.getpid(), 9)

        killed_at(None, act)
        assert merge_parts(place, run) == 2 * 8  # two photos are in both parts, and are kept once
    check_all(work, out, 8)


def test_parts_lie_in_a_target_without_locks_too(work, part):
    pytest.importorskip("fsspec")
    out = "memory://parts/a.zarr"
    place = place_of(out)
    with new_run(place) as run:
        part(out, run, range(6))
        part(out, run, range(6, 10))
        assert merge_parts(place, run) == 20
    assert place.names(f"{PARTS}/{run.name}") == []
    check_all(work, out)
    place.delete("")
