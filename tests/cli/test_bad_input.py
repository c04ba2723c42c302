"""Bad input: one clear line, exit code 2, and nothing half-written."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from shiftless.cli import main

GOOD = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def bomb() -> bytes:
    """A PNG whose header says 60000 x 60000 pixels."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def bad(monkeypatch, capsys, tmp_path):
    """Run a command that must fail; return its one line."""
    (tmp_path / "good.png").write_bytes(png(GOOD))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["shiftless", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        assert stop.value.code == 2, (out, err)
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.strip()]
        assert len(lines) == 1, err
        return lines[0]

    return run


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"hello", "not a picture"),
        (png(GOOD)[:300], "truncated or damaged"),
        (png(Image.new("RGB", (1, 1))), "too small"),
        (bomb(), "give a smaller copy"),
    ],
)
def test_pictures_that_cannot_be_read(bad, tmp_path, content, says):
    if content is not None:
        (tmp_path / "bad.png").write_bytes(content)
    line = bad("match", "bad.png", "good.png", "-m", "twin:sd15", "--at", "5,5")
    assert "bad.png" in line
    assert says in line
    assert not (tmp_path / "match.png").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--at", "500,5"], "outside the image"),
        (["--at", "nan,5"], "not finite"),
        (["--at", "5"], "X,Y"),
        (["--at", "5,5", "--taps", "upp1"], "nearest"),
        (["--at", "5,5", "--timestep", "1000"], "0 to 999"),
        (["--at", "5,5", "--timestep", "-1"], "0 to 999"),
        (["--at", "5,5", "--ensemble", "0"], "ensemble"),
        (["--at", "5,5", "--fit", "crop"], "aspect, squash"),
        (["--at", "5,5", "--refine", "magic"], "refine"),
        (["--at", "5,5", "--recipe", "dift-spare"], "dift-spair"),
        (["--at", "5,5", "--recipe", "none.toml"], "none.toml"),
        (["--at", "5,5", "--dtype", "fp8"], "dtype"),
        (["--at", "5,5", "--device", "tpu"], "device"),
        (["--at", "5,5", "--out", "match.xyz"], ".png"),
        (["--at", "5,5", "--control", "depth"], "no such ControlNet"),
        (["--at", "5,5", "--control", "nowhere/at/canny"], "nowhere/at/canny"),
        (["--at", "5,5", "--control", "canny", "--control-scale", "much"], "--control-scale"),
        (["--at", "5,5", "--lora", "none.safetensors"], "none.safetensors"),
        (["--at", "5,5", "--start", "10"], "start=10"),
        (["--at", "5,5", "--prompt", "a {thing}"], "--fill thing="),
        (["--at", "5,5", "--prompt", "auto"], "no captioner of its own"),
        (["--at", "5,5", "--prompt", "auto", "--captioner", "no/such/folder"], "no/such/folder"),
        (["--at", "5,5", "--fill", "thing"], "NAME=VALUE"),
        (["--at", "5,5", "--prompt", "a caf\udce9"], "not UTF-8"),
        (["--at", "5,5", "--prompt", "a {thing}", "--fill", "thing=caf\udce9"], "not UTF-8"),
        (["--at", "5,5", "--captions", "nowhere"], "nowhere"),
    ],
)
def test_arguments_that_make_no_sense(bad, arguments, says):
    assert says in bad("match", "good.png", "good.png", "-m", "twin:sd15", *arguments)


def test_models_that_are_not_there(bad, tmp_path):
    assert "shiftless fetch sd15" in bad("match", "good.png", "good.png", "-m", "sd15", "--at", "5,5")
    (tmp_path / "model").mkdir()
    assert "unet/config.json" in bad("taps", tmp_path / "model")
    assert "no such" in bad("taps", "sd51")


def test_folders_without_pictures(bad, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no pictures" in bad("extract", "empty", "-m", "twin:sd15")
    assert "no such file or folder" in bad("extract", "nowhere", "-m", "twin:sd15")
    assert not (tmp_path / "features").exists()


def test_datasets_that_are_not_there(bad):
    assert "nowhere" in bad("bench", "pairs", "--data", "nowhere", "-m", "twin:sd15")
    assert "nowhere" in bad("bench", "spair", "--data", "nowhere", "-m", "twin:sd15")
    assert "split" in bad("bench", "mini-pairs", "-m", "twin:sd15", "--split", "all")
    assert "look" in bad("bench", "mini-pairs", "-m", "twin:sd15", "--look", "oil")


def test_training_that_says_too_little(bad):
    assert "--stage" in bad("mini", "train", "--stage", "nonesuch", "--minutes", "1")
    assert "--minutes" in bad("mini", "train", "--stage", "vae")
