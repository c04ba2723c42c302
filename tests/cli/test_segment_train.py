"""`shiftless segment train`: from labelled photos to a head that `segment test` and `segment predict` take."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from shiftless.recipe import Recipe
from shiftless.tasks.scenehead import SceneHead
from tests.training.scenedata import CLASSES, scene

QUICK = ("-m", "twin:sd15", "-r", "two.toml", "--steps", 2, "--every", 2, "--width", 8, "--hidden", 4)


@pytest.fixture
def command(command):
    return partial(command, "segment")


@pytest.fixture
def labelled(tmp_path):
    """Three photos to train on, one to validate and one to test on, in the layout of ADE20K too; and a bucket."""
    for split, seeds in (("train", (0, 1, 2)), ("val", (3,)), ("test", (4,))):
        part = {"train": "training", "val": "validation"}.get(split)
        folders = [(tmp_path / "labelled" / kind / split) for kind in ("images", "masks")]
        ade = [(tmp_path / "ade" / kind / part) for kind in ("images", "annotations")] if part else []
        for folder in [*folders, *ade]:
            folder.mkdir(parents=True)
        for one in map(scene, seeds):
            for place in [folders, ade] if ade else [folders]:
                Image.fromarray(one.photo).save(place[0] / f"{one.name}.png")
                Image.fromarray(one.values + (place is ade)).save(place[1] / f"{one.name}.png")
    (tmp_path / "labelled/classes.json").write_text(json.dumps(CLASSES))
    base = Recipe(timestep=20, taps=("up0", "up1"), size=64)
    (tmp_path / "two.toml").write_text(
        "\n".join(f"[[reading]]\n{recipe.to_toml()}" for recipe in (base, base.but(seed=1)))
    )
    return tmp_path


def test_from_labels_to_scores_and_masks(command, labelled):
    code, out, err = command("train", "labelled", "--out", "net", *QUICK)
    assert code == 0, err
    assert "3 photos, 3 classes" in err
    assert "validation mIoU 0." in err
    assert out.endswith("written: net\n")
    head = SceneHead.from_pretrained(labelled / "net")
    assert (head.classes, head.levels.readings, len(head.levels.strides), head.window) == (CLASSES, 2, 2, 0)

    code, out, err = command("test", "net", "labelled", "--json", "scores.json", "--out", "report")
    assert code == 0, err
    scores = json.loads((labelled / "scores.json").read_text())
    assert {row["method"] for row in scores["rows"]} == {"upernet head"}
    assert "photos read as a whole" in out
    assert (labelled / "report/index.html").is_file()

    code, out, err = command("predict", "labelled/images/test", "--head", "net", "--out", "done")
    assert code == 0, err
    assert np.array(Image.open(labelled / "done/masks/scene 4.png")).shape == (32, 48)
    code, out, err = command("predict", "labelled/images/test", "--head", "net", "--out", "done")
    assert "0 segmented into done, 1 were there already" in err
    code, _, err = command("test", "net", "ade")
    assert (code, "(wall, building, sky, floor ...) and the head knows 3 classes (sky, road, car)" in err) == (2, True)
    code, out, err = command("label-next", "labelled/images", "--head", "net", "-n", 2)
    assert (code, len(out.splitlines())) == (0, 2)


def test_views_that_are_read_anew_and_features_on_disk(command, labelled):
    code, out, err = command("train", "ade", "--out", "net", "--head", "linear", "--keep", "no", "--size", 64, *QUICK)
    assert code == 0, err
    head = SceneHead.from_pretrained(labelled / "net")
    assert (len(head.classes), head.window) == (150, 64)
    code, out, err = command("test", "net", "ade", "--stride", 32)
    assert code == 0, err
    assert "windows of 64 pixels, 32 apart" in out
    code, _, err = command("train", "ade", "--out", "kept", "--head", "linear", "--keep", "disk", *QUICK)
    assert code == 0, err
    assert len(list((labelled / "kept.run/features").glob("*.safetensors"))) == 4 * 2
    code, _, err = command("test", "kept", "ade", "--stride", 32)
    assert (code, "kept: was trained on photos that were read as a whole" in err) == (2, True)


def test_bad_input_is_one_line_and_nothing_is_written(command, labelled):
    (labelled / "photos").mkdir()
    (labelled / "photos/mine.txt").write_text("mine")
    (labelled / "other").mkdir()
    Image.fromarray(scene(5).photo).save(labelled / "other/a.jpg")
    Image.fromarray(scene(5).values).save(labelled / "other/a.png")
    (labelled / "joined.toml").write_text(Recipe(taps=("up1",), joined=True).to_toml())
    new = ("train", "labelled", "--out", "new", *QUICK)
    says = {
        ("train", "nowhere", "--out", "new"): "nowhere: no such folder",
        ("train", "labelled", "--out", "photos", *QUICK): "photos: holds something else than a scene head",
        (*new, "--head", "unet"): "--head unet: must be one of upernet, fpn, linear, mask2former",
        (*new, "--clip", "nowhere"): "--clip nowhere: is for --head mask2former and for --prompts implicit",
        (*new, "--head", "mask2former", "--clip", "nowhere"): "nowhere: no config.json of a CLIP",
        (*new, "--keep", "all"): "--keep all: must be one of memory, disk, no",
        (*new, "--views", 1): "batch=1: UPerNet pools",
        (*new, "--size", 512): "side=512: views are larger than the photos, which were read at 64x",
        (*new, "--val", "other"): "photos are labelled with 3 classes (class 0, class 1, class 2) and the training set",
        (*new, "-r", "joined.toml"): "is joined and not merged",
        ("test", "two.toml", "labelled", "--stride", 8): "two.toml: --stride is for a head of `segment train`",
    }
    for arguments, expected in says.items():
        code, _, err = command(*arguments)
        assert code == 2, (arguments, err)
        assert expected in err, (arguments, err)
        assert "Traceback" not in err
    assert (labelled / "photos/mine.txt").read_text() == "mine"
