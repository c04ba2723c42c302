"""`shiftless lora train` from end to end, and what it says of bad input."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from shiftless.cli import main
from shiftless.conditions.lora_file import read_lora
from shiftless.training.lora.candidate_error import HeldOut

QUICK = ("-m", "twin:sd15", "--steps", "2", "--checks", "1", "--captioner", "none", "--dtype", "fp32", "--batch", "1")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command; return its exit code, output and error output."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["shiftless", "lora", "train", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, *capsys.readouterr()

    return command


def test_from_photos_to_a_file(run, photos, tmp_path):
    out = tmp_path / "look.safetensors"
    (photos / "broken.png").write_bytes(b"hello")
    code, message, reported = run(photos, "--out", out, *QUICK)
    assert code == 0, reported
    assert "content shift on held-out photos that did not choose the step: " in message
    assert f"written: {out}" in message
    assert "left out: " in reported
    assert "broken.png" in reported
    assert read_lora(out).parts["unet"]
    with Image.open(out.with_suffix(".png")) as sheet:
        assert sheet.width > 600


def test_no_gain_is_said_plainly_and_is_no_failure(run, photos, tmp_path, monkeypatch):
    reported = iter(
        [1.0, 1.0, 0.9, 1.2]
    )  # the base model on both halves, then the candidate: better where it is chosen
    monkeypatch.setattr(HeldOut, "errors", lambda self: {100: next(reported)})
    code, message, error = run(photos, "--out", tmp_path / "look.safetensors", *QUICK)
    assert code == 0
    assert "1.200 of the base model's" in message
    assert "warning: the best candidate does not shift these photos less" in error
    assert (tmp_path / "look.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "no such file or folder"),
        (["empty"], "no pictures in this folder"),
        (["photos/0.png"], "1 different photos"),
        (["photos", "--out", "look.pt"], "name the LoRA's file"),
        (["photos", "--out", "photos/0.png/look.safetensors"], "cannot be written"),
        (["photos", "--targets", "everything"], "must be one of attention, all"),
        (["photos", "--minutes", "1"], "give one length"),
        (["photos", "--captions", "empty"], "no captions of these photos"),
    ],
)
def test_bad_input(run, photos, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    out = [] if "--out" in arguments else ["--out", "look.safetensors"]
    code, _, error = run(*QUICK, *arguments, *out)
    assert code == 2
    assert says in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "look.safetensors").exists()
