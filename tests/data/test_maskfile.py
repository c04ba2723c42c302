"""Masks in files: every kind of PNG and array that holds class numbers, and those that do not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from shiftless.data.maskfile import NpyMask, PngMask
from shiftless.errors import BadInput

NUMBERS = np.arange(80).reshape(8, 10) % 3
HW = (8, 10)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.fromarray(NUMBERS.astype(np.uint8)), {}),
        (Image.fromarray(NUMBERS.astype(np.uint8)).convert("P"), {}),
        (Image.fromarray(NUMBERS.astype(np.uint8)).convert("P"), {"bits": 2, "transparency": 1}),
        (Image.fromarray(NUMBERS.astype(np.uint16)), {}),
    ],
    ids=["grey", "indexed", "indexed, 2 bits, transparent", "16 bits"],
)
def test_png(tmp_path, image, options):
    if image.mode == "P":
        image = Image.fromarray(NUMBERS.astype(np.uint8))
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png", **options)
    assert PngMask(tmp_path / "a.png").values(HW).tolist() == NUMBERS.tolist()


def test_black_and_white_png_is_two_classes(tmp_path):
    Image.fromarray(NUMBERS > 0).save(tmp_path / "a.png")
    assert PngMask(tmp_path / "a.png").values(HW).tolist() == (NUMBERS > 0).astype(int).tolist()


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_not_stretched(tmp_path, bits):
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    each = 8 // bits
    rows = [b"\0" + bytes(sum(int(v) << bits * (each - 1 - i) for i, v in enumerate(byte)) for byte in row)
            for row in NUMBERS[:, :8].reshape(8, -1, each)]  # fmt: skip
    header = struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert PngMask(tmp_path / "a.png").values((8, 8)).tolist() == NUMBERS[:, :8].tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.uint16])
def test_npy(tmp_path, dtype):
    np.save(tmp_path / "a.npy", NUMBERS.astype(dtype)[..., None])
    values = NpyMask(tmp_path / "a.npy").values(HW)
    assert values.tolist() == NUMBERS.tolist()
    assert values.dtype.kind in "iu"


def png(image: Image.Image):
    return lambda path: image.save(path, format="PNG")


def array(values: np.ndarray, **options):
    return lambda path: np.save(path, values, **options)


@pytest.mark.parametrize(
    ("name", "write", "says"),
    [
        ("a.png", png(Image.new("RGB", HW[::-1])), r"in colours \(RGB\).*indexed PNG: PIL"),
        ("a.png", png(Image.new("RGBA", HW[::-1])), "in colours"),
        ("a.png", png(Image.new("LA", HW[::-1])), "in colours"),
        ("a.png", lambda path: Image.new("L", HW[::-1]).save(path, format="JPEG"), "not a PNG"),
        ("a.png", png(Image.new("L", (20, 8))), "20x8"),
        ("a.png", lambda path: path.write_bytes(b""), "not a PNG"),
        ("a.npy", lambda path: path.write_bytes(b"\x93NUMPY"), "not a whole .npy"),
        ("a.npy", array(np.array([{}]), allow_pickle=True), "not a whole .npy"),
        ("a.npy", array(np.zeros((8, 10, 3))), r"shape \(8, 10, 3\)"),
        ("a.npy", array(np.full(HW, 0.5)), "no whole numbers"),
        ("a.npy", array(np.full(HW, np.nan)), "no whole numbers"),
        ("a.npy", array(np.full(HW, "a")), "save H W whole numbers"),
        ("a.npy", array(np.zeros((4, 4), int)), "4x4"),
    ],
)
def test_files_that_are_refused(tmp_path, name, write, says):
    path = tmp_path / name
    with open(path, "wb") if name.endswith("npy") else open(path, "ab"):
        write(path)
    with pytest.raises(BadInput, match=says):
        (PngMask if name.endswith("png") else NpyMask)(path).values(HW)


@pytest.mark.parametrize("kind", [PngMask, NpyMask])
def test_a_file_that_was_cut(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 9, (64, 64)).astype(np.uint8)
    path = tmp_path / "a"
    if kind is PngMask:
        Image.fromarray(noise).save(path, format="PNG")
    else:
        with open(path, "wb") as file:
            np.save(file, noise)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(BadInput, match=r"a: (the mask is damaged|not a whole)"):
        kind(path).values((64, 64))
