"""`shiftless audit`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from miniworld.datasets import HELD_OUT
from miniworld.datasets import photos as drawn
from shiftless.recipe import read_recipes

FAST = ("--finish", 2, "--draws", 2)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, picture in enumerate(drawn(HELD_OUT, 3)):
        Image.fromarray(picture.image).save(folder / f"{i}.png")
    return folder


def test_techniques_at_hand_are_ranked_and_shown(command, photos):
    code, out, err = command(
        "audit", "photos", "--timestep", 300, "--control", "canny", "--prompt", "auto", "--json", "a.json", *FAST
    )  # fmt: skip
    assert (code, err.strip()) == (0, "")
    found = json.loads(Path("a.json").read_text(encoding="utf-8"))
    assert [recipe["label"] for recipe in found["recipes"]] == [
        "t=300",
        "t=300 captions",
        "t=300 canny",
        "t=300 captions, canny",
    ]
    assert [photo["name"].rpartition("/")[2] for photo in found["photos"]] == ["0.png", "1.png", "2.png"]
    for recipe in found["recipes"]:
        assert recipe["label"] in " ".join(out.split())
    page = Path("audit/index.html").read_text(encoding="utf-8")
    assert "t=300 captions, canny" in page
    assert len(list(Path("audit").glob("photo-*.png"))) == 2 * 3  # in light and dark


def test_a_photo_that_cannot_be_read_is_listed_and_the_code_is_2(command, photos):
    (photos / "bad.jpg").write_bytes(b"none")
    code, out, err = command("audit", "photos", "--control", "canny", "--out", "o", "--pictures", 1, *FAST)
    assert code == 2
    assert err.count("error:") == 1
    assert "bad.jpg" in err
    assert "3 photos" in out
    assert "bad.jpg" in Path("o/index.html").read_text(encoding="utf-8")


def test_a_preset_and_a_recipe_file_can_be_audited_together(command, photos):
    Path("mine.toml").write_text('timestep = 200\ntaps = ["up0"]\nprompt = "auto"\nlabel = "mine"\n', encoding="utf-8")
    Path("bucket.toml").write_text(
        '[[reading]]\ntimestep = 200\ntaps = ["up0"]\n[[reading]]\ntimestep = 100\ntaps = ["up0"]\ncontrol = "canny"\n',
        encoding="utf-8",
    )
    code, _, err = command(
        "audit", "photos/0.png", "--recipe", "mine.toml", "--recipe", "bucket.toml", "--json", "a.json", *FAST
    )
    assert (code, err.strip()) == (0, "")
    labels = [recipe["label"] for recipe in json.loads(Path("a.json").read_text(encoding="utf-8"))["recipes"]]
    assert labels == ["t=100", "mine", "t=200", "t=100 canny"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere: no such file or folder"),
        (("photos", "--control", "depth"), "depth"),
        (("photos", "--lora", "gone.safetensors"), "gone.safetensors: no such LoRA"),
        (("photos", "--recipe", "gate-spairs"), "gate-spair"),
        (("photos", "--recipe", "gate-spair", "--control", "canny"), "--recipe says how to read"),
        (("photos", "--recipe", "walk.toml", "--timestep", 990), "start=1000"),
        (("photos", "--by", "taste", *FAST), "'taste': no such measure is taken here"),
        (("photos", "--by", "colour, finished", "--finish", 0), "no such measure"),
        (("photos", "--out", "photos/0.png", *FAST), "photos/0.png"),
        (("photos", "--json", "photos", "--out", "elsewhere/o", *FAST), "photos: is a folder"),
        (("photos", "--eye", "gone"), "gone"),
        (("photos", "--taps", "up9"), "up9"),
        (("photos", "--suggest", "mine.json"), "mine.json: a recipe file ends in .toml"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_nothing_is_written(command, photos, arguments, message):
    Path("walk.toml").write_text("timestep = 50\nstart = 60\n", encoding="utf-8")
    code, _, err = command("audit", *arguments)
    assert code == 2
    assert err.count("error:") == 1
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("audit").exists()


def test_advice_is_a_recipe_file_that_every_command_takes(command, photos):
    asked = ("--timestep", 100, "--control", "canny", "--suggest", "mine.toml", "--cost", 2.5)
    code, out, err = command("audit", "photos", *asked, "--pictures", 0, *FAST)
    assert (code, err.strip()) == (0, "")
    text = Path("mine.toml").read_text(encoding="utf-8")
    assert text.startswith("# suggested by shiftless audit")
    assert "measured on 1 photo; 2 others chose" in out
    assert "how sure: not at all, it was measured on one photo only" in out
    page = Path("audit/index.html").read_text(encoding="utf-8")
    assert "What to take" in page
    assert "--recipe mine.toml" in page
    code, _, err = command("extract", "photos/0.png", "--recipe", "mine.toml")
    assert code == 0, err
    assert len(list(Path("features").iterdir())) == text.count("timestep = ")


def test_advice_is_measured_against_the_bare_reading_at_the_least_noise_asked_for(command, photos):
    asked = ("--timestep", 300, "--control", "canny", "--suggest", "mine.toml", "--cost", 1)
    code, out, _ = command("audit", "photos", *asked, "--pictures", 0, *FAST)
    assert code == 0
    assert "the usual reading, t=300," in " ".join(out.split())
    assert [recipe.control for recipe in read_recipes("mine.toml")] == [()]  # edges cost 1.5


def test_a_recipe_is_audited_at_every_timestep_asked_for(command, photos):
    Path("edges.toml").write_text(
        'timestep = 200\ntaps = ["up0"]\ncontrol = "canny"\nstart = 240\nsteps = 2\nlabel = "edges"\n', encoding="utf-8"
    )
    steps = ("--timestep", 100, "--timestep", 200)
    code, _, err = command("audit", "photos/0.png", "--recipe", "edges.toml", *steps, "--json", "a.json", *FAST)
    assert (code, err.strip()) == (0, "")
    found = json.loads(Path("a.json").read_text(encoding="utf-8"))["recipes"]
    assert [(r["timestep"], r.get("start"), r["label"]) for r in found] == [
        (100, None, "t=100"), (200, None, "t=200"), (100, 140, "edges t=100"), (200, 240, "edges"),
    ]  # fmt: skip
