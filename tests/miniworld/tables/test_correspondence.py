"""The correspondence table end to end on a twin: rows, gains, heads trained, saved and found again."""

from __future__ import annotations

import pytest
import torch

import shiftless
from miniworld.tables.correspondence import (
    GAIN,
    bucket_of,
    possible,
    readings_of,
    rows_of,
    run,
    shipped_heads,
    slug,
)
from miniworld.tables.methods import METHODS, Method
from miniworld.tables.pairs import mini_pairs
from miniworld.tables.train_heads import train
from shiftless import Bucket, Recipe
from shiftless.bench.pairs import ONE, Scores, evaluate, matches_by_prompt, reader, score
from shiftless.reading.available import available

CONV = "baseline + output convolution"


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    message = []
    options = {"pairs": {"train": 3, "val": 2}, "steps": 2, "progress": False, "report": message.append}
    heads = train(model, folder / "heads", looks=("photo",), seeds=(0, 1), **options)
    return folder, heads, message


@pytest.fixture(scope="module")
def table(model, trained):
    return run(model, n=2, looks=("photo",), heads=trained[1], progress=False)


def test_rows_are_what_the_model_has_parts_for(table):
    methods = {row.method for row in table.rows}
    assert {"baseline, convolutional", "+ ControlNet, convolutional", CONV} <= methods
    assert not any("LoRA" in name or "GATE" in name for name in methods)
    assert any("left out" in note and "GATE with output convolution" in note for note in table.notes)


def test_a_plain_row_is_what_plain_matching_gives(model, table):
    recipe = readings_of("photo")["base0"].but(taps=("up0",))
    scores = evaluate(mini_pairs("test", 2), reader(model, [recipe]), ONE)["one"]
    assert table.value("baseline, convolutional", "PCK@0.1 bbox") == scores.bbox.sum() / scores.totals.sum()


def test_gains_are_against_the_baseline_of_the_same_kind(table):
    ours, base = (table.value(name, "PCK@0.1 bbox") for name in ("+ ControlNet + output", CONV))
    assert table.value("+ ControlNet + output", GAIN) == pytest.approx(ours - base)
    ours, base = (table.value(name, "PCK@0.1 bbox") for name in ("DIFT", "baseline, convolutional"))
    assert table.value("DIFT", GAIN) == pytest.approx(ours - base)
    assert [row for row in table.rows if row.method == CONV and row.metric == GAIN] == []


def test_the_baselines_and_gate_have_a_second_row_with_flip(model, trained, table):
    for name in ("baseline, convolutional", CONV):
        ours, base = (table.value(row, "PCK@0.1 bbox") for row in (f"{name}, with flip", name))
        assert table.value(f"{name}, with flip", GAIN) == pytest.approx(ours - base)
    assert {m.flip_of for m in METHODS if m.flip_of.startswith("GATE")} == {
        "GATE without output convolution",
        "GATE with output convolution",
    }
    recipe = readings_of("photo")["base0"].but(taps=("up0",))
    matched = matches_by_prompt(model, mini_pairs("test", 2), recipe, None, flip=True)
    flipped = score(mini_pairs("test", 2), [either.points for _, either in matched])
    assert (
        table.value("baseline, convolutional, with flip", "PCK@0.1 bbox") == flipped.bbox.sum() / flipped.totals.sum()
    )
    assert any(note.startswith(f"photo: {CONV}, with flip - without: ") for note in table.notes)
    (cost,) = (note for note in table.notes if "mirrored sources" in note)
    assert cost.startswith("photo: the mirrored sources took 2 denoiser calls beside ")  # two sources, base0 alone
    assert not any("flip" in name for name in trained[1])


def test_heads_are_found_where_they_were_written(model, trained, monkeypatch):
    folder, heads, message = trained
    assert len(message) == len(heads) >= 4
    assert all(len(seeds) == 2 for seeds in heads.values())
    monkeypatch.setattr(model, "home", folder)
    loaded = shipped_heads(model)
    assert set(loaded) == set(heads)
    for name, (first,) in loaded.items():
        assert first.recipes == heads[name][0].recipes
        for key, value in first.state_dict().items():
            torch.testing.assert_close(value, heads[name][0].state_dict()[key], atol=2e-3, rtol=2e-3)
    assert (folder / "heads" / f"{slug(CONV)}.0.safetensors").is_file()


def test_a_method_takes_its_readings_and_their_taps():
    maps = shiftless.extract(
        shiftless.load("twin:sd15", dtype="fp32"),
        torch.zeros(3, 64, 64),
        [Recipe(taps=("up0", "up.cross.map.s16")), Recipe(taps=("up0",), seed=1)],
    )
    method = Method("m", ("b", "a"), ("a/maps",))
    bucket = bucket_of(method, maps, ["a", "b"])
    assert isinstance(bucket, Bucket)
    assert [list(reading) for reading in bucket] == [["up0"], ["up0"], ["up.cross.map.s16"]]
    assert torch.equal(bucket[0]["up0"], maps[1]["up0"])


def test_what_is_not_at_hand_is_not_read(model):
    there = available(model, readings_of("photo"))
    assert "control0" in there
    assert not {"fine0", "lora0", "all"} & set(there)
    assert not possible(next(m for m in METHODS if m.name.startswith("GATE with ")), there)


def test_gains_by_hand():
    import numpy as np

    totals = np.array([4, 4])
    scores = {
        "trivial: same relative position": Scores(np.array([0, 0]), np.array([0, 0]), totals),
        "a": Scores(np.array([1, 1]), np.array([1, 1]), totals),
        "b": Scores(np.array([2, 3]), np.array([2, 2]), totals),
    }
    methods = [Method("a", (), against="a"), Method("b", (), against="a")]
    rows = {(row.method, row.metric): row for row in rows_of(scores, methods, ", sketch")}
    assert rows["b", f"{GAIN}, sketch"].value == 0.25
    assert rows["b", f"{GAIN}, sketch"].ci95 == (0.25, 0.25)
    assert rows["b", "PCK@0.1 img, sketch"].value == 5 / 8
    assert ("a", f"{GAIN}, sketch") not in rows
