"""`shiftless segment`: from labelled photos to a head, and from a head to masks, scores and what to label next."""

from __future__ import annotations

import csv
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from shiftless.recipe import Recipe
from shiftless.tasks.pixels import PixelEnsemble

FEW = ("--members", 2, "--pixels", 256, "--hidden", 8)
CLASSES = ["ground", "square"]


TWO_MODELS = "error: the head was fitted on, and the photos are to be read with, two models (twin:sd15"


def scene(seed):
    """A photo of noise with a bright square, and its mask."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (48, 64, 3), dtype=np.uint8)
    mask = np.zeros((48, 64), np.uint8)
    y, x = rng.integers(0, 20), rng.integers(0, 32)
    mask[y : y + 24, x : x + 24] = 1
    pixels[mask == 1] = (240, 200, 30)
    return pixels, mask


@pytest.fixture
def command(command):
    return partial(command, "segment")


@pytest.fixture
def labelled(tmp_path):
    """Labelled photos in splits, beside photos without labels and a recipe."""
    for split, seeds in (("train", range(4)), ("test", range(4, 6))):
        for kind in ("images", "masks"):
            (tmp_path / "labelled" / kind / split).mkdir(parents=True)
        for seed in seeds:
            pixels, mask = scene(seed)
            Image.fromarray(pixels).save(tmp_path / f"labelled/images/{split}/{seed}.png")
            Image.fromarray(mask).save(tmp_path / f"labelled/masks/{split}/{seed}.png")
    (tmp_path / "labelled/classes.json").write_text(json.dumps(CLASSES))
    (tmp_path / "photos/inner").mkdir(parents=True)
    for seed, place in ((6, "a.png"), (7, "inner/b.png"), (8, "c.png")):
        Image.fromarray(scene(seed)[0]).save(tmp_path / "photos" / place)
    base = Recipe(timestep=20, taps=("up1",), size=64)
    for name, recipe in (("a", base), ("b", base.but(seed=1)), ("dino", Recipe(taps=("block0",), size=64))):
        (tmp_path / f"{name}.toml").write_text(recipe.to_toml())
    with (tmp_path / "dino.toml").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write(f'model = "twin:dino-s16"\n{text}')
    return tmp_path


def test_from_labels_to_masks_scores_and_advice(command, labelled):
    two = ("-m", "twin:sd15", "-r", "a.toml", "-r", "b.toml", "--also", "dino.toml")
    code, out, err = command("fit", "labelled", "--out", "head.safetensors", *two, *FEW)
    assert code == 0, err
    assert "4 photos, 1,024 pixels" in err
    head = PixelEnsemble.from_pretrained(labelled / "head.safetensors")
    assert sorted(head.photos) == ["train/0", "train/1", "train/2", "train/3"]
    assert (head.classes, [k for k, _ in head.groups.groups]) == (tuple(CLASSES), [2, 1])

    code, out, err = command(
        "test", "head.safetensors", "labelled", "--beside", "labelled", "--json", "scores.json", "--out", "report"
    )
    assert code == 0, err
    scores = json.loads((labelled / "scores.json").read_text())
    values = {(row["method"], row["metric"]): row["value"] for row in scores["rows"]}
    assert values["trivial: colour and position", "mIoU"] > 0.95  # colour gives it away
    assert values["2 classifiers", "mIoU"] > 0.5  # random features still show a bright square
    assert set(scores["iou"]) == set(CLASSES)
    assert (labelled / "report/index.html").is_file()

    code, out, err = command("predict", "photos", "--head", "head.safetensors", "--out", "done")
    assert code == 0, err
    masks = sorted(path.relative_to(labelled / "done/masks") for path in (labelled / "done/masks").rglob("*.png"))
    assert [str(mask) for mask in masks] == ["a.png", "c.png", "inner/b.png"]
    mask = np.array(Image.open(labelled / "done/masks/a.png"))
    truth = scene(6)[1]
    assert mask.shape == truth.shape
    assert (mask == truth).mean() > 0.7
    with (labelled / "done/areas.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["pixels"]) for row in rows if row["photo"].endswith("a.png")] == np.bincount(mask.ravel()).tolist()
    assert {path.suffix for path in (labelled / "done/overlays").rglob("*.*")} == {".jpg"}

    before = (labelled / "done/masks/a.png").stat().st_mtime_ns
    (labelled / "done/masks/c.png").unlink()
    code, out, err = command("predict", "photos", "--head", "head.safetensors", "--out", "done")
    assert code == 0, err
    assert "1 segmented into done, 2 were there already" in err
    assert (labelled / "done/masks/a.png").stat().st_mtime_ns == before

    code, out, err = command(
        "label-next", "photos", "--head", "head.safetensors", "-n", 2, "--labelled", "labelled", "--json", "next.json"
    )
    assert code == 0, err
    chosen = json.loads((labelled / "next.json").read_text())
    assert len(chosen) == 2
    assert all(one["nearest"] for one in chosen)
    assert chosen[0]["name"] in out


@pytest.fixture
def head(labelled, command):
    code, _, err = command("fit", "labelled", "--out", "head.safetensors", "-m", "twin:sd15", "-r", "a.toml", *FEW)
    assert code == 0, err
    return "head.safetensors"


def test_bad_input_is_one_line_and_nothing_is_written(command, labelled, head):
    says = {
        ("fit", "labelled", "--out", "head.pt"): "--out head.pt: give a file that ends in .safetensors",
        ("fit", "photos", "--out", "h.safetensors"): "photos",
        ("fit", "labelled", "--out", "h.safetensors", "--also", "a.toml"): "names no model",
        ("test", head, "labelled", "-m", "twin:sd21"): TWO_MODELS,
        ("test", head, "labelled", "-m", "twin:dino-s16"): TWO_MODELS,  # which has no tap of that name either
        ("predict", "photos", "--head", head, "-m", "twin:sd21", "--out", "masked"): TWO_MODELS,
        ("test", head, "labelled", "-m", "mini", "-m", "mini"): "2 models were given; the head reads with 1",
        ("predict", "photos", "--head", "a.toml", "--out", "none"): "a.toml: not a whole file of a saved 'pixels'",
        ("predict", "nowhere", "--head", head, "--out", "none"): "nowhere: no such file or folder",
    }
    code, _, err = command("predict", "photos", "--head", head, "--out", "masked", "--masks-only")
    assert code == 0, err  # so that no photo is left to read
    before = (labelled / head).read_bytes()
    for arguments, expected in says.items():
        code, _, err = command(*arguments)
        assert code == 2, (arguments, err)
        assert expected in err, (arguments, err)
        assert "Traceback" not in err
    assert (labelled / head).read_bytes() == before
    assert not (labelled / "none").exists()
    assert not (labelled / "h.safetensors").exists()


def test_only_some_of_the_photos_are_learned_from(command, labelled):
    how = ("--out", "few.safetensors", "-m", "twin:sd15", "-r", "a.toml", *FEW)
    code, _, err = command("fit", "labelled", "--photos", 2, *how)
    assert code == 0, err
    assert len(PixelEnsemble.from_pretrained(labelled / "few.safetensors").photos) == 2
    code, out, err = command("test", "few.safetensors", "labelled", "--photos", 1)
    assert code == 0, err
    assert "1 photo;" in out


def test_photos_labelled_with_other_classes_are_refused(command, labelled, head):
    (labelled / "labelled/classes.json").write_text(json.dumps(["ground", "circle"]))
    code, _, err = command("test", head, "labelled")
    assert code == 2
    assert (
        "the photos are labelled with 2 classes (ground, circle) and the head knows 2 classes (ground, square)" in err
    )


def test_masks_of_one_name_are_refused_and_a_broken_photo_is_left_out(command, labelled, head):
    (labelled / "photos/broken.png").write_bytes(b"no picture")
    code, _, err = command("predict", "photos", "--head", head, "--out", "done", "--masks-only")
    assert code == 2
    assert "broken.png" in err
    assert len(list((labelled / "done/masks").rglob("*.png"))) == 3
    Image.fromarray(scene(9)[0]).save(labelled / "photos/a.jpg")
    code, _, err = command("predict", "photos", "--head", head, "--out", "twice")
    assert code == 2
    assert "both masks would be a.png" in err
