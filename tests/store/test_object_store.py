"""Stores on targets of fsspec: whole at any moment, also where the writer dies between its shards and its manifest."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from shiftless import FeatureStore
from shiftless.store import lease as leases
from shiftless.store import place as places
from shiftless.store.manifest import NAME
from shiftless.store.place import place_of


class Dead(BaseException):
    """What stands for a kill where the target lives in the memory of the process itself."""


@pytest.fixture(params=["memory", "s3"])
def target(request, tmp_path):
    """A store's address, and the options of its file system."""
    pytest.importorskip("fsspec")
    if request.param == "memory":
        return f"memory://{tmp_path}/a.zarr", {}
    return f"s3://bucket{tmp_path}/a.zarr", request.getfixturevalue("s3")


def check_shown(work, url, options, count):
    """Check that so many photos are shown, each to the bit, and that the files of a zarr reader hold no other."""
    import zarr

    store = FeatureStore(url, dtype=None, options=options)
    assert len(store) == count
    for maps in store:
        expected = work.buckets[int(maps.name[0])][1]
        assert all(torch.equal(maps[tap], expected[tap]) for tap in expected)
    ((_, group),) = zarr.open_group(url, mode="r", storage_options=options).groups()
    assert {array.shape[0] for _, array in group.arrays()} == {count}
    assert all(group["key"][:])


def die_at_the_manifest(monkeypatch, die):
    """Let a writer die where it would put a manifest that shows photos, after all else has been put."""
    written, put = [], places.Remote.write

    def write(self, key, pieces):
        if key == NAME and any("/c." in one for one in written):
            die()
        put(self, key, pieces)
        written.append(key)

    monkeypatch.setattr(places.Remote, "write", write)
    return written


def test_a_writer_that_dies_before_its_manifest_has_changed_nothing_that_is_shown(work, write, target, monkeypatch):
    url, options = target
    monkeypatch.setattr(leases, "SECONDS", 1.0)  # until the next writer takes the dead one's lease over
    first, all_of_them = (1, 2, 4), (1, 2, 4, 5, 7)
    given = {"options": options, "recipes": work.recipes[1:], "shard": 2}
    assert write(url, first, **given) == 3
    check_shown(work, url, options, 3)
    before = place_of(url, options).read(NAME)
    if url.startswith("memory"):
        with monkeypatch.context() as patch:
            written = die_at_the_manifest(patch, lambda: (_ for _ in ()).throw(Dead()))
            with pytest.raises(Dead):
                write(url, all_of_them, **given)
            assert any("/c." in key for key in written)
    else:
        child = os.fork()
        if child == 0:
            try:
                die_at_the_manifest(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
                write(url, all_of_them, **given)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert place_of(url, options).read(NAME) == before
    check_shown(work, url, options, 3)
    assert write(url, all_of_them, **given) == 2
    check_shown(work, url, options, 5)
