"""A store gives what was read, to the bit: by FeatureStore, plain zarr and xarray; nothing stale, nothing twice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from shiftless import BadInput, FeatureDataset, FeatureStore
from shiftless.features import FeatureMaps
from shiftless.image import Photo
from shiftless.store.writer import StoreWriter

NAMES = [f"{i}.png" for i in range(10)]


@pytest.fixture(scope="module")
def store(tmp_path_factory, write):
    target = tmp_path_factory.mktemp("store") / "a.zarr"
    assert write(target) == 10
    return target


def test_every_photo_comes_back_to_the_bit(store, work):
    both = FeatureStore(store, work.recipes, dtype=None)
    assert both.photos == NAMES
    for read, expected in zip(both, work.buckets, strict=True):
        for maps, one in zip(read, expected, strict=True):
            assert (maps.name, maps.frame, maps.recipe, maps.origin) == (one.name, one.frame, one.recipe, one.origin)
            assert (maps.taps.keys(), maps.words, maps.prompt) == (one.taps.keys(), one.words, one.prompt)
            assert all(torch.equal(maps[tap], one[tap]) for tap in one)
    single = FeatureStore(store, work.recipes[1])
    assert isinstance(single[-1], FeatureMaps)
    assert single[3]["up1"].dtype == torch.float32


def test_a_photo_is_found_by_name_digest_number_and_content(store, work, tmp_path):
    single = FeatureStore(store, work.recipes[1])
    photo = work.photos[4]
    Image.fromarray(photo.array).save(tmp_path / "moved.png")
    for wanted in ("4.png", photo.digest, 4, -6, photo, photo.array, tmp_path / "moved.png"):
        assert single[wanted].name == "4.png"
    assert single.digests[4] == photo.digest
    with pytest.raises(IndexError):
        single[10]
    with pytest.raises(BadInput, match=r"no photo x/4\.png; there is 4\.png"):
        single["x/4.png"]
    with pytest.raises(BadInput, match="no photo has the content of this image"):
        single[np.zeros((8, 8, 3), np.uint8)]


def test_plain_zarr_and_xarray_read_it(store, work):
    zarr = pytest.importorskip("zarr", reason='needs the extra "store"')
    xarray = pytest.importorskip("xarray", reason="is a dependency of the tests")
    square, wide = [i for i in range(10) if i % 3], [i for i in range(10) if not i % 3]
    root = zarr.open_group(store, mode="r")
    assert sorted(root) == ["again-128x128", "again-128x64", "plain-128x128", "plain-128x64"]
    for name, which in (("plain-128x128", square), ("plain-128x64", wide)):
        group = root[name]
        assert list(group["photo"][:]) == [NAMES[i] for i in which]
        assert group["size"][:].tolist() == [list(work.photos[i].hw) for i in which]
        for tap in ("up0", "up1"):
            expected = torch.cat([work.buckets[i][0][tap] for i in which]).numpy()
            assert (group[tap].shape, group[tap].dtype) == (expected.shape, np.float16)
            np.testing.assert_array_equal(group[tap][:], expected)
            np.testing.assert_array_equal(zarr.open_array(store / name / tap, mode="r")[1:3], expected[1:3])
        assert group.attrs["shiftless"]["recipe"] == work.recipes[0].to_toml()
        assert group.attrs["shiftless"]["fed"] == list(work.buckets[which[0]][0].frame.fed)
    data = xarray.open_zarr(store, group="again-128x64", chunks=None)
    assert data.up1.dims == ("photo", "up1.channel", "up1.row", "up1.column")
    np.testing.assert_array_equal(data.up1.sel(photo="6.png"), work.buckets[6][1]["up1"][0].numpy())


def test_a_loader_s_workers_read_it(store, work):
    dataset = FeatureDataset(store, work.recipes, dtype=None)
    chosen = torch.utils.data.Subset(dataset, [1, 2, 4, 5])
    batches = list(DataLoader(chosen, batch_size=2, num_workers=2, collate_fn=FeatureDataset.collate))
    assert [batch.names for batch in batches] == [["1.png", "2.png"], ["4.png", "5.png"]]
    expected = torch.stack([torch.cat([work.buckets[i][k]["up1"] for i in (4, 5)]) for k in range(2)])
    assert torch.equal(batches[1].maps["up1"], expected)
    assert FeatureDataset(store, work.recipes[1], transform=lambda maps: maps.name)[0] == "0.png"


def test_what_is_there_is_not_read_again_and_nothing_stands_for_it(tmp_path, work, write):
    target = tmp_path / "a.zarr"
    assert write(target, range(3)) == 3
    assert write(target, range(5)) == 2
    assert write(target, range(5), recipes=work.recipes[:1]) == 0
    assert write(target, range(1), dtype="fp32") == 1
    assert len(list(target.glob("*-*"))) == 4 + 2  # two shapes of two recipes; one photo again, in groups of its own
    with pytest.raises(BadInput, match=r"both hold 0\.png; choose one with groups="):
        FeatureStore(target, work.recipes)
    assert len(FeatureStore(target, groups=["plain-128x64", "plain-128x128"])) == 5
    for what, value in (("fingerprint", "another"), ("dtype", "bf16")):
        model = SimpleNamespace(**{**vars(work.model), what: torch.bfloat16 if what == "dtype" else value})
        with StoreWriter(target, model, work.recipes) as writer:
            assert writer.claim(work.photos[0])
            writer.write([replace(maps, origin=replace(maps.origin, **{what: value})) for maps in work.buckets[0]])
            assert not writer.claim(work.photos[0])
    with pytest.raises(BadInput, match=r"two models .*choose groups="):
        FeatureStore(target, work.recipes)


def test_a_photo_of_the_same_content_is_kept_once(tmp_path, work):
    target, photo = tmp_path / "a.zarr", work.photos[1]
    again = Photo(photo.array, "copy.png", photo.digest)
    with StoreWriter(target, work.model, work.recipes) as writer:
        assert [writer.claim(photo), writer.claim(again), writer.claim(photo)] == [True, False, False]
        writer.write(work.buckets[1])
    assert writer.files == {name: ["plain-128x128", "again-128x128"] for name in ("1.png", "copy.png")}
    with StoreWriter(target, work.model, work.recipes) as writer:
        assert not writer.claim(again)
    assert writer.files == {"copy.png": ["plain-128x128", "again-128x128"]}
    assert FeatureStore(target, work.recipes)[again][0].name == "1.png"


def test_two_writers_fill_disjoint_shards_that_become_one_store(tmp_path, work):
    target = tmp_path / "a.zarr"
    with (
        StoreWriter(target, work.model, work.recipes, shard=2) as a,
        StoreWriter(target, work.model, work.recipes, shard=2) as b,
    ):
        a.recover()
        b.recover()  # a lives: its photos are left alone
        for i in range(10):
            for writer in (a, b) if i in (4, 5) else (a,) if i < 5 else (b,):
                assert writer.claim(work.photos[i])  # neither knows what the other is reading
                writer.write(work.buckets[i])
    store = FeatureStore(target, work.recipes, dtype=None)
    assert store.photos == NAMES
    for read, expected in zip(store, work.buckets):
        assert all(torch.equal(r[tap], e[tap]) for r, e in zip(read, expected) for tap in e)
    zarr = pytest.importorskip("zarr")
    assert zarr.open_group(target)["plain-128x128/up1"].shape[0] == 6


def test_values_beyond_fp16_go_into_a_group_in_fp32(tmp_path, work):
    large = work.buckets[1][1]
    large = replace(large, maps={"up1": large["up1"].float() * 1e9})
    with StoreWriter(tmp_path / "a.zarr", work.model, work.recipes[1:]) as writer:
        for i in (1, 2):
            assert writer.claim(work.photos[i])
        writer.write([large])
        writer.write([work.buckets[2][1]])
    assert writer.widened == 1
    store = FeatureStore(tmp_path / "a.zarr", dtype=None)
    assert torch.equal(store["1.png"]["up1"], large["up1"])
    assert store["2.png"]["up1"].dtype == torch.float16


def test_a_reading_with_another_prompt_takes_the_place_of_the_first(tmp_path, work):
    recipe = work.recipes[1].but(prompt="a {thing}")
    for thing in ("cow", "horse"):
        with StoreWriter(tmp_path / "a.zarr", work.model, [recipe], fill={"thing": thing}) as writer:
            assert writer.claim(work.photos[1])
            writer.write([replace(work.buckets[1][1], recipe=recipe, prompt=f"a {thing}")])
    store = FeatureStore(tmp_path / "a.zarr")
    assert (len(store), store[0].prompt) == (1, "a horse")


def test_a_flipped_bit_is_not_given(tmp_path, work, write):
    target = tmp_path / "a.zarr"
    write(target, [1, 2, 4])
    shard = target / "again-128x128" / "up1" / "c.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[5] ^= 1
    shard.write_bytes(data)
    store = FeatureStore(target, work.recipes[1])
    assert store["2.png"].name == "2.png"
    with pytest.raises(BadInput, match=r"up1 of 1\.png is damaged .*shiftless store verify"):
        store["1.png"]
    shard.unlink()
    with pytest.raises(BadInput, match=r"up1 of 4\.png is damaged .*is not there"):
        store["4.png"]


def test_what_cannot_be_read_or_written_is_one_line(tmp_path, work, write, store):
    with pytest.raises(BadInput, match=r"none\.zarr: no such store"):
        FeatureStore(tmp_path / "none.zarr")
    with pytest.raises(BadInput, match=r"holds 2 readings \(.*plain.*again.*recipes="):
        FeatureStore(store)
    with pytest.raises(BadInput, match=r"no photo was read by other; it holds plain, again"):
        FeatureStore(store, work.recipes[0].but(seed=9, label="other"))
    with pytest.raises(BadInput, match="at least one Recipe"):
        FeatureStore(store, [])
    with pytest.raises(BadInput, match=r"no group 'x'; it has plain-128x128, again"):
        FeatureStore(store, groups=["x"])
    with pytest.raises(BadInput, match="save-dtype 'bf16': Zarr has fp16 and fp32"):
        StoreWriter(tmp_path / "b.zarr", work.model, work.recipes, dtype="bf16")
    for content in (b"{}", b'{"attributes": {"shiftless": {"version": 9}}}', b"\xff" * 9):
        (tmp_path / "c.zarr").mkdir(exist_ok=True)
        (tmp_path / "c.zarr" / "zarr.json").write_bytes(content)
        for way in (lambda: FeatureStore(tmp_path / "c.zarr"), lambda: write(tmp_path / "c.zarr")):
            with pytest.raises(BadInput, match=r"c\.zarr: "):
                way()
    copied = shutil.copytree(store, tmp_path / "d.zarr")
    root = copied / "zarr.json"
    root.write_bytes(root.read_bytes().replace(b"512", b"511").replace(b"128", b"129", 1))
    with pytest.raises(BadInput, match=r"zarr\.json is damaged; .*store repair"):
        FeatureStore(copied)


def test_a_store_in_memory_is_the_same(tmp_path, work, write):
    pytest.importorskip("fsspec")
    zarr = pytest.importorskip("zarr", reason='needs the extra "store"')
    target = f"memory://{tmp_path}/a.zarr"
    assert (write(target, range(7), shard=2), write(target, shard=2)) == (7, 3)
    store = FeatureStore(target, work.recipes, dtype=None)
    assert store.photos == NAMES
    for read, expected in zip(store, work.buckets):
        assert all(torch.equal(r[tap], e[tap]) for r, e in zip(read, expected) for tap in e)
    group = zarr.open_group(target, mode="r")["plain-128x64"]
    np.testing.assert_array_equal(group["up0"][2], work.buckets[6][0]["up0"][0].numpy())
