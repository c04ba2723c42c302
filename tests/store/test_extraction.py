"""Extraction with threads ahead and behind writes what it writes without them, to the byte, however it ends."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import shiftless
from shiftless.store import extraction, writer
from shiftless.store.extraction import extract_into
from shiftless.store.recovery import waiting
from shiftless.store.target import target_of

RECIPES = [shiftless.Recipe(taps=("up0",), size=64), shiftless.Recipe(taps=("up1",), size=64, seed=1)]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A tiny model, and eleven photos: two shapes, one damaged, one missing, one that was given twice."""
    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for i in range(9):
        pixels = np.random.default_rng(i).integers(0, 256, (64 if i % 3 else 32, 64, 3), dtype=np.uint8)
        paths.append(folder / f"{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    paths[4].write_bytes(paths[4].read_bytes()[:200])
    paths.insert(6, folder / "missing.png")
    paths.append(paths[0])
    return SimpleNamespace(model=shiftless.load("twin:sd15", device="cpu", dtype="fp32"), paths=paths)


def run(given, out, threads, paths=None, **more):
    with target_of(str(out), given.model, RECIPES) as target:
        target.recover()
        return extract_into(
            target, given.model, given.paths if paths is None else paths, RECIPES, batch=3, threads=threads, **more
        )


def files(folder):
    return {p.relative_to(folder).as_posix(): content(p) for p in folder.rglob("*") if p.is_file()}


def content(path):
    """A file's bytes; of a safetensors file the header as JSON, since its keys have no order, and the rest."""
    data = path.read_bytes()
    if path.suffix != ".safetensors":
        return data
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


@pytest.mark.parametrize("name", ["features", "features.zarr"])
def test_threads_change_no_byte(given, tmp_path, name):
    (tmp_path / "0").mkdir()
    (tmp_path / "3").mkdir()
    outcomes = [run(given, tmp_path / str(threads) / name, threads) for threads in (0, 3)]
    assert outcomes[0] == outcomes[1]
    assert (outcomes[0].done, outcomes[0].there) == (8, 1)
    assert [line.split(": ")[0].rpartition("/")[2] for line in outcomes[0].failed] == ["4.png", "missing.png"]
    assert files(tmp_path / "0") == files(tmp_path / "3")
    again = run(given, tmp_path / "3" / name, 3)
    assert (again.done, again.there, again.failed) == (0, 9, outcomes[0].failed)


def test_photos_are_opened_and_prepared_by_other_threads_in_their_order(given, tmp_path, monkeypatch):
    import threading

    opened, open_photo = [], extraction.open_photo

    def noted(source):
        opened.append(threading.current_thread())
        return open_photo(source)

    monkeypatch.setattr(extraction, "open_photo", noted)
    read = []
    run(given, tmp_path / "a.zarr", 2, read=lambda bucket: read.append(bucket[0].name))
    assert len(opened) == len(given.paths)
    assert threading.current_thread() not in opened
    assert read == [str(path) for i, path in enumerate(given.paths[:-1]) if i not in (4, 6)]


def test_a_prompt_without_a_value_is_a_line_in_its_place(given, tmp_path):
    recipes = [shiftless.Recipe(taps=("up0",), size=64, prompt="a {category}")]

    def fill(photo):
        return {} if photo.name.endswith("2.png") else {"category": "cow"}

    lines = []
    for threads in (0, 2):
        with target_of(str(tmp_path / str(threads)), given.model, recipes, fill=fill) as target:
            result = extract_into(target, given.model, given.paths, recipes, batch=3, threads=threads, fill=fill)
        lines.append(result.failed)
    assert lines[0] == lines[1]
    assert [line.split(": ")[0].rpartition("/")[2] for line in lines[0]] == ["2.png", "4.png", "missing.png"]


def test_an_interrupt_leaves_a_whole_store_of_what_was_read(given, tmp_path):
    whole = run(given, tmp_path / "whole.zarr", 0)
    read = []

    def stop(bucket):
        if len(read) == 4:
            raise KeyboardInterrupt
        read.append(bucket)

    with pytest.raises(KeyboardInterrupt):
        run(given, tmp_path / "a.zarr", 2, read=stop)
    store = shiftless.FeatureStore(tmp_path / "a.zarr", RECIPES, dtype=None)
    assert sorted(bucket[0].name for bucket in store) == sorted(bucket[0].name for bucket in read)
    assert run(given, tmp_path / "a.zarr", 2).done == whole.done - 4
    for bucket in shiftless.FeatureStore(tmp_path / "a.zarr", RECIPES, dtype=None):
        assert all(bool(torch.isfinite(value).all()) for maps in bucket for value in maps.values())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_kill_leaves_a_whole_store_that_goes_on(given, tmp_path, share):
    from benchmarks.robustness.storekills import check_shown, killed_at, maps_in

    paths = given.paths[:4]

    def act(out):
        def read(done):
            torch.set_num_threads(1)  # a forked process has none of its parent's
            writer._SYNC = 1e9  # seconds: how many file operations there are must not depend on time
            run(given, out, 2, paths, read=lambda bucket: done())

        return read

    operations, _ = killed_at(None, act(tmp_path / "whole.zarr"))
    whole = maps_in(tmp_path / "whole.zarr")
    target = tmp_path / "a.zarr"
    killed_at(int(share * operations), act(target))
    check_shown(target, whole)
    killed_at(None, act(target))
    shown = maps_in(target)
    assert shown.keys() == whole.keys()
    assert waiting(target) == 0
    check_shown(target, {key: shown[key] for key in whole})
