"""Leases: two writers to one store on S3 wait for each other, or find out in time; neither's rows are lost."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from shiftless.backbones.base import Spec
from shiftless.features import FeatureMaps
from shiftless.image import open_photo
from shiftless.reading.inputs import frame_of
from shiftless.recipe import Recipe
from shiftless.store import conditional
from shiftless.store import lease as leases
from shiftless.store import writer as writers
from shiftless.store.claims import Claims
from shiftless.store.conditional import Conflict, Objects, Seen, Unsupported
from shiftless.store.featurestore import FeatureStore
from shiftless.store.lease import Lease, Lost
from shiftless.store.manifest import Manifest
from shiftless.store.parts import merge_parts, new_run, part_name
from shiftless.store.place import place_of
from shiftless.store.verify import verify
from shiftless.store.writer import StoreWriter
from shiftless.taps.names import Tap

FIRST, SECOND = (1, 2, 4), (5, 7, 8)


@pytest.fixture
def store(s3, tmp_path, monkeypatch):
    """What a test needs of one store: `url`, `write` some photos into it, and `check` that it shows these, whole.

    Maps are drawn, so that no model is loaded.
    """
    monkeypatch.setattr(leases, "LOOK", 0.2)
    url, recipe = f"s3://bucket{tmp_path}/a.zarr", Recipe(taps=("up1",), size=64)
    model = SimpleNamespace(spec=Spec("made", "vit", 64, 16, (4, 8)), fingerprint="1f", dtype=torch.float32)
    read = {}
    for i in (*FIRST, *SECOND):
        photo = open_photo(np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8), f"{i}.png")
        values = {"up1": torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(i)).half()}
        origin = Claims(model, [recipe]).origins(photo)[0]
        about = frame_of(model.spec, photo, recipe), recipe, photo.name, (), "", origin
        read[i] = photo, FeatureMaps(values, {"up1": Tap("up1", 8, 16, "")}, *about)

    class Store:
        def __init__(self):
            self.url, self.options = url, s3

        def write(self, which, target=url, **more):
            """Write photos, and return how many had to be read."""
            written = 0
            with StoreWriter(target, model, [recipe], shard=4, options=s3, **more) as writer:
                writer.recover()
                for photo, maps in (read[i] for i in which):
                    if writer.claim(photo):
                        writer.write([maps])
                        written += 1
            return written

        def check(self, which, target=url):
            place = place_of(target, s3)
            assert verify(place, Manifest.opened(place)).faults == []
            shown = FeatureStore(target, dtype=None, options=s3)
            assert sorted(maps.name for maps in shown) == [f"{i}.png" for i in which]
            for maps in shown:
                assert torch.equal(maps["up1"], read[int(maps.name[0])][1]["up1"])

    return Store()


def in_thread(work):
    """Start some work in a thread, and return what waits for its end and gives its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()

    def result():
        thread.join(300)
        assert results, "the work has failed, or takes too long"
        return results[0]

    return result


def test_two_writers_at_once_wait_for_each_other(store, monkeypatch):
    start, refused, take = threading.Barrier(2), [], Lease.take

    def taken(*given):
        lease = take(*given)
        refused.extend([given] if lease is None else [])
        return lease

    def write(which):
        start.wait(60)
        return store.write(which)

    monkeypatch.setattr(Lease, "take", taken)
    ends = [in_thread(lambda which=which: write(which)) for which in (FIRST, SECOND)]
    assert [end() for end in ends] == [3, 3]
    assert refused
    store.check([*FIRST, *SECOND])


@pytest.mark.parametrize("last", ["c.0.0.0.0", "a.zarr/zarr.json"])
def test_a_writer_that_was_halted_puts_nothing_over_what_another_has_put_since(store, monkeypatch, last):
    """It is halted before it puts its first shard, or its manifest, and has given no sign for longer than it may."""
    monkeypatch.setattr(leases, "SIGN", 3600.0)
    put, shards, lost = Objects.put, [], []

    def halted(self, path, *given):
        shards.extend([path] if "/c.0" in path else [])
        if shards and path.endswith(last) and not lost:
            lost.append(path)
            monkeypatch.setattr(leases, "SECONDS", 0.0)
            assert in_thread(lambda: store.write(SECOND))() == 3
            monkeypatch.setattr(leases, "SECONDS", 30.0)
            with pytest.raises(Conflict):
                put(self, path, *given)
            raise Conflict(path)
        return put(self, path, *given)

    monkeypatch.setattr(Objects, "put", halted)
    assert store.write(FIRST) == 3
    assert lost
    store.check([*FIRST, *SECOND])


def test_a_manifest_that_comes_late_is_refused(store, monkeypatch):
    """It was sent by a writer that is then cut off, and comes while the next one replaces that one's shards."""
    monkeypatch.setattr(leases, "SIGN", 3600.0)
    put, shards, sent, refused = Objects.put, [], [], []

    def late(self, path, *given):
        if sent and not refused and "/c.0" in path:
            with pytest.raises(Conflict):
                put(*sent)
            refused.append(path)
        shards.extend([path] if "/c.0" in path else [])
        if shards and path.endswith("a.zarr/zarr.json") and not sent:
            sent.extend([self, path, *given])
            monkeypatch.setattr(leases, "SECONDS", 0.0)
            assert in_thread(lambda: store.write(SECOND))() == 3
            monkeypatch.setattr(leases, "SECONDS", 30.0)
            raise Conflict(path)
        return put(self, path, *given)

    monkeypatch.setattr(Objects, "put", late)
    assert store.write(FIRST) == 3
    assert refused
    store.check([*FIRST, *SECOND])


