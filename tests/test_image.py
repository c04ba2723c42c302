"""Pictures of every kind are read right, and bad ones are refused in one line."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from shiftless.errors import BadInput
from shiftless.image import MOST_PIXELS, Photo, list_photos, open_photo

# ---- reading


def test_one_picture_from_every_source_is_one_photo(picture, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    tensor = torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1
    opaque = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    wide = picture.astype(np.uint16) * 257
    sources = [
        path,
        str(path),
        bytes(path),
        Image.open(path),
        picture,
        picture / 255,
        wide,
        opaque,
        tensor,
        tensor[None],
    ]
    photos = [open_photo(source) for source in sources]
    assert {photo.digest for photo in photos} == {photos[0].digest}
    np.testing.assert_array_equal(photos[0].array, picture)
    assert photos[0].name == str(path)
    assert photos[4].name == "image"
    assert open_photo(photos[0], name="mine") == Photo(picture, "mine", photos[0].digest)


def test_the_digest_is_the_content_not_the_file(picture, tmp_path):
    for name in ("a.png", "b.bmp", "c.tif", "d.webp"):
        Image.fromarray(picture).save(tmp_path / name, **({"lossless": True} if name == "d.webp" else {}))
    assert len({open_photo(path).digest for path in list_photos(tmp_path)}) == 1
    changed = picture.copy()
    changed[3, 5, 1] ^= 1
    assert open_photo(changed).digest != open_photo(picture).digest
    assert open_photo(picture.reshape(40, 24, 3)).digest != open_photo(picture).digest  # the same bytes, another shape


def test_a_photo_is_cut_off_from_the_callers_array(picture):
    photo = open_photo(picture)
    before = picture.copy()
    picture[:] = 0
    np.testing.assert_array_equal(photo.array, before)
    with pytest.raises(ValueError, match="read-only"):
        photo.array[0, 0, 0] = 1


TURNS = {  # what a viewer must do to the stored pixels, by EXIF orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation_is_applied(orientation, picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(picture).save(path, exif=exif)
    np.testing.assert_array_equal(open_photo(path).array, TURNS[orientation](picture))
    np.testing.assert_array_equal(open_photo(Image.open(path)).array, TURNS[orientation](picture))


def test_an_exif_rotated_jpeg_stands_upright(tmp_path):
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, 16:] = (255, 0, 0)  # red on the right as stored: below, once turned clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    photo = open_photo(tmp_path / "a.jpg")
    assert photo.hw == (32, 16)
    assert photo.array[28, 8, 0] > 240 > 15 > photo.array[4, 8, 0]


def test_unreadable_exif_is_ignored(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken")
    np.testing.assert_array_equal(open_photo(tmp_path / "a.png").array, picture)


def test_sixteen_bits_scale_to_eight(tmp_path):
    ramp = np.linspace(0, 65535, 24 * 40).round().astype(np.uint16).reshape(24, 40)
    expected = np.rint(ramp / 257).astype(np.uint8)
    assert (expected.min(), expected.max()) == (0, 255)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    Image.fromarray(ramp.astype(np.int32)).save(tmp_path / "b.tif")
    Image.fromarray(ramp.astype(">u2")).save(tmp_path / "c.tif")
    modes = [Image.open(path).mode for path in list_photos(tmp_path)]
    assert modes[0].startswith("I;16")
    assert modes[1] == "I"
    for source in [*list_photos(tmp_path), ramp, (ramp / 65535).astype(np.float32)]:
        array = open_photo(source).array
        np.testing.assert_array_equal(array, np.dstack([expected] * 3))


def test_sixteen_bit_colour_keeps_its_colours(tmp_path):
    rows = b"".join(b"\0" + struct.pack(">3H", 65535, 32896, 0) * 10 for _ in range(10))
    (tmp_path / "a.png").write_bytes(_png(10, 10, 16, 2, zlib.compress(rows)))
    assert (open_photo(tmp_path / "a.png").array == (255, 128, 0)).all()


def test_cmyk_becomes_rgb(tmp_path):
    for name in ("a.jpg", "b.tif"):
        Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / name)
        assert Image.open(tmp_path / name).mode == "CMYK"
        r, g, b = open_photo(tmp_path / name).array[8, 8].astype(int)
        assert r > 245 > 10 > max(g, b)


def test_transparency_lies_on_white(tmp_path):
    rgba = np.zeros((10, 12, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[:, 4:8, 3] = 128
    rgba[:, 8:, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    Image.fromarray(rgba).convert("LA").save(tmp_path / "la.png")
    palette = Image.new("P", (12, 10), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.paste(0, (0, 0, 4, 10))
    palette.save(tmp_path / "p.png", transparency=0)
    keyed = Image.new("RGB", (12, 10), (200, 0, 0))
    keyed.paste((1, 2, 3), (0, 0, 4, 10))
    keyed.save(tmp_path / "key.png", transparency=(1, 2, 3))

    assert _columns(tmp_path / "rgba.png") == [(255, 255, 255), (227, 127, 127), (200, 0, 0)]
    assert _columns(rgba) == _columns(tmp_path / "rgba.png")
    assert _columns(tmp_path / "la.png")[::2] == [(255, 255, 255), (60, 60, 60)]
    assert _columns(tmp_path / "p.png")[::2] == [(255, 255, 255), (200, 0, 0)]
    assert _columns(tmp_path / "key.png")[::2] == [(255, 255, 255), (200, 0, 0)]


def test_palette_one_bit_and_grey(tmp_path):
    grey = np.zeros((10, 12), np.uint8)
    grey[:, 6:] = 255
    Image.fromarray(grey).save(tmp_path / "l.png")
    Image.fromarray(grey).convert("1").save(tmp_path / "1.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "p.gif")
    for source in [*list_photos(tmp_path), grey, grey > 0, grey[..., None]]:
        np.testing.assert_array_equal(open_photo(source).array, np.dstack([grey] * 3))


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_an_animation_gives_its_first_frame(name, tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    assert Image.open(tmp_path / name).n_frames == 3
    assert (open_photo(tmp_path / name).array == (255, 0, 0)).all()


def test_a_float_tiff_in_unit_range(tmp_path):
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "a.tif")
    assert (open_photo(tmp_path / "a.tif").array == 128).all()


# ---- refusing


def _png(w: int, h: int, depth: int, colour: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">2I5B", w, h, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _columns(source) -> list[tuple[int, ...]]:
    array = open_photo(source).array
    return [tuple(array[5, x].tolist()) for x in (1, 5, 10)]


def _bad_files(folder):
    whole = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    for name in ("whole.png", "whole.jpg", "whole.gif", "whole.tif", "whole.webp", "whole.bmp"):
        Image.fromarray(whole).save(folder / name)
        data = (folder / name).read_bytes()
        (folder / name.replace("whole", "truncated")).write_bytes(data[: len(data) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("<html>404</html>")
    (folder / "folder.jpg").mkdir()
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (500, 7)).save(folder / "thin.png")
    (folder / "bomb.png").write_bytes(_png(30_000, 6_000, 8, 2, zlib.compress(b"\0" * 1000)))
    (folder / "garbled.png").write_bytes(_png(64, 64, 8, 2, b"no deflate stream"))
    Image.fromarray(np.full((9, 9), 70_000, np.int32)).save(folder / "deep.tif")
    Image.fromarray(np.full((9, 9), 70, np.float32)).save(folder / "float.tif")


BAD_FILES = {
    "missing.jpg": "no such file; check the path",
    "whole.png/inside.jpg": "no such file; check the path",
    "folder.jpg": "is a folder; give a picture file",
    "empty.jpg": "the file is empty; give a picture file",
    "text.jpg": "not a picture that can be read",
    "truncated.png": "damaged .*; give a whole file",
    "truncated.jpg": "damaged .*; give a whole file",
    "truncated.gif": "damaged .*; give a whole file",
    "truncated.tif": "(damaged .*; give a whole file)|not a picture",
    "truncated.webp": "(damaged .*; give a whole file)|not a picture",
    "truncated.bmp": "damaged .*; give a whole file",
    "garbled.png": "damaged .*; give a whole file",
    "dot.png": "1x1 pixels is too small; both sides must have at least 8",
    "thin.png": "500x7 pixels is too small",
    "bomb.png": f"too large to decode .*limit of {MOST_PIXELS} pixels.*; give a smaller copy",
    "deep.tif": "outside 0 to 65535; save it with 8 or 16 bits",
    "float.tif": r"values from 70 to 70; scale them to \[0, 1\]",
    "a\0b.jpg": "(cannot be opened|no such file)",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line_that_names_it(name, tmp_path):
    _bad_files(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadInput, match=BAD_FILES[name]) as caught:
            open_photo(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ".replace("\0", "\\x00"))  # nothing unprintable is printed
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match=r"^my photo: "):
        open_photo(tmp_path / name, name="my photo")


def test_threads_that_open_photos_leave_all_other_warnings_as_they_were(picture, tmp_path, monkeypatch):
    inside, original = threading.Barrier(2, timeout=10), Image.Image.convert

    def together(self, *args, **kwargs):
        inside.wait()  # both are in the middle of a photo
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "convert", together)
    grey = Image.fromarray(picture[..., 0])
    grey.save(tmp_path / "grey.png")
    with ThreadPoolExecutor(2) as pool:
        for photo in pool.map(open_photo, [tmp_path / "grey.png"] * 2):
            assert photo.hw == picture.shape[:2]
    with pytest.warns(UserWarning, match="still heard"):
        warnings.warn("still heard", stacklevel=1)
    assert ("ignore", None, Warning, None, 0) not in warnings.filters


def test_a_pil_image_is_checked_like_a_file(tmp_path):
    _bad_files(tmp_path)
    with pytest.raises(BadInput, match=r"truncated\.jpg: .*damaged"):
        open_photo(Image.open(tmp_path / "truncated.jpg"))
    with pytest.raises(BadInput, match="image: 1x1 pixels is too small"):
        open_photo(Image.new("RGB", (1, 1)))
    with pytest.raises(BadInput, match="image: colour mode La is not supported; save it as RGB"):
        open_photo(Image.new("La", (9, 9)))


def test_a_bomb_is_refused_even_where_pillow_was_told_not_to(tmp_path, monkeypatch):
    _bad_files(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(BadInput, match="30000x6000 pixels is over the limit"):
        open_photo(tmp_path / "bomb.png")


def test_pillow_never_speaks_to_the_terminal(tmp_path):
    _bad_files(tmp_path)
    code = (
        "import sys, pathlib; from shiftless.image import Image, open_photo; from shiftless.errors import BadInput\n"
        "Image.MAX_IMAGE_PIXELS = 3000\n"  # now Pillow warns of the whole pictures, which are legal
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try: open_photo(path)\n"
        "    except BadInput: pass\n"
        "print('done')"
    )
    completed = subprocess.run([sys.executable, "-W", "always", "-c", code, tmp_path], capture_output=True, text=True)
    assert (completed.stdout, completed.stderr) == ("done\n", "")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((3, 20, 20), np.uint8), r"shape \(3, 20, 20\); give H W, H W 3 or H W 4"),
        (np.zeros(9, np.uint8), r"shape \(9,\)"),
        (np.zeros((0, 9, 3), np.uint8), r"shape \(0, 9, 3\)"),
        (np.zeros((9, 9), np.int64), "array of int64; give uint8, uint16, or floats"),
        (np.full((9, 9), 255.0), r"values from 255 to 255; scale them to \[0, 1\]"),
        (np.full((9, 9), -0.5), r"scale them to \[0, 1\]"),
        (np.full((9, 9), np.nan), "values from nan"),
        (np.full((9, 9), np.inf), "values from inf"),
        (torch.zeros(2, 3, 9, 9), r"shape \(2, 3, 9, 9\); give one image"),
        (torch.zeros(9, 9, 3), r"shape \(9, 9, 3\); give one image"),
        (torch.zeros(3, 9, 9, dtype=torch.uint8), r"tensor of torch.uint8; give floats in \[-1, 1\]"),
        (torch.full((3, 9, 9), 255.0), r"scale them to \[-1, 1\]"),
        (torch.full((3, 9, 9), float("nan")), "values from nan"),
        (torch.zeros(3, 4, 9), "9x4 pixels is too small"),
        (None, "cannot read a NoneType; give a path"),
        (12, "cannot read a int"),
    ],
)
def test_bad_arrays_and_tensors_are_refused(source, message):
    with pytest.raises(BadInput, match=message):
        open_photo(source)


def test_a_little_overshoot_is_clamped():
    assert (open_photo(np.full((9, 9), 1.02)).array == 255).all()
    assert (open_photo(torch.full((3, 9, 9), -1.05)).array == 0).all()


# ---- listing


def test_folders_are_listed_sorted_and_hidden_files_left_out(tmp_path):
    for name in ("b.JPG", "a.png", "sub/c.webp", "notes.txt", ".hidden.png", ".cache/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert list_photos(tmp_path) == [tmp_path / n for n in ("a.png", "b.JPG", "sub/c.webp")]
    assert list_photos(str(tmp_path), recursive=False) == [tmp_path / n for n in ("a.png", "b.JPG")]
    assert list_photos(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


def test_a_missing_folder_and_one_without_pictures_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match=r"no pictures in this folder; looked for .*jpg"):
        list_photos(tmp_path)
    with pytest.raises(BadInput, match="nowhere: no such file or folder"):
        list_photos(tmp_path / "nowhere")
