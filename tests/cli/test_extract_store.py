"""`shiftless extract --out NAME.zarr`: one store, which the next run continues; and what --dry-run says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import shiftless
from tests import forked  # noqa: F401  # processes start from one that has imported what they need

GIVEN = ("-m", "twin:sd15", "--taps", "up0,up1", "--dtype", "fp32", "--size", "64")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "ph"
    folder.mkdir()
    for i, hw in enumerate(((64, 64), (48, 64), (64, 64))):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (*hw, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def test_a_store_holds_what_a_folder_holds_and_is_continued(command, photos):
    assert command("extract", photos, "-o", "folder", *GIVEN)[0] == 0
    (photos / "2.png").rename("later.png")
    code, _, err = command("extract", photos, "-o", "f.zarr", "--shard", 2, "--json", "where.json", *GIVEN)
    assert (code, "2 read into f.zarr" in err) == (0, True)
    Path("later.png").rename(photos / "2.png")
    code, _, err = command("extract", photos, "-o", "f.zarr", *GIVEN)
    assert (code, "1 read into f.zarr, 2 were there already" in err) == (0, True)
    store, files = shiftless.FeatureStore("f.zarr", dtype=None), shiftless.FeatureDataset("folder", dtype=None)
    assert store.photos == [str(photos / f"{i}.png") for i in range(3)]
    for ours, theirs in zip(store, files, strict=True):
        assert (ours.name, ours.frame, ours.origin) == (theirs.name, theirs.frame, theirs.origin)
        for tap in ("up0", "up1"):  # batches of another size round to other numbers
            torch.testing.assert_close(ours[tap], theirs[tap])
    where = json.loads(Path("where.json").read_text())
    assert where == {str(photos / f"{i}.png"): ["64x64"] for i in range(2)}


def test_a_dry_run_tells_size_and_time_and_writes_nothing(command, photos, monkeypatch):
    usage = SimpleNamespace(free=10**12)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    code, out, _ = command("extract", photos, "-o", "f.zarr", "--dry-run", *GIVEN)
    assert code == 0
    assert not Path("f.zarr").exists()
    rows = [line.split("│") for line in out.splitlines() if " up" in line]
    assert [[cell.strip() for cell in row[1:4]] for row in rows] == [
        ["up0", "512 B", "1.54 kB"],  # 64 channels of 2 x 2 cells, 2 bytes each
        ["up1", "2.05 kB", "6.14 kB"],
    ]
    assert "features: 7.68 kB for 3 photos (2 maps of each in fp16, 2.56 kB); 1 TB are free" in out
    assert "for 3 photos that are not there (3 photos took" in out
    usage.free = 1000
    code, _, err = command("extract", photos, "-o", "f", "--dry-run", *GIVEN)
    assert (code, "1 kB are free; take fewer taps" in err) == (2, True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("-o", "f.zarr", "--save-dtype", "bf16"), "Zarr has fp16 and fp32"),
        (("-o", "memory://f"), "the name of a store ends in .zarr"),
        (("-o", "f", "--shard", 4), "--shard is for a store; f is a folder"),
        (("-o", "f", "--workers", 2), "--workers is for --engine local or ray; give one of them"),
        (("-o", "f", "--engine", "mpi"), "--engine 'mpi': must be one of local, ray"),
        (("-o", "f", "--engine", "local", "--worker-gpus", 1), "--worker-gpus is for --engine ray; leave it out"),
        (("-o", "f", "--engine", "local", "--json", "a.json"), "--json with --engine local: leave it out"),
        (("-o", "f", "--compress", "int8"), "--compress is for a store; f is a folder"),
        (("-o", "f.zarr", "--compress", "int4"), "give none, int8, pca:K"),
        (("-o", "f.zarr", "--compress", "pq:4", "--save-dtype", "fp32"), "leave one of them out"),
    ],
)
def test_what_a_store_cannot_be_is_one_line(command, photos, given, message):
    code, _, err = command("extract", photos, *given, *GIVEN)
    assert (code, message in err.splitlines()[-1]) == (2, True)


def test_workers_write_what_one_process_writes(command, photos, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # to the bit only with as many threads
    (photos / "1.png").write_bytes(b"no picture")
    alone = command("extract", photos, "-o", "f.zarr", "--batch", 1, *GIVEN)
    code, _, err = command(
        "extract", photos, "-o", "w.zarr", "--engine", "local", "--workers", 1, "--device", "cpu", "--batch", 1, *GIVEN
    )
    assert (code, "2 read into w.zarr" in err) == (2, True)
    assert err.splitlines()[-1] == alone[2].splitlines()[-1]
    assert "1.png: not a picture that can be read" in err.splitlines()[-1]
    alone, together = (shiftless.FeatureStore(name, dtype=None) for name in ("f.zarr", "w.zarr"))
    assert together.photos == alone.photos
    for ours, theirs in zip(together, alone, strict=True):
        assert all(torch.equal(ours[tap], theirs[tap]) for tap in ("up0", "up1"))


def test_ray_that_is_not_there_is_one_line(command, photos, monkeypatch):
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "ray" else find_spec(name, *more)
    )
    code, _, err = command("extract", photos, "-o", "f.zarr", "--engine", "ray", *GIVEN)
    assert (code, err.splitlines()[-1].endswith('install it: pip install "shiftless[ray]"')) == (2, True)


def test_a_compressed_store_is_written_and_listed(command, photos):
    options = ("-o", "f.zarr", "--compress", "pq:16", *GIVEN)
    code, out, _ = command("extract", photos, *options, "--dry-run")
    assert (code, "(2 maps of each in pq:16, 320 B)" in out) == (0, True)  # 16 bytes of 2 x 2 and 4 x 4 cells
    assert command("extract", photos, *options)[0] == 0
    code, out, _ = command("store", "info", "f.zarr")
    assert (code, "pq:16" in out, "up1 16x4x4 uint8" in out) == (0, True, True)
    assert shiftless.FeatureStore("f.zarr")[0]["up1"].shape == (1, 64, 4, 4)
    code, _, err = command("extract", photos, "-o", "f.zarr", *GIVEN)
    assert (code, "holds these readings with --compress pq:16" in err.splitlines()[-1]) == (2, True)


def test_a_store_lies_where_fsspec_reaches_and_is_continued(command, photos, tmp_path):
    pytest.importorskip("fsspec")
    out = f"memory://{tmp_path}/f.zarr"
    (photos / "2.png").rename("later.png")
    assert command("extract", photos, "-o", out, *GIVEN)[0] == 0
    Path("later.png").rename(photos / "2.png")
    code, _, err = command("extract", photos, "-o", out, *GIVEN)
    assert (code, f"1 read into {out}, 2 were there already" in err) == (0, True)
    code, printed, _ = command("store", "verify", out)
    assert (code, "3 readings" in printed, "whole" in printed) == (0, True, True)
