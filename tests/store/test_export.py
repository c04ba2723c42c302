"""Exports hold what the store holds, to the bit, as the readers of each form see it."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest

from shiftless import BadInput
from shiftless.store.export import export
from shiftless.store.place import place_of

SQUARE = [1, 2, 4, 5, 7, 8]


@pytest.fixture(scope="module")
def place(tmp_path_factory, write):
    target = tmp_path_factory.mktemp("store") / "a.zarr"
    write(target)
    return place_of(target)


@pytest.fixture
def expected(work):
    return np.concatenate([work.buckets[i][0]["up1"].numpy() for i in SQUARE])


def test_numpy_files(place, work, expected, tmp_path):
    export(place, "npy", tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 4
    folder = tmp_path / "out" / "plain-128x128"
    np.testing.assert_array_equal(np.load(folder / "up1.npy"), expected)
    assert (folder / "recipe.toml").read_text() == work.recipes[0].to_toml() + "\n"
    table = list(csv.DictReader((folder / "table.csv").open()))
    assert [row["photo"] for row in table] == [f"{i}.png" for i in SQUARE]
    assert table[0] == {
        "photo": "1.png",
        "digest": work.photos[1].digest,
        "height": "128",
        "width": "128",
        "prompt": "",
    }
    with pytest.raises(BadInput, match="out: is there already"):
        export(place, "npy", tmp_path / "out")


def test_an_hdf5_file(place, work, expected, tmp_path):
    h5py = pytest.importorskip("h5py", reason='needs the extra "store"')
    export(place, "h5", tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert len(file) == 4
        group = file["plain-128x128"]
        np.testing.assert_array_equal(group["up1"][:], expected)
        assert group["photo"].asstr()[:].tolist() == [f"{i}.png" for i in SQUARE]
        assert (group["width"][0], group.attrs["recipe"]) == (128, work.recipes[0].to_toml())


def test_parquet_files(place, work, expected, tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet", reason='needs the extra "store"')
    monkeypatch.setattr("shiftless.store.export._ROW_GROUP", 40_000)  # bytes: four photos
    export(place, "parquet", tmp_path / "out", ["plain-128x128"])
    (file,) = (tmp_path / "out").iterdir()
    assert pq.ParquetFile(file).num_row_groups == 2
    table = pq.read_table(file)
    assert table["photo"].to_pylist() == [f"{i}.png" for i in SQUARE]
    read = table["up1"].combine_chunks().to_numpy_ndarray()
    assert read.dtype == np.float16
    np.testing.assert_array_equal(read, expected)


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(place, tmp_path, write, monkeypatch):
    for form, package in (("h5", "h5py"), ("parquet", "pyarrow")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(BadInput, match=rf'{package}.*pip install "shiftless\[store\]"'):
                export(place, form, tmp_path / "out")
    with pytest.raises(BadInput, match="no group 'x'; it has plain-128x128, again"):
        export(place, "npy", tmp_path / "out", ["x"])
    write(tmp_path / "b.zarr", [1, 2])
    (tmp_path / "b.zarr" / "again-128x128" / "up1" / "c.0.0.0.0").unlink()
    with pytest.raises(BadInput, match=r"is not there; repair it: shiftless store repair"):
        export(place_of(tmp_path / "b.zarr"), "npy", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["b.zarr"]
