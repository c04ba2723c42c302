"""--flip, as a user runs it: photos that face opposite ways, from the command to points and tables."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import shiftless
from shiftless.recipe import Recipe


@pytest.fixture
def turned(tmp_path):
    """a.png and b.png, which is a.png mirrored: 96 x 64 pixels."""
    blocks = np.random.default_rng(3).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(blocks).resize((96, 64), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "a.png")
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "b.png")
    return tmp_path


@pytest.fixture
def folder(turned):
    """Both as a folder of annotated pairs, with two pairs more to split."""
    points = [[10, 10], [40, 30], [70, 50]]
    images = {
        "a": {"file": "a.png", "cls": "thing", "width": 96, "height": 64, "keypoints": points},
        "b": {
            "file": "b.png",
            "cls": "thing",
            "width": 96,
            "height": 64,
            "keypoints": [[95 - x, y] for x, y in points],
        },
    }
    (turned / "annotations.json").write_text(json.dumps({"images": images, "pairs": [["a", "b"]]}))
    return turned


def test_match_finds_the_mirror_image_of_a_photo_and_says_how(command, turned):
    asked = ("--at", "20,30", "--at", "70.5,12", "-m", "twin:sd15", "--dtype", "fp32", "--json", "out.json")
    code, out, err = command("match", "a.png", "b.png", *asked, "--flip", "--mutual")
    assert code == 0, err
    answer = json.loads((turned / "out.json").read_text())
    assert answer["flipped"] is True
    assert answer["fits"][0] < answer["fits"][1] == pytest.approx(1, abs=1e-4)
    assert "a.png: matched mirrored (mean cosine 0." in out
    for row, (x, y) in zip(answer["matches"], [(20, 30), (70.5, 12)]):
        assert row["source"] == [x, y]
        assert np.abs(np.subtract(row["target"], (96 - x, y))).max() <= 12  # a cell
    code, out, err = command("match", "a.png", "a.png", *asked, "--flip", "--box", "8,8,60,60")
    assert code == 0, err
    assert json.loads((turned / "out.json").read_text())["flipped"] is False
    assert "matched as it is" in out
    code, _, err = command("match", "a.png", "b.png", "-m", "twin:sd15", "--flip")  # a grid of points
    assert code == 0, err
    code, _, err = command("match", "a.png", "b.png", *asked)
    assert "flipped" not in json.loads((turned / "out.json").read_text())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--box", "1,2,3,4"), "--box says where --flip compares; give --flip too"),
        (("--flip", "--box", "1,2,3"), "--box '1,2,3': give a box as X0,Y0,X1,Y1 in pixels of the first photo"),
        (("--flip", "--box", "50,2,3,40"), "empty or not finite"),
        (("--at", "1;2"), "--at '1;2': give a point as X,Y in pixels of the first photo, such as 120,80"),
    ],
)
def test_bad_input_is_one_line(command, turned, words, says):
    code, _, err = command("match", "a.png", "b.png", "-m", "twin:sd15", *words)
    assert code == 2
    assert says in " ".join(err.split())


def test_a_given_caption_is_the_mirrored_photo_s_too(command, turned):
    (turned / "captions").mkdir()
    for name in "ab":
        (turned / "captions" / f"{name}.txt").write_text(f"{name}, facing left")
    words = ("--prompt", "auto", "--captions", "captions", "--at", "20,30", "-m", "twin:sd15")
    code, _, err = command("match", "a.png", "b.png", *words, "--flip", "--control", "canny", "--json", "out.json")
    assert code == 0, err
    assert json.loads((turned / "out.json").read_text())["flipped"] in (True, False)
    maps = shiftless.extract("twin:sd15", shiftless.mirror("a.png"), Recipe(prompt="auto"), fill=caption_of)
    assert maps.prompt == "of a.png"


def caption_of(photo):
    return {"caption": f"of {photo.name}"}


def test_bench_pairs_has_a_row_with_flip(command, folder):
    words = ("--data", folder, "-m", "twin:sd15", "--dtype", "fp32", "--json", "out.json")
    code, out, err = command("bench", "pairs", *words, "--flip")
    assert code == 0, err
    assert err.startswith(f"pairs {folder.name}: 1 pair with twin:sd15, also untrained: 5 denoiser calls")
    value = {
        row["method"].partition(":")[0]: row["value"]
        for row in json.loads((folder / "out.json").read_text())["rows"]
        if row["metric"] == "PCK@0.1 img"
    }
    assert value["baseline with flip"] == 1 > value["baseline"]
    assert "with flip 1 of 1 pair matched mirrored" in " ".join(out.split())
    code, out, _ = command("bench", "pairs", *words)
    assert (code, "flip" in out) == (0, False)


def test_correspond_test_has_rows_with_flip(command, tmp_path):
    (tmp_path / "a.toml").write_text(Recipe(timestep=20, taps=("up1",), size=64).to_toml(), encoding="utf-8")
    few = ("--pairs", 2, "--val-pairs", 1, "--steps", 1)
    code, _, err = command("correspond", "fit", "-r", "a.toml", "-m", "twin:sd15", "--out", "head", *few)
    assert code == 0, err
    code, out, err = command(
        "correspond", "test", "head", "-m", "twin:sd15", "--pairs", 2, "--flip", "--json", "o.json"
    )
    assert code == 0, err
    methods = list(dict.fromkeys(row["method"] for row in json.loads((tmp_path / "o.json").read_text())["rows"]))
    assert methods[3:] == ["baseline with flip: mean of 1 readings", "GATE with flip: 1 readings"]
    assert "GATE with flip - baseline with flip" in " ".join(out.split())
