"""`shiftless bench ade20k`, `cityscapes` and `scenes`: on made copies of the published layouts, and broken ones."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from shiftless.recipe import Recipe
from tests.data.scenelayouts import ade20k, cityscapes, own

QUICK = ("-m", "twin:dino-s16", "-r", "one.toml", "--head", "linear", "--steps", 1, "--size", 32)
MADE = {"ade20k": ade20k, "cityscapes": cityscapes}


@pytest.fixture
def recipe(tmp_path, loaded_once):
    (tmp_path / "one.toml").write_text(Recipe(taps=("block0",), size=32).to_toml())


@pytest.mark.parametrize(("name", "side", "keep"), [("ade20k", "512", "no"), ("cityscapes", "1024", "memory")])
def test_a_made_copy_is_learned_and_scored(command, tmp_path, recipe, name, side, keep):
    MADE[name](tmp_path / "data")
    data = ("bench", name, "--data", "data", "--json", "scores.json")
    code, out, err = command(*data, *QUICK, "--keep", keep, "--photos", 1)
    assert code == 0, err
    assert ("photos read as a whole" in out) is (keep == "memory")
    assert "1 photo to learn from, the last step is scored, 1 to test" in out
    written = json.loads((tmp_path / "scores.json").read_text())
    assert {row["metric"] for row in written["rows"]} >= {"mIoU", "aAcc", "mAcc"}
    assert (tmp_path / "out" / name / "heads").is_dir()
    code, out, err = command(*data, *QUICK[:-2])  # the published view
    assert (code, out) == (2, "")
    assert f"side={side}: a view is larger than every photo" in err


def test_what_is_wrong_with_a_folder_is_one_line(command, tmp_path, recipe):
    ade20k(tmp_path / "ade")
    own(tmp_path / "own", {"train": (0,), "test": (1,)})
    (tmp_path / "own/classes.json").write_text(json.dumps(["sky", "road"]))
    mask = tmp_path / "ade/ADEChallengeData2016/annotations/validation/ADE_val_00000002.png"
    Image.new("L", (48, 32), 151).save(mask)
    says = {
        ("ade20k", "ade"): "ADE_val_00000002.png: holds the numbers 151; classes have 150",
        ("cityscapes", "ade"): "ade: not laid out as Cityscapes, with leftImg8bit/ and gtFine/",
        ("scenes", "own"): "unknown label values 2; there are 2 classes",
        ("scenes", "nowhere"): "nowhere: no such folder",
    }
    for (name, data), expected in says.items():
        code, out, err = command("bench", name, "--data", data, *QUICK)
        assert (code, out) == (2, ""), err
        assert expected in err, err
        assert "Traceback" not in err
        said = [line for line in err.splitlines() if not line.startswith(("note:", "reading masks:"))]
        assert len(said) == 1, err
    assert not (tmp_path / "out").exists()
