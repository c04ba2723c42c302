"""Images in, pixels out: any picture to B 3 H W in [-1, 1], and Frame, which maps points back to original pixels."""

from __future__ import annotations

import os
import re
import stat
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from shiftless.errors import BadInput
from shiftless.pixels import floats_of, resized

_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as `warnings` keeps a filter
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # the only decoders that run; some of Pillow's start programs
KINDS = "a JPEG, PNG, WebP, TIFF, BMP or GIF"
LEAST_SIDE = 8  # pixels; too small an image for dense features
MOST_SIDE = 65_535  # pixels; the longest side that a JPEG can have
MOST_PIXELS = 178_956_970  # Pillow's own limit for a decompression bomb, kept even where a program lifted Pillow's
MOST_BYTES = 2**30  # of any one buffer that decoding needs; 178 million pixels need 0.7 x 2^30


@dataclass(frozen=True)
class Photo:
    """One decoded picture; two photos are equal when their names and pixels are.

    array   H W 3 uint8 RGB, upright, read-only
    name    the file as it was given, or "image"
    digest  of the pixels, independent of the file format

    >>> open_photo(np.zeros((20, 30, 3), np.uint8)).hw
    (20, 30)
    """

    array: np.ndarray = field(repr=False, compare=False)
    name: str
    digest: str

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.array.shape[0], self.array.shape[1]


def open_photo(source: Any, name: str | None = None) -> Photo:
    """Decode a picture to upright 8-bit RGB.

    source  a path; a PIL image; an array H W, H W 3 or H W 4, uint8, uint16 or float in [0, 1];
            a float tensor 3 H W or 1 3 H W in [-1, 1]; or a Photo

    EXIF orientation is applied, 16 bits are scaled to 8, transparency lies on white, and an animation gives its
    first frame. A file is a JPEG, PNG, WebP, TIFF, BMP or GIF by its content, not by its name; no other decoder
    runs. Raises BadInput for a file that is missing, empty, truncated or no picture, a side under 8 or over 65,535
    pixels, more than 178 million pixels or 2^30 bytes (refused before they are decoded), and values out of range.

    >>> open_photo(torch.ones(3, 8, 8), name="white").array.min()
    np.uint8(255)
    """
    if isinstance(source, Photo):
        return source if name is None else Photo(source.array, name, source.digest)
    if isinstance(source, Image.Image):
        name = name or str(getattr(source, "filename", "") or "image")
        return _photo(_decode(source, name), name)
    if isinstance(source, np.ndarray):
        return _photo(_array_rgb(source, name or "image"), name or "image")
    if isinstance(source, torch.Tensor):
        return _photo(_tensor_rgb(source, name or "image"), name or "image")
    if isinstance(source, (str, bytes, os.PathLike)):
        path = os.fsdecode(source)
        return _photo(_read(path, name or path), name or path)
    raise BadInput(f"{name or 'image'}: cannot read a {type(source).__name__}; give a path, PIL image, array or tensor")


def mirror(source: Any, name: str | None = None) -> Photo:
    """Decode a picture as `open_photo` does, and mirror it left to right; it keeps its name.

    >>> mirror(np.dstack([np.tile(np.arange(8, dtype=np.uint8), (8, 1))] * 3)).array[0, :, 0].tolist()
    [7, 6, 5, 4, 3, 2, 1, 0]
    """
    photo = open_photo(source, name)
    return _photo(photo.array[:, ::-1], photo.name)


def list_photos(path: str | os.PathLike[str], recursive: bool = True) -> list[Path]:
    """List the pictures at a path, sorted: a file is itself, a folder its files with a picture's extension.

    Hidden files and folders are left out. Raises BadInput if there is nothing there, or no picture in the folder.

    >>> list_photos("nowhere")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: no such file or folder; check the path
    """
    top = Path(path)
    if top.is_file():
        return [top]
    if not top.is_dir():
        raise BadInput(f"{top}: no such file or folder; check the path")
    paths: list[Path] = []
    for folder, inner, files in os.walk(top):
        inner[:] = [i for i in inner if recursive and not i.startswith(".")]
        paths += [Path(folder, f) for f in files if not f.startswith(".") and f.lower().endswith(EXTENSIONS)]
    if not paths:
        raise BadInput(f"{top}: no pictures in this folder; looked for {' '.join(EXTENSIONS)}")
    return sorted(paths)


