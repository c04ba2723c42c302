"""What callers give as images: one picture, or several in a list, a generator, or one array or tensor."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from shiftless.image import Photo

OneImage: TypeAlias = str | bytes | os.PathLike[str] | Image.Image | Photo
SeveralImages: TypeAlias = list[Any] | tuple[Any, ...] | Iterator[Any] | Generator[Any, Any, Any]


def images_in(given: Any) -> tuple[bool, Iterable[Any]]:
    """Return whether several images were given, and an iterable of them.

    Arrays B H W C and tensors B 3 H W are several, also with B = 1, and so is every iterable that is no path, picture
    or mapping. Anything else is passed on as one image, which `open_photo` refuses.

    >>> several, images = images_in(np.zeros((2, 30, 40, 3), np.uint8))
    >>> several, [image.shape for image in images]
    (True, [(30, 40, 3), (30, 40, 3)])
    >>> images_in("a.jpg")
    (False, ['a.jpg'])
    """
    if isinstance(given, (np.ndarray, torch.Tensor)):
        return (True, given) if given.ndim == 4 else (False, [given])
    if isinstance(given, (str, bytes, os.PathLike, Image.Image, Photo, Mapping)) or not _iterable(given):
        return False, [given]
    return True, given


def _iterable(given: Any) -> bool:
    try:
        iter(given)
    except TypeError:
        return False
    return True
