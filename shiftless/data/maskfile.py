"""Masks of class numbers in files: indexed or grey PNG, and .npy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from shiftless.data.labelledphoto import check_size
from shiftless.errors import BadInput, first_line

_GREY = ("L", "1", "I", "I;16", "I;16B")
_SAVE = "save class numbers as an indexed PNG: PIL.Image.fromarray(numbers.astype('uint8')).save('mask.png')"


@dataclass(frozen=True)
class PngMask:
    """A PNG whose pixels are class numbers: indexed ("P") or grey, of 1 to 16 bits.

    >>> PngMask(Path("nowhere.png")).values((8, 8))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere.png: no such file
    """

    path: Path

    def values(self, hw: tuple[int, int] | None = None) -> np.ndarray:
        """Return the numbers, H W whole numbers as they are in the file.

        hw  the photo's size; a mask that cannot have it is refused before it is decoded. None checks nothing

        Raises BadInput naming the file: it is missing, damaged, no PNG, in colours, or of another size.
        """
        try:
            with Image.open(self.path, formats=("PNG",)) as image:
                if image.mode not in ("P", *_GREY):
                    raise BadInput(f"{self.path}: a picture in colours ({image.mode}), not a mask; {_SAVE}")
                scale = _grey_scale(image)
                if hw is not None and sorted(image.size) != sorted(hw):
                    check_size((image.height, image.width), hw, str(self.path))
                values = np.asarray(ImageOps.exif_transpose(image))
        except FileNotFoundError:
            raise BadInput(f"{self.path}: no such file") from None
        except UnidentifiedImageError:
            raise BadInput(f"{self.path}: not a PNG; {_SAVE}") from None
        except BadInput:
            raise
        except Exception as error:  # broken data makes Pillow raise nearly anything
            raise BadInput(f"{self.path}: the mask is damaged ({first_line(error)}); give a whole file") from None
        return values.astype(np.uint8) if values.dtype == bool else values // scale if scale > 1 else values

    def palette(self) -> np.ndarray | None:
        """Return the colours in the file, N 3 uint8; None if it has none, or only greys."""
        try:
            with Image.open(self.path, formats=("PNG",)) as image:
                values = image.getpalette("RGB") if image.mode == "P" else None
        except Exception:  # `values` says what is wrong with the file
            return None
        colours = np.array(values or [], np.uint8).reshape(-1, 3)
        return colours if (colours != colours[:, :1]).any() else None


def _grey_scale(image: Image.Image) -> int:
    """What Pillow multiplies grey values of 2 and 4 bits by, so that white is 255."""
    tile: Any = getattr(image, "tile", None) or [(None, None, None, None)]
    rawmode = tile[0][3]
    return {"L;2": 85, "L;4": 17}.get(rawmode if isinstance(rawmode, str) else "", 1)


@dataclass(frozen=True)
class NpyMask:
    """A .npy array of class numbers, H W or H W 1; floats and booleans that are whole numbers are taken too.

    >>> NpyMask(Path("nowhere.npy")).values((8, 8))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere.npy: no such file
    """

    path: Path

    def values(self, hw: tuple[int, int] | None = None) -> np.ndarray:
        """Return the numbers, H W whole numbers; arguments and errors are those of `PngMask.values`.

        Pickled objects are not loaded.
        """
        try:
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise BadInput(f"{self.path}: no such file") from None
        except Exception as error:  # numpy raises nearly anything for broken headers
            raise BadInput(f"{self.path}: not a whole .npy array of numbers ({first_line(error)})") from None
        if not isinstance(array, np.ndarray):  # an .npz by another name
            raise BadInput(f"{self.path}: an archive of arrays; save one array of class numbers with numpy.save")
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if array.ndim != 2 or array.dtype.kind not in "biuf":
            raise BadInput(f"{self.path}: an array of shape {array.shape}, {array.dtype}; save H W whole numbers")
        if hw is not None:
            check_size((array.shape[0], array.shape[1]), hw, str(self.path))
        if array.dtype.kind == "f" and not (np.isfinite(array) & (array % 1 == 0) & (np.abs(array) < 2**31)).all():
            raise BadInput(f"{self.path}: values that are no whole numbers; save class numbers, not probabilities")
        return np.array(array, dtype=array.dtype if array.dtype.kind in "iu" else np.int64)