@dataclass(frozen=True)
class Frame:
    """Maps points between an image's own pixels and those the model was fed; sizes are (h, w).

    The rule for coordinates, here and everywhere: points are (x, y) and continuous, pixel centres lie at +0.5, so
    an image spans [0, w] x [0, h]; x and y scale each by their own ratio. Points are N 2, in any array.

    >>> frame = Frame(original=(100, 200), fed=(64, 128))
    >>> frame.to_fed([(200, 50)])
    array([[128.,  32.]])
    >>> frame.to_grid([(199, 1)], grid=(4, 8)).astype(int)
    array([[7, 0]])
    """

    original: tuple[int, int]
    fed: tuple[int, int]

    def to_fed(self, points: Any) -> np.ndarray:
        """Take original pixels to fed pixels."""
        return _scaled(points, self.original, self.fed)

    def to_original(self, points: Any) -> np.ndarray:
        """Take fed pixels to original pixels."""
        return _scaled(points, self.fed, self.original)

    def to_unit(self, points: Any) -> np.ndarray:
        """Take original pixels to [0, 1] x [0, 1]."""
        return _scaled(points, self.original, (1, 1))

    def from_unit(self, points: Any) -> np.ndarray:
        """Take [0, 1] x [0, 1] to original pixels."""
        return _scaled(points, (1, 1), self.original)

    def to_grid(self, points: Any, grid: tuple[int, int]) -> np.ndarray:
        """Take original pixels to cells of an (H, W) map: cell i spans [i, i + 1], its centre is i + 0.5."""
        return _scaled(points, self.original, grid)

    def from_grid(self, points: Any, grid: tuple[int, int]) -> np.ndarray:
        """Take cells of an (H, W) map to original pixels."""
        return _scaled(points, grid, self.original)

    def mirrored(self, points: Any) -> np.ndarray:
        """Take original pixels to those of the mirrored image, or back: (w - x, y)."""
        return np.asarray(points, dtype=np.float64) * (-1, 1) + (self.original[1], 0)

    def check_points(self, points: Any, name: str = "image") -> np.ndarray:
        """Return points in original pixels as N 2 float64; raises BadInput naming the first one that is wrong.

        >>> Frame((100, 200), (64, 128)).check_points([(120, 80), (9, 120)], "a.jpg")
        Traceback (most recent call last):
        ...
        shiftless.errors.BadInput: a.jpg: point 1 (9, 120) is outside the image; x goes from 0 to 200, y from 0 to 100
        """
        try:
            array = np.asarray(points, dtype=np.float64)
        except (TypeError, ValueError):
            raise BadInput(f"{name}: the points are not numbers; give them as [(x, y), ...]") from None
        if array.ndim != 2 or array.shape[1] != 2 or not len(array):
            raise BadInput(f"{name}: points of shape {array.shape}; give at least one, as [(x, y), ...]")
        h, w = self.original
        finite = np.asarray(np.isfinite(array).all(1))
        inside = finite & (array >= 0).all(1) & (array <= (w, h)).all(1)
        if not inside.all():
            i = int(np.argmin(inside))
            point = f"point {i} ({array[i, 0]:g}, {array[i, 1]:g})"
            wrong = "is outside the image" if finite[i] else "is not finite"
            raise BadInput(f"{name}: {point} {wrong}; x goes from 0 to {w}, y from 0 to {h}")
        return array


def plan(original: tuple[int, int], size: int, multiple: int, fit: str = "aspect") -> Frame:
    """Choose the size that a model is fed an image of (h, w) at.

    fit "aspect" makes the longer side `size` and keeps the shape; "squash" makes both sides `size`. Each side is
    then rounded to the nearest multiple of `multiple`, half up, and is at least one. Raises BadInput for other fits.

    >>> plan((300, 400), size=512, multiple=64)
    Frame(original=(300, 400), fed=(384, 512))
    """
    h, w = int(original[0]), int(original[1])
    longest = _nearest(size, 1, multiple)
    if fit == "squash":
        return Frame((h, w), (longest, longest))
    if fit != "aspect":
        raise BadInput(f"fit={fit!r}: must be one of aspect, squash")
    return Frame((h, w), (_nearest(h * longest, max(h, w), multiple), _nearest(w * longest, max(h, w), multiple)))


