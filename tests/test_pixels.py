"""Pixels: bytes resized as Pillow resizes, and floats of them that are the same numbers however they are made."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from shiftless.pixels import floats_of, resized


def test_a_resized_picture_is_pillow_s():
    array = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    array.setflags(write=False)
    expected = np.asarray(Image.fromarray(array).resize((24, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(resized(array, (16, 24))[0].numpy(), expected)


def test_every_byte_becomes_the_float_that_numpy_makes_of_it():
    values = np.arange(256, dtype=np.uint8)
    expected = values.astype(np.float32) / np.float32(255) * 2 - 1
    pixels = torch.from_numpy(values).view(1, 16, 16, 1).expand(2, 16, 16, 3)
    floats = floats_of(pixels)
    assert floats.shape == (2, 3, 16, 16)
    assert floats.is_contiguous()
    assert all(np.array_equal(one.flatten().numpy(), expected) for one in floats.flatten(0, 1))
