"""`shiftless segment words`: from names to masks."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image


def test_names_become_masks_that_are_not_made_twice(command, tmp_path, photo, clip):
    arguments = ("segment", "words", photo, "--clip", clip, "--out", "out", "--device", "cpu")
    code, out, err = command(*arguments, "--classes", "sky, grass")
    assert code == 0, err
    mask = Image.open(tmp_path / "out/masks/photo.png")
    assert mask.mode == "P"
    assert mask.size == (64, 64)
    assert set(np.unique(np.array(mask))) <= {0, 1}
    assert (tmp_path / "out/overlays/photo.jpg").is_file()
    assert (tmp_path / "out/index.html").is_file()
    assert [line.split(",")[1] for line in (tmp_path / "out/areas.csv").read_text().splitlines()[1:]] == [
        "sky",
        "grass",
    ]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": ["sky", "grass"]}))
    code, out, err = command(*arguments, "--classes", "classes.json", "--masks-only")
    assert code == 0
    assert "1 were there already" in err + out
    (tmp_path / "classes.txt").write_text("grass\nsky\n")
    code, out, err = command(*arguments, "--classes", "classes.txt", "--masks-only")
    assert code == 0
    assert "already" not in err + out


def test_a_model_segments_without_a_clip(command, tmp_path, photo):
    model = ("--model", "twin:sd15", "--device", "cpu")
    code, _, err = command("segment", "clusters", photo, *model, "--most", 3, "--out", "parts")
    assert code == 0, err
    assert len(np.unique(np.array(Image.open(tmp_path / "parts/masks/photo.png")))) <= 3
    names = ("--classes", "sky,grass", "--method", "goca")
    code, _, err = command("segment", "words", photo, *names, *model, "--masks-only")
    assert code == 0, err
    mask = np.array(Image.open(tmp_path / "segmented/masks/photo.png"))
    assert mask.shape == (64, 64)
    assert mask.max() <= 1


def test_bad_input_is_one_line(command, photo, clip):
    code, _, err = command("segment", "words", photo, "--classes", "sky,grass", "--method", "goca")
    assert code == 2
    assert "takes --model and no --clip" in err
    code, _, err = command("segment", "words", photo, "--clip", clip, "--classes", "sky")
    assert code == 2
    assert "1 classes: give the names of 2" in err
    code, _, err = command("segment", "words", photo, "--clip", "nowhere", "--classes", "sky,grass")
    assert code == 2
    assert "nowhere: no config.json" in err
    code, _, err = command("segment", "words", photo, "--clip", clip, "--classes", "nowhere.txt")
    assert code == 2
    assert "nowhere.txt: cannot be read" in err
