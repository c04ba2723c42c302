"""A killed writer loses nothing that it had added, what is shown is whole, and a full disk is no different."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from shiftless import BadInput, FeatureStore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")


@pytest.fixture(scope="module")
def kills(work, tmp_path_factory):
    """The work, what an undisturbed run writes, and how many file operations that takes."""
    from benchmarks.robustness import storekills

    given = storekills.Work(work.model, work.recipes, work.photos[:6], work.buckets[:6], shard=2)
    target = tmp_path_factory.mktemp("whole") / "a.zarr"
    operations, done = storekills.killed_at(None, lambda tell: given.write(target, tell))
    assert done == 6
    return storekills, given, storekills.maps_in(target), operations


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_writer_is_killed_twice_and_the_next_one_ends_the_work(kills, tmp_path, share):
    module, given, whole, operations = kills
    numbers = [int(share * operations), int(share * operations / 2) + 5]
    module.kill_and_go_on(given, tmp_path / "a.zarr", whole, numbers)


def test_a_kill_in_the_middle_is_seen_by_the_check_itself(kills, tmp_path):
    from benchmarks.robustness.outcome import WrongResult

    module, given, whole, _ = kills
    with pytest.raises(WrongResult, match="differs"):
        module.kill_and_go_on(given, tmp_path / "a.zarr", {key: -value for key, value in whole.items()}, [])


def test_a_full_disk_leaves_a_whole_store_that_goes_on(work, write, tmp_path, monkeypatch):
    target, written, room = tmp_path / "a.zarr", os.write, [300_000]  # bytes; all takes twice as much

    def limited(descriptor, data):
        if descriptor > 2:
            if room[0] < len(data):
                raise OSError(errno.ENOSPC, "No space left on device")
            room[0] -= len(data)
        return written(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", limited)
        with pytest.raises(BadInput, match=r"No space left on device.*free some space"):
            write(target, shard=2)
    shown = FeatureStore(target, work.recipes, dtype=None)
    assert 0 < len(shown) < 10
    for bucket in shown:
        expected = work.buckets[int(bucket[0].name[0])]
        assert all(torch.equal(maps[tap], one[tap]) for maps, one in zip(bucket, expected) for tap in one)
    assert 0 < write(target, shard=2) <= 10 - len(shown)
    assert len(FeatureStore(target, work.recipes)) == 10
    assert not list(target.rglob("*.part")) + list(target.rglob("*.maps"))
