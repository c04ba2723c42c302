"""The published sets' bench: splits dealt out by seed, each photo predicted by the heads that may see it."""

import json

import numpy as np
import pytest
from PIL import Image

import shiftless
from shiftless.bench.scarce import published, run
from shiftless.data.scarce import dealt, part_set
from shiftless.errors import BadInput
from shiftless.reading.together import Reader
from shiftless.recipe import Recipe


@pytest.fixture
def horses(tmp_path, monkeypatch):
    """Eight photos in the layout of Horse-21, whose two classes differ in brightness; splits of four and three."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        (tmp_path / f"horse_21/real/{part}").mkdir(parents=True)
        for i in range(4):
            mask = np.zeros((32, 32), np.uint8)
            x = int(rng.integers(0, 16))
            mask[:, x : x + 16] = 3
            pixels = (mask[..., None] * 60 + rng.integers(0, 30, (32, 32, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"horse_21/real/{part}/{i}.png")
            np.save(tmp_path / f"horse_21/real/{part}/{i}.npy", mask)
    from dataclasses import replace

    small = replace(part_set("horse21"), train=4, test=3)
    monkeypatch.setattr("shiftless.bench.scarce.part_set", lambda name: small)
    return tmp_path


def test_the_table_has_the_model_beside_what_needs_none(horses, tmp_path):
    model = shiftless.load("twin:dino-s16", device="cpu", dtype="fp32")
    readers = [Reader(model, (Recipe(taps=("block0",), size=64),))]
    fitting = {"members": 2, "layers": (16, 8), "patience": 5, "epochs": 20, "batch": 256}
    table = run(readers, horses, "horse21", splits=2, fitting=fitting, progress=False, presets=["ddpm-segmentation"])
    assert [row.method for row in table.rows if row.metric == "mIoU"] == [
        "trivial: the class that is commonest there", "trivial: colour and position", "twin:dino-s16",
    ]  # fmt: skip
    assert table.value("trivial: colour and position", "mIoU") > 0.9
    assert 0.3 < table.value("twin:dino-s16", "mIoU") <= 1
    assert any("published for ddpm-segmentation: 0.650" in note for note in table.notes)
    assert json.loads(table.write(tmp_path / "table.json").read_text())["published"][0]["value"] == 0.65


def test_splits_share_no_photo_and_differ_by_seed():
    splits = [dealt(60, 30, 30, seed, "horses") for seed in range(3)]
    assert all(sorted(train + test) == list(range(60)) for train, test in splits)
    assert splits[0] != splits[1]
    assert splits[0] == dealt(60, 30, 30, 0, "horses")
    with pytest.raises(BadInput, match="horses: 59 labelled photos; 30 to train and 30 to test on are needed"):
        dealt(59, 30, 30, 0, "horses")


def test_published_numbers_are_shares_of_sets_that_exist():
    assert [row["value"] for row in published("bedroom_28", ["gate-bedroom28", "swav-segmentation"])] == [0.41, 0.531]
    assert [row["value"] for row in published("horse_21", ["swavw2-segmentation"])] == [0.54]
    assert published("horse_21", ["gate-spair"]) == []