def to_pixels(photo: Photo, frame: Frame) -> torch.Tensor:
    """Resize a photo to what the model is fed: 1 3 H W float32 in [-1, 1].

    The resize is Pillow's bicubic on 8 bits, which averages when it shrinks. Raises BadInput for another photo's frame.

    >>> photo = open_photo(np.zeros((60, 80, 3), np.uint8))
    >>> to_pixels(photo, plan(photo.hw, size=32, multiple=8)).shape
    torch.Size([1, 3, 24, 32])
    """
    if photo.hw != tuple(frame.original):
        raise BadInput(f"{photo.name}: the frame is for {frame.original}, the photo is {photo.hw}; plan one for it")
    return floats_of(resized(photo.array, frame.fed))


def to_uint8(pixels: torch.Tensor) -> np.ndarray:
    """Turn pixels B 3 H W in [-1, 1] back into pictures B H W 3 uint8, clamped; raises BadInput if not finite.

    >>> to_uint8(torch.full((1, 3, 2, 2), -1.0)).shape
    (1, 2, 2, 3)
    """
    values = pixels.detach().float()
    if not torch.isfinite(values).all():
        raise BadInput("the pixels are not finite: half precision overflowed; use dtype float32")
    return ((values.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _nearest(value: int, over: int, multiple: int) -> int:
    """Round value / over to a multiple, in whole numbers so that halves are exact."""
    return max(1, (2 * value + over * multiple) // (2 * over * multiple)) * multiple


def _scaled(points: Any, source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    # Multiplied first, divided after: a point on the border lands on the border exactly, never a hair outside.
    (h, w), (to_h, to_w) = source, target
    return np.asarray(points, dtype=np.float64) * (to_w, to_h) / (w, h)


def _photo(array: np.ndarray, name: str) -> Photo:
    _check_sides(array.shape[0], array.shape[1], name)
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    digest = xxhash.xxh3_128(repr(array.shape).encode())  # at the speed of memory, on every processor
    digest.update(array.data)
    return Photo(array, name, digest.hexdigest())


def _check_sides(h: int, w: int, name: str) -> None:
    if min(h, w) < LEAST_SIDE:
        raise BadInput(f"{name}: {w}x{h} pixels is too small; both sides must have at least {LEAST_SIDE}")
    if max(h, w) > MOST_SIDE:
        raise BadInput(f"{name}: {w}x{h} pixels; no side may be longer than {MOST_SIDE}; give a smaller copy")
    if h * w > MOST_PIXELS:
        raise BadInput(f"{name}: {w}x{h} pixels is over the limit of {MOST_PIXELS}; give a smaller copy")


def _read(path: str, name: str) -> np.ndarray:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(f"{name}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{name}: cannot be opened ({_one_line(error)}); check the path") from None
    if stat.S_ISDIR(status.st_mode):
        raise BadInput(f"{name}: is a folder; give a picture file")
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(f"{name}: is not a regular file; give a picture file")
    if status.st_size == 0:
        raise BadInput(f"{name}: the file is empty; give a picture file")
    try:
        quiet_pillow()
        with Image.open(path, formats=FORMATS) as image:
            return _decode(image, name)
    except Image.DecompressionBombError as error:
        raise BadInput(f"{name}: too large to decode ({_one_line(error)}); give a smaller copy") from None
    except UnidentifiedImageError:
        raise BadInput(f"{name}: not a picture that can be read; give {KINDS}") from None
    except PermissionError:
        raise BadInput(f"{name}: no permission to read the file") from None
    except BadInput:
        raise
    except Exception as error:  # broken headers make Pillow raise nearly anything
        raise BadInput(f"{name}: the picture is damaged ({_one_line(error)}); give a whole file") from None


def quiet_pillow() -> None:
    """Ignore what Pillow warns of; of two threads in `warnings.catch_warnings`, the later could leave all ignored."""
    if _PILLOW not in warnings.filters[:1]:
        warnings.filterwarnings("ignore", module=_PILLOW[3].pattern)


def _decode(image: Image.Image, name: str) -> np.ndarray:
    """Check the size before decoding, then decode, turn upright, and make H W 3 uint8."""
    _check_sides(image.height, image.width, name)
    _check_decoder(image, name)
    quiet_pillow()
    try:
        image.load()
    except Exception as error:  # broken data makes Pillow raise nearly anything
        raise BadInput(f"{name}: truncated or damaged ({_one_line(error)}); give a whole file") from None
    try:
        if image.getexif().get(0x0112, 1) != 1:  # upright already: exif_transpose would copy it all the same
            image = ImageOps.exif_transpose(image) or image
    except Exception:  # EXIF that cannot be parsed says nothing about orientation
        image = image.copy()
    if image.mode == "I":  # 32-bit integers are how Pillow holds some 16-bit files
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise BadInput(f"{name}: values outside 0 to 65535; save it with 8 or 16 bits a channel")
        return _array_rgb(values.astype(np.uint16), name)
    if image.mode == "F" or image.mode.startswith("I;16"):
        return _array_rgb(np.asarray(image), name)
    try:
        if image.has_transparency_data:
            image = _on_white(image)
        return _filled(image if image.mode == "RGB" else image.convert("RGB"))
    except ValueError:
        raise BadInput(f"{name}: colour mode {image.mode} is not supported; save it as RGB") from None


def _check_decoder(image: Image.Image, name: str) -> None:
    """Refuse, before decoding, a format that is not listed and buffers that the file's header makes too large."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return  # decoded already, or never a file
    if image.format not in (*FORMATS, "MPO"):  # an MPO is opened as the JPEG that it begins with
        raise BadInput(f"{name}: in {image.format} format and not decoded yet; give {KINDS}")
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        try:
            width, height = int(tags.get(322, image.width)), int(tags.get(323, min(tags.get(278, 2**32), image.height)))
            bits = int(np.max(tags.get(258, 1))) * int(tags.get(277, 1))
        except (TypeError, ValueError, ArithmeticError):
            raise BadInput(f"{name}: the picture is damaged (its TIFF tags); give a whole file") from None
        if width * height * bits > 8 * MOST_BYTES:
            raise BadInput(f"{name}: strips or tiles of {width}x{height} pixels are too large; save it in smaller ones")


def _filled(image: Image.Image) -> np.ndarray:
    """An RGB image as H W 3 uint8; a large one in bands of rows, as at once it would need the memory twice."""
    rows = max(1, 2**24 // image.width)
    if rows >= image.height:
        return np.asarray(image)
    array = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        array[top : top + rows] = np.asarray(band)
    return array


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _array_rgb(array: np.ndarray, name: str) -> np.ndarray:
    """H W, H W 1, H W 3 or H W 4 of any legal dtype -> H W 3 uint8, never a view of the caller's array."""
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise BadInput(f"{name}: an array of shape {shape}; give H W, H W 3 or H W 4")
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in either byte order
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        _check_range(float(array.min()), float(array.max()), 0, name)
        array = np.rint(array.astype(np.float64).clip(0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise BadInput(f"{name}: an array of {array.dtype}; give uint8, uint16, or floats in [0, 1]")
    if array.shape[2] == 4:
        return np.array(_on_white(Image.fromarray(np.ascontiguousarray(array))))
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)))


def _tensor_rgb(tensor: torch.Tensor, name: str) -> np.ndarray:
    shape = tuple(tensor.shape)
    if tensor.ndim == 3:
        tensor = tensor[None]
    if tensor.ndim != 4 or tensor.shape[:2] != (1, 3) or not tensor.numel():
        raise BadInput(f"{name}: a tensor of shape {shape}; give one image, 3 H W or 1 3 H W")
    if not tensor.is_floating_point():
        raise BadInput(f"{name}: a tensor of {tensor.dtype}; give floats in [-1, 1], or an array")
    _check_range(float(tensor.detach().min()), float(tensor.detach().max()), -1, name)
    return to_uint8(tensor)[0]


def _check_range(low: float, high: float, least: int, name: str) -> None:
    # A resampled image overshoots a little, which is clamped; much more means another scale. NaN fails both tests.
    slack = 0.05 * (1 - least)
    if not (low >= least - slack and high <= 1 + slack):
        raise BadInput(f"{name}: values from {low:g} to {high:g}; scale them to [{least}, 1]")


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
