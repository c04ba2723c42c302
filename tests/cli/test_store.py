"""`shiftless store`: a store is listed, checked, mended, merged and exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import shiftless
from shiftless.image import open_photo
from shiftless.store.writer import StoreWriter


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A store of three photos, and one of the last of them and another."""
    folder = tmp_path_factory.mktemp("stores")
    model, recipe = shiftless.load("twin:sd15", device="cpu", dtype="fp32"), shiftless.Recipe(taps=("up1",), size=64)
    pixels = [np.full((64, 64, 3), 40 * i, np.uint8) for i in range(4)]
    photos = [open_photo(array, f"{i}.png") for i, array in enumerate(pixels)]
    for name, chosen in (("a", photos[:3]), ("b", photos[2:])):
        with StoreWriter(folder / f"{name}.zarr", model, [recipe]) as writer:
            for photo in chosen:
                writer.claim(photo)
                writer.write(shiftless.extract(model, photo, [recipe]))
    return folder


@pytest.fixture
def stores(written, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(written / f"{name}.zarr", tmp_path / f"{name}.zarr")


def test_info_lists_the_groups(command, stores):
    code, out, _ = command("store", "info", "a.zarr", "--json", "a.json")
    assert code == 0
    (line,) = (line for line in out.splitlines() if "64x64" in line)
    assert [cell.strip() for cell in line.split("│")[1:6]] == ["64x64", "3", "up1 64x4x4 fp16", "6.14 kB", "twin:sd15"]
    (group,) = json.loads(Path("a.json").read_text())["groups"]
    assert (group["photos"], group["maps"]) == (3, {"up1": {"shape": [64, 4, 4], "dtype": "fp16"}})
    code, _, err = command("store", "info", "none.zarr")
    assert (code, "none.zarr: no such store" in err) == (2, True)


def test_damage_is_found_and_mended(command, stores):
    assert command("store", "verify", "a.zarr")[:2] == (0, "3 readings, 6.16 kB: whole\n")
    shard = Path("a.zarr/64x64/up1/c.0.0.0.0")
    data = bytearray(shard.read_bytes())
    data[2100] ^= 1  # in the second map
    shard.write_bytes(data)
    code, out, err = command("store", "verify", "a.zarr", "--json", "faults.json")
    assert (code, "1 fault" in out, "up1 of 1.png: " in err) == (2, True, True)
    assert json.loads(Path("faults.json").read_text())["faults"][0]["rows"] == [1]
    code, out, _ = command("store", "repair", "a.zarr")
    assert (code, "taken out: 1.png of 64x64" in out, "1 reading to extract again" in out) == (0, True, True)
    assert command("store", "verify", "a.zarr")[0] == 0
    assert "a.zarr is whole" in command("store", "repair", "a.zarr")[1]


def test_stores_are_merged_and_exported(command, stores):
    code, out, _ = command("store", "merge", "a.zarr", "b.zarr", "--out", "c.zarr")
    assert (code, out) == (0, "4 readings added to c.zarr, 1 were there already\n")
    assert shiftless.FeatureStore("c.zarr").photos == [f"{i}.png" for i in range(4)]
    code, out, _ = command("store", "export", "npy", "c.zarr", "--out", "files")
    assert (code, out) == (0, "written: files\n")
    assert np.load("files/64x64/up1.npy").shape == (4, 64, 4, 4)
    code, _, err = command("store", "export", "csv", "c.zarr", "--out", "other")
    assert (code, "'csv': must be npy, h5 or parquet" in err) == (2, True)
