"""Compressed stores: decoded as they are read, whole after a kill, and never of two transforms."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch

from shiftless import BadInput, FeatureStore
from shiftless.store import writer as writing
from shiftless.store.export import export
from shiftless.store.manifest import Manifest
from shiftless.store.merge import merge
from shiftless.store.place import place_of
from shiftless.store.recovery import waiting
from shiftless.store.repair import repair
from shiftless.store.transforms import transform_of
from shiftless.store.verify import verify
from shiftless.store.writer import StoreWriter

LEAST = {"int8": 0.99, "pca:64": 0.9999, "pq:16": 0.85}  # cosines of decoded cells; up0 and up1 have 64 channels


@pytest.fixture(autouse=True)
def small_samples(monkeypatch):
    """A transform is learned from four photos."""
    monkeypatch.setattr(writing, "PHOTOS", 4)


@pytest.fixture(scope="module")
def stores(tmp_path_factory, write):
    """A store of ten photos by each compression."""
    folder = tmp_path_factory.mktemp("compressed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "PHOTOS", 4)
        for compress in LEAST:
            assert write(folder / f"{compress}.zarr", compress=compress) == 10
    return folder


def bytes_in(target) -> dict[str, bytes]:
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}


@pytest.mark.parametrize("compress", LEAST)
def test_maps_come_back_decoded(stores, work, compress):
    target = stores / f"{compress}.zarr"
    store = FeatureStore(target, work.recipes)
    assert len(store) == 10
    for read, expected in zip(store, work.buckets, strict=True):
        for maps, one in zip(read, expected, strict=True):
            assert (maps.frame, maps.recipe, maps.origin, list(maps)) == (one.frame, one.recipe, one.origin, list(one))
            for tap, value in one.items():
                assert (maps[tap].shape, maps[tap].dtype) == (value.shape, torch.float32)
                cosine = torch.cosine_similarity(maps[tap], value.float())
                assert cosine.mean() > LEAST[compress]
    place = place_of(target)
    assert verify(place, Manifest.opened(place)).faults == []
    assert waiting(target) == 0
    assert sorted(os.listdir(target / ".shiftless/transforms")) == sorted(
        path.name for path in (target / ".shiftless/transforms").glob("*.safetensors")
    )


def test_a_store_takes_the_bytes_that_it_says(stores, work):
    sizes = {}
    for compress in LEAST:
        one = Manifest.opened(place_of(stores / f"{compress}.zarr")).groups.values()
        sizes[compress] = sum(group.rows * group.group.bytes_each for group in one)
    assert sizes["int8"] * 2 == sizes["pca:64"] == sizes["pq:16"] * 8  # 64 channels in fp16: 128 bytes, 64, and 16


def test_plain_zarr_reads_what_the_transform_decodes(stores, work):
    zarr = pytest.importorskip("zarr", reason='needs the extra "store"')
    target = stores / "int8.zarr"
    array = zarr.open_group(target, mode="r")["plain-128x128"]["up1"]
    assert (array.dtype, array.shape) == (np.uint8, (6, 64, 8, 8))
    group = next(one.group for one in Manifest.opened(place_of(target)).groups.values() if one.name == "plain-128x128")
    decoded = transform_of(place_of(target), group).decode("up1", array[0])
    np.testing.assert_array_equal(decoded, FeatureStore(target, work.recipes)["1.png"][0]["up1"][0])


def test_exports_are_decoded(stores, work, tmp_path):
    export(place_of(stores / "pq:16.zarr"), "npy", tmp_path / "out", ["plain-128x128"])
    array = np.load(tmp_path / "out/plain-128x128/up1.npy")
    assert (array.dtype, array.shape) == (np.float32, (6, 64, 8, 8))
    np.testing.assert_array_equal(array[1], FeatureStore(stores / "pq:16.zarr", work.recipes)["2.png"][0]["up1"][0])


def test_a_second_run_goes_on_with_the_same_transform(stores, write, tmp_path):
    target = tmp_path / "a.zarr"
    assert (write(target, range(6), compress="pq:16"), write(target, compress="pq:16")) == (6, 4)
    assert bytes_in(target / "plain-128x128") == bytes_in(stores / "pq:16.zarr/plain-128x128")
    assert write(target, compress="pq:16") == 0


def test_a_killed_sample_is_taken_over_by_the_next_writer(stores, work, write, tmp_path):
    target = tmp_path / "a.zarr"
    writer = StoreWriter(target, work.model, work.recipes, shard=4, compress="pca:64")
    for i in range(3):
        writer.claim(work.photos[i])
        writer.write(work.buckets[i])
    writer._sample.close()  # as a kill does
    assert (waiting(target), place_of(target).names()) == (3, [".shiftless"])
    assert write(target, compress="pca:64") == 7
    assert waiting(target) == 0
    assert not list(target.glob(".shiftless/samples/*"))
    assert bytes_in(target / "plain-128x128") == bytes_in(stores / "pca:64.zarr/plain-128x128")


def test_an_interrupt_leaves_a_sample_that_is_too_small(work, tmp_path):
    target = tmp_path / "a.zarr"
    writer = StoreWriter(target, work.model, work.recipes, compress="int8")
    writer.claim(work.photos[0])
    writer.write(work.buckets[0])
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert waiting(target) == 1
    with StoreWriter(target, work.model, work.recipes, compress="pq:16") as other:  # is not its own
        assert other.recover() == []
    with StoreWriter(target, work.model, work.recipes, compress="int8") as writer:
        assert writer.recover() == ["1 photo taken over that an earlier run had left, to be compressed"]
        assert not writer.claim(work.photos[0])
    assert FeatureStore(target, work.recipes).photos == ["0.png"]


def test_two_transforms_of_one_reading_are_refused(stores, write, tmp_path):
    target = shutil.copytree(stores / "int8.zarr", tmp_path / "a.zarr")
    for compress in ("none", "pca:64"):
        with pytest.raises(BadInput, match=r"holds these readings with --compress int8.*do not mix"):
            write(target, compress=compress)
    write(tmp_path / "b.zarr", range(5, 10), compress="int8")  # of other photos: another transform
    for first, second in (("a", "b"), ("b", "a")):
        with pytest.raises(BadInput, match="hold one reading by two transforms"):
            merge([place_of(tmp_path / f"{n}.zarr") for n in (first, second)], place_of(tmp_path / "c.zarr"))
    write(tmp_path / "d.zarr", [1])
    with pytest.raises(BadInput, match="hold one reading by two transforms"):
        merge([place_of(tmp_path / "d.zarr")], place_of(target))
    assert len(FeatureStore(target, groups=["plain-128x128"])) == 6


def test_stores_that_share_a_transform_are_merged(stores, work, write, tmp_path):
    first = tmp_path / "a.zarr"
    write(first, range(4), compress="pca:64")
    second = shutil.copytree(first, tmp_path / "b.zarr")
    write(first, range(7), compress="pca:64")
    write(second, range(7, 10), compress="pca:64")
    merge([place_of(first), place_of(second)], place_of(tmp_path / "c.zarr"))
    merged, whole = (FeatureStore(path, work.recipes) for path in (tmp_path / "c.zarr", stores / "pca:64.zarr"))
    assert merged.photos == whole.photos
    assert all(torch.equal(a[0]["up1"], b[0]["up1"]) for a, b in zip(merged, whole))


def test_a_lost_transform_is_found_and_said_in_one_line(stores, work, tmp_path):
    target = shutil.copytree(stores / "int8.zarr", tmp_path / "a.zarr")
    for file in (target / ".shiftless/transforms").iterdir():
        file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    place = place_of(target)
    faults = verify(place, Manifest.opened(place)).faults
    assert len(faults) == 4
    assert all("cannot be decoded, is lost or damaged" in fault.what for fault in faults)
    with pytest.raises(BadInput, match="cannot be decoded, is lost or damaged"):
        FeatureStore(target, work.recipes)[0]
    with pytest.raises(BadInput, match="copy that file from another copy of the store"):
        repair(place)


def test_a_store_in_memory_is_compressed_too(tmp_path, work, write):
    pytest.importorskip("fsspec")
    target = f"memory://{tmp_path}/a.zarr"
    assert (write(target, range(3), compress="pca:64"), write(target, compress="pca:64")) == (3, 7)
    value = FeatureStore(target, work.recipes)["8.png"][1]["up1"]
    assert torch.cosine_similarity(value, work.buckets[8][1]["up1"].float()).mean() > 0.99


def test_too_many_components_are_refused_before_anything_is_written(write, tmp_path):
    with pytest.raises(BadInput, match="up0 has 64 channels; give at most pca:64"):
        write(tmp_path / "a.zarr", compress="pca:65")
    assert not (tmp_path / "a.zarr").exists()
