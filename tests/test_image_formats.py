"""Only listed formats are decoded, told by content, and their headers are predicted within limits."""

from __future__ import annotations

import ast
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import shiftless
from shiftless.errors import BadInput
from shiftless.image import EXTENSIONS, FORMATS, MOST_SIDE, list_photos, open_photo

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n0 0 64 64 rectfill\n%%EOF\n"


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A stand-in `gs` first on PATH; the path is of the mark that it leaves when it is run."""
    from PIL import EpsImagePlugin

    mark = tmp_path / "gs-was-run"
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gs"
    program.write_text(f"#!/bin/sh\necho run >> {mark}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow remembers whether it found one
    monkeypatch.setattr(EpsImagePlugin, "gs_windows_binary", None)
    return mark


@pytest.mark.parametrize("name", ["innocent.jpg", "a.png", "a.eps"])
def test_no_program_is_started_for_a_picture(name, ghostscript, tmp_path):
    (tmp_path / name).write_bytes(EPS)
    with pytest.raises(BadInput, match="not a picture that can be read; give a JPEG, PNG, WebP, TIFF, BMP or GIF"):
        open_photo(tmp_path / name)
    assert not ghostscript.exists()
    with Image.open(tmp_path / name) as opened:
        with pytest.raises(BadInput, match=f"{name}: in EPS format and not decoded yet; give a JPEG"):
            open_photo(opened)
        assert not ghostscript.exists()
        with pytest.raises(UnidentifiedImageError):  # the stand-in would have been found: it is run where Pillow is let
            opened.load()
    assert ghostscript.exists()


def test_what_the_caller_decoded_is_taken_whatever_it_was(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.ppm")
    with Image.open(tmp_path / "a.ppm") as opened:
        with pytest.raises(BadInput, match="in PPM format and not decoded yet"):
            open_photo(opened)
        opened.load()
        np.testing.assert_array_equal(open_photo(opened).array, picture)


def test_the_format_is_told_by_content_not_by_name(picture, tmp_path):
    for kind in FORMATS:
        path = tmp_path / f"{kind}.jpg"
        Image.fromarray(picture).save(path, format=kind)
        assert open_photo(path).hw == picture.shape[:2]
    for kind in ("PPM", "TGA", "PCX", "ICO", "JPEG2000", "AVIF", "PDF", "DDS", "SGI"):
        path = tmp_path / f"other-{kind}.png"
        try:
            Image.fromarray(picture).save(path, format=kind)
        except (KeyError, OSError):  # this Pillow was built without it
            continue
        with pytest.raises(BadInput, match="not a picture that can be read"):
            open_photo(path)


def test_folders_list_what_can_be_opened(tmp_path):
    for extension in (*EXTENSIONS, ".eps", ".avif", ".jp2", ".ppm", ".pdf", ".svg"):
        (tmp_path / f"a{extension}").write_bytes(b"x")
    assert {path.suffix for path in list_photos(tmp_path)} == set(EXTENSIONS)
    assert {Image.registered_extensions()[extension] for extension in EXTENSIONS} == set(FORMATS)


def test_the_first_picture_of_an_mpo(picture, tmp_path):
    first = Image.fromarray(picture)
    second = Image.new("RGB", (80, 60), "blue")
    first.save(tmp_path / "stereo.jpg", format="MPO", save_all=True, append_images=[second])
    with Image.open(tmp_path / "stereo.jpg") as opened:
        assert (opened.format, opened.n_frames) == ("MPO", 2)
        expected = np.asarray(opened)
        np.testing.assert_array_equal(open_photo(opened).array, expected)
    np.testing.assert_array_equal(open_photo(tmp_path / "stereo.jpg").array, expected)


def test_every_decoder_in_the_project_is_given_its_formats():
    top = Path(shiftless.__file__).parents[1]
    calls = [
        (path, node)
        for building in ("shiftless", "miniworld", "benchmarks", "examples")
        for path in (top / building).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"
    ]
    assert any(path.name == "image.py" for path, _ in calls)
    bare = [path for path, node in calls if "formats" not in {keyword.arg for keyword in node.keywords}]
    assert not bare, f"Image.open without formats=: {bare}"


# ---- headers that claim too much


def tiff(width: int, height: int, bits: int = 8, tile: tuple[int, int] | None = None) -> bytes:
    """A grey LZW TIFF that claims `width` x `height` pixels and holds 64 bytes of them."""
    data = b"\x80" * 64
    tags = [(256, width), (257, height), (258, bits), (259, 5), (262, 1), (277, 1)]
    if tile is None:
        tags += [(273, 8), (278, height), (279, len(data))]
    else:
        tags += [(322, tile[0]), (323, tile[1]), (324, 8), (325, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + b"\0" * 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(2_097_152, 56), f"2097152x56 pixels; no side may be longer than {MOST_SIDE}; give a smaller copy"),
        (tiff(56, 2_097_152), "56x2097152 pixels; no side may be longer"),
        (tiff(100, 100, tile=(2**20, 2**14)), "tiles of 1048576x16384 pixels are too large; save it in smaller ones"),
        (tiff(100, 100, 32, tile=(2**16, 2**13)), "tiles of 65536x8192 pixels are too large"),
    ],
)
def test_a_header_that_claims_too_much_is_refused_before_decoding(content, message, tmp_path, monkeypatch):
    (tmp_path / "a.tif").write_bytes(content)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(BadInput, match=message):
        open_photo(tmp_path / "a.tif")


def test_whole_tiled_tiffs_and_panoramas_are_read(picture, tmp_path):
    for options in ({"tile": (16, 16)}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}, {}):
        Image.fromarray(picture).save(tmp_path / "a.tif", **options)
        np.testing.assert_array_equal(open_photo(tmp_path / "a.tif").array, picture)
    Image.new("RGB", (MOST_SIDE, 8), "red").save(tmp_path / "wide.png")
    assert open_photo(tmp_path / "wide.png").hw == (8, MOST_SIDE)


def test_a_picture_of_many_bands_is_copied_whole(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (400, 1, 3), dtype=np.uint8)
    array = np.broadcast_to(rows, (400, 60_000, 3))  # 279 rows a band
    np.testing.assert_array_equal(open_photo(Image.fromarray(np.ascontiguousarray(array))).array, array)
