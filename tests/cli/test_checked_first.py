"""What a command needs at its end is checked before its work: places to write, matplotlib."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from shiftless.backbones.sd import StableDiffusion
from shiftless.recipe import Recipe

TWIN = ("-m", "twin:sd15")
FORBIDDEN = "file/below"  # a file stands where a folder is needed


@pytest.fixture
def idle(command, tmp_path, monkeypatch):
    """Run a command that must fail before a photo is read: its error."""
    read = []
    monkeypatch.setattr(StableDiffusion, "encode_image", lambda *a, **k: read.append(1))
    images = {}
    for i in range(30):
        noise = np.random.default_rng(i).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
        points = [[10, 10], [40, 30], [70, 50]]
        images[str(i)] = {"file": f"{i}.png", "width": 80, "height": 64, "keypoints": points}
    pairs = [[str(i), str(i + 1)] for i in range(0, 30, 2)]
    (tmp_path / "annotations.json").write_text(json.dumps({"images": images, "pairs": pairs}))
    (tmp_path / "plain.toml").write_text(Recipe().to_toml())
    (tmp_path / "file").write_text("no folder")

    def run(*arguments: object) -> str:
        before = sorted(tmp_path.iterdir())
        code, out, err = command(*arguments)
        assert code == 2, (out, err)
        assert read == []
        assert sorted(tmp_path.iterdir()) == before  # nothing is left behind
        return err

    return run


@pytest.mark.parametrize(
    "words",
    [
        ("match", "0.png", "1.png", "-o", f"{FORBIDDEN}/match.png"),
        ("extract", "0.png", "--out", FORBIDDEN),
        ("extract", "0.png", "--json", f"{FORBIDDEN}/files.json"),
        ("caption", "0.png", "--json", f"{FORBIDDEN}/captions.json"),
        ("caption", "0.png", "--out", FORBIDDEN),
        ("correspond", "fit", "-r", "plain.toml", "--data", ".", "--out", FORBIDDEN),
        ("bench", "pairs", "--data", ".", "--json", f"{FORBIDDEN}/table.json"),
        ("bench", "mini-pairs", "--quick", "--json", f"{FORBIDDEN}/table.json"),
        ("bench", "mini-pairs", "--sweep", "--out", f"{FORBIDDEN}/sweep.png"),
        ("bench", "mini-attention", "--out", f"{FORBIDDEN}/attention.png"),
        ("bench", "mini-audit", "--quick", "--out", f"{FORBIDDEN}/curves.png"),
        ("lora", "train", "0.png", "1.png", "2.png", "--out", f"{FORBIDDEN}/look.safetensors"),
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_a_place_that_cannot_be_written_is_said_at_once(idle, words):
    assert "cannot be written" in idle(*words, *(() if words[0] == "caption" else TWIN))


@pytest.mark.parametrize(
    "words",
    [("mini-pairs", "--sweep", "--out", "sweep.png"), ("mini-audit", "--quick", "--out", "curves.png")],
    ids=lambda words: words[0],
)
def test_matplotlib_is_missed_at_once(idle, monkeypatch, words):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "drawing needs matplotlib; run: pip install shiftless[view]" in idle("bench", *words, *TWIN)


def test_a_picture_of_no_known_kind_is_refused_at_once(idle):
    assert "draw to a .png" in idle("bench", "mini-pairs", "--sweep", "--out", "sweep.jpg", *TWIN)


def test_extract_refuses_its_folder_before_a_model_is_loaded(idle):
    assert "cannot be written" in idle("extract", "0.png", "--out", FORBIDDEN, "-m", "no/such/model")


def test_features_that_the_memory_does_not_hold(idle, monkeypatch):
    monkeypatch.setattr("shiftless.backbones.batch._main_memory", lambda: 100_000)
    err = idle("correspond", "fit", *TWIN, "-r", "plain.toml", "--data", ".", "--out", "head")
    assert len(err.strip().splitlines()) == 1
    assert "kB for 24 photos" in err
    assert "this machine has 100 kB; give --side" in err