def test_a_writer_that_is_taken_over_at_each_try_ends_with_one_line(store, monkeypatch):
    monkeypatch.setattr(writers, "_TRIES", 2)
    put, tries = Objects.put, []

    def refused(self, path, content, *more):
        if path.endswith("a.zarr/zarr.json") and b"up1" in content:
            tries.append(path)
            raise Conflict(path)
        return put(self, path, content, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Objects, "put", refused)
        with pytest.raises(Lost, match=r"a\.zarr: another run has written to it meanwhile; run the same command again"):
            store.write(FIRST)
    assert len(tries) == 2
    assert store.write(FIRST) == 3
    store.check(FIRST)


def test_signs_of_one_process_at_once_are_not_taken_for_those_of_another(monkeypatch):
    """Some servers give an object another ETag each time that it is put, though its content is the same."""

    class Counted:
        def __init__(self):
            self.puts, self.turn = 0, threading.Lock()

        def seen(self, _):
            return Seen(None, now=0.0)

        def put(self, _, content, etag, holder=""):
            with self.turn:
                if etag != (str(self.puts) if self.puts else None):
                    raise Conflict
                self.puts += 1
                seen = Seen(str(self.puts), holder, now=0.0)
            time.sleep(0.005)  # until the answer is there
            return seen

    monkeypatch.setattr(leases, "SIGN", 0.001)
    objects = Counted()
    lease = Lease.take(objects, "lease", "a")
    for _ in range(20):
        lease.renew()
    time.sleep(0.1)
    lease.release()
    assert objects.puts > 1 + 20 + 1  # signs were given meanwhile


def test_a_lease_is_held_until_it_is_released_or_its_holder_gives_no_sign(s3, tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "SIGN", 0.2)
    monkeypatch.setattr(conditional, "time", SimpleNamespace(time=lambda: 4e9))  # another clock than the server's
    objects, path = Objects.of(place_of(f"s3://bucket{tmp_path}/a.zarr", s3)._files), f"bucket{tmp_path}/lease"
    first = Lease.take(objects, path, "a")
    time.sleep(2.5)
    assert objects.seen(path).age <= 1.5  # it gives signs
    assert Lease.take(objects, path, "a") is None
    first.release()
    monkeypatch.setattr(leases, "SIGN", 3600.0)
    second = Lease.take(objects, path, "a")
    with pytest.raises(Lost, match="a: another run has written to it meanwhile"):
        first.renew()
    assert Lease.take(objects, path, "a") is None
    second.put(f"{path}.of", b"second")
    monkeypatch.setattr(leases, "SECONDS", -1.0)  # as if that had gone by without a sign
    third = Lease.wait(objects, path, "a")
    with pytest.raises(Lost):
        second.put(f"{path}.of", b"second once more")
    with pytest.raises(Lost):
        second.delete(f"{path}.of")
    second.release()  # leaves the third's lease alone
    monkeypatch.setattr(leases, "SECONDS", 30.0)
    assert Lease.take(objects, path, "a") is None
    third.put(f"{path}.of", b"third")
    assert objects.content(f"{path}.of") == b"third"
    with pytest.raises(Conflict):
        objects.delete(f"{path}.of", objects.seen(path).etag)
    third.delete(f"{path}.of")
    assert objects.seen(f"{path}.of").etag is None
    third.delete(f"{path}.of")


def test_a_run_that_goes_on_is_left_alone_by_the_next_one(store):
    place = place_of(store.url, store.options)
    with new_run(place) as run:
        assert store.write(FIRST, part_name(store.url, run.name), beside=place) == 3
        assert merge_parts(place_of(store.url, store.options)) == 0  # it goes on
        assert store.write(SECOND) == 3
        store.check(SECOND)
    assert store.write(FIRST) == 0  # recovered first
    store.check([*FIRST, *SECOND])


def test_a_run_that_was_taken_for_one_that_has_ended_says_so(store, monkeypatch):
    monkeypatch.setattr(leases, "SIGN", 3600.0)
    place = place_of(store.url, store.options)
    with new_run(place) as run:
        assert store.write(FIRST, part_name(store.url, run.name), beside=place) == 3
        monkeypatch.setattr(leases, "SECONDS", 0.0)
        assert merge_parts(place_of(store.url, store.options)) == 3
        monkeypatch.setattr(leases, "SECONDS", 30.0)
        with pytest.raises(Lost):
            merge_parts(place, run)
    store.check(FIRST)


@pytest.mark.parametrize("bucket", ["refuses", "ignores"])
def test_a_server_without_conditions_takes_one_writer_after_another(store, tmp_path, bucket, monkeypatch):
    def refused(*_):
        raise Unsupported

    url = f"s3://{bucket}{tmp_path}/a.zarr"
    assert [store.write(which, url) for which in (FIRST, SECOND)] == [3, 3]
    store.check([*FIRST, *SECOND], url)
    place = place_of(url, store.options)
    monkeypatch.setattr(Objects, "delete", refused)
    with place.lock():
        assert (place._lease is None) == (bucket == "refuses")
        place.delete("zarr.json")
    assert "zarr.json" not in place.names()
