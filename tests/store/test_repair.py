"""Damage is found by checksums, taken out by a repair, and read again by the next run; the rest is kept to the bit."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

from shiftless import BadInput, FeatureStore
from shiftless.store.manifest import Manifest
from shiftless.store.merge import merge, rows_in
from shiftless.store.place import place_of
from shiftless.store.recovery import waiting
from shiftless.store.repair import repair
from shiftless.store.verify import verify
from shiftless.store.writer import StoreWriter


@pytest.fixture
def target(tmp_path, write):
    write(tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


def faults(target):
    place = place_of(target)
    found = verify(place, Manifest.read(place))
    return [(fault.group, fault.rows) for fault in found.faults], found


def flip(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 0x10
    file.write_bytes(data)


def check(target, work, missing=()):
    """What the store holds is what was read, but for the photos of these numbers."""
    for recipe, k in zip(work.recipes, (0, 1)):
        names = {f"{i}.png" for i in range(10)} - {f"{i}.png" for i in missing}
        store = FeatureStore(target, recipe, dtype=None)
        assert set(store.photos) >= names
        for name in names:
            expected = work.buckets[int(name[0])][k]
            assert all(torch.equal(store[name][tap], expected[tap]) for tap in expected)


def test_a_whole_store_has_no_fault(target):
    none, found = faults(target)
    assert (none, found.behind, found.photos) == ([], [], 20)
    assert found.bytes == sum(one.rows * (one.group.bytes_each + 4 * len(one.group.taps)) for one in groups(target))
    result = repair(place_of(target))
    assert (result.rebuilt, result.recovered, result.copies, result.lost) == (False, 0, 0, [])


def groups(target):
    return Manifest.read(place_of(target)).groups.values()


@pytest.mark.parametrize(
    ("file", "at", "rows"),
    [
        ("plain-128x128/up1/c.0.0.0.0", 100, [(0,)]),  # a value of the first photo
        ("plain-128x128/up1/c.0.0.0.0", -20, [(0,), (1,), (2,), (3,)]),  # the index of a shard of four
        ("plain-128x128/photo/c.0", 9, [(0, 1, 2, 3, 4, 5)]),  # a column
    ],
)
def test_a_flipped_bit_is_found_and_its_photos_are_read_again(target, work, write, file, at, rows):
    flip(target / file, at)
    assert [row for group, row in faults(target)[0] if group == "plain-128x128"] == rows
    hit = sorted({number for row in rows for number in row})
    result = repair(place_of(target))
    assert len(result.lost) == len(hit)
    lost = [[1, 2, 4, 5, 7, 8][number] for number in hit]  # the photos of this shape, in their order
    assert faults(target)[0] == []
    check(target, work, missing=lost)
    assert write(target) == len(lost)
    check(target, work)
    zarr = pytest.importorskip("zarr", reason='needs the extra "store"')
    group = zarr.open_group(target)["plain-128x128"]
    assert group["up1"].shape[0] == 6 + len(hit)
    assert all(np.isnan(group["up1"][hit[0]]).ravel())
    assert (group["photo"][hit[0]], group["key"][hit[0]]) == ("", "")
    clean = place_of(target.with_name("b.zarr"))
    assert merge([place_of(target)], clean) == 20
    check(target.with_name("b.zarr"), work)
    assert rows_in([clean]) == 20  # without the rows that were taken out


def test_what_is_lost_is_found(target, work, write):
    (target / "again-128x64" / "up1" / "c.0.0.0.0").unlink()
    (target / "plain-128x64" / "size" / "c.0.0").unlink()
    (target / "plain-128x64" / "up1" / "zarr.json").write_text("{")
    found = faults(target)[1]
    assert {fault.group for fault in found.faults} == {"again-128x64", "plain-128x64"}
    assert found.behind == ["plain-128x64/up1/zarr.json"]
    result = repair(place_of(target))
    assert (len(result.lost), result.copies) == (8, 1)
    assert write(target) == 4
    check(target, work)


def test_a_lost_manifest_is_rebuilt_with_every_photo(tmp_path, work):
    with StoreWriter(tmp_path / "a.zarr", work.model, work.recipes, shard=4) as writer:
        for photo, bucket in zip(work.photos, work.buckets):
            writer.claim(photo)
            writer.write(bucket)
        (tmp_path / "a.zarr" / "zarr.json").unlink()  # the copies beside the arrays are those of the first commit
        writer._failed = True  # as if it had been killed now, with photos that wait
    assert waiting(tmp_path / "a.zarr") > 0
    with pytest.raises(BadInput, match="store repair"):
        FeatureStore(tmp_path / "a.zarr")
    result = repair(place_of(tmp_path / "a.zarr"))
    assert (result.rebuilt, result.recovered > 0, result.lost) == (True, True, [])
    check(tmp_path / "a.zarr", work)
    assert waiting(tmp_path / "a.zarr") == 0
    with pytest.raises(BadInput, match="nothing of a store is left"):
        repair(place_of(tmp_path / "b.zarr"))


def test_a_manifest_that_leads_elsewhere_is_refused(target):
    root = json.loads((target / "zarr.json").read_text())
    held = root["consolidated_metadata"]["metadata"]
    for name in list(held):
        if name.startswith("plain-128x64"):
            held[name.replace("plain-128x64", "..")] = held.pop(name)
    from shiftless.digest import digest_of

    root["attributes"]["shiftless"]["digest"] = digest_of(held)
    (target / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(BadInput, match=r"\.\. is no group of features \(its name is not one of a folder\)"):
        Manifest.read(place_of(target))


# ---- several stores in one


def test_stores_of_several_writers_become_one_by_one_commit(tmp_path, work, write):
    for part, which in (("0", range(4)), ("1", range(3, 8)), ("2", range(8, 10))):
        write(tmp_path / f"{part}.zarr", which, shard=1 + int(part))
    out = place_of(tmp_path / "all.zarr")
    write(tmp_path / "all.zarr", [9], shard=4)
    before = Manifest.read(out).commit
    assert merge([place_of(tmp_path / f"{part}.zarr") for part in "012"], out) == 18
    assert Manifest.read(out).commit == before + 1
    check(tmp_path / "all.zarr", work)
    assert merge([place_of(tmp_path / "1.zarr")], out) == 0
    assert faults(tmp_path / "all.zarr")[0] == []
    remote = place_of(f"memory://{tmp_path}/r.zarr")
    assert merge([out], remote) == 20
    check(remote.name, work)
    with pytest.raises(BadInput, match="merged into itself"):
        merge([out], out)
    with pytest.raises(BadInput, match="no such store"):
        merge([place_of(tmp_path / "none.zarr")], out)
    flip(tmp_path / "2.zarr" / "plain-128x128" / "up0" / "c.0.0.0.0", 7)
    with pytest.raises(BadInput, match=r"2\.zarr: .*store repair"):
        merge([place_of(tmp_path / "2.zarr")], place_of(tmp_path / "new.zarr"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_a_merge_that_is_killed_has_changed_nothing(tmp_path, work, write):
    from benchmarks.robustness.storekills import killed_at

    write(tmp_path / "a.zarr", range(5))
    write(tmp_path / "b.zarr", range(5, 10))
    sources, target = [place_of(tmp_path / "b.zarr")], place_of(tmp_path / "a.zarr")
    shown = (tmp_path / "a.zarr" / "zarr.json").read_bytes()
    for number in (30, 100):
        killed_at(number, lambda tell: merge(sources, target))
        assert (tmp_path / "a.zarr" / "zarr.json").read_bytes() == shown
        assert faults(tmp_path / "a.zarr")[0] == []
    assert merge(sources, target) == 10
    check(tmp_path / "a.zarr", work)
