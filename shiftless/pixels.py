"""Pixels: a picture resized to what a model is fed, in 8 bits, and as floats on whatever device takes them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image


def resized(array: np.ndarray, hw: tuple[int, int]) -> torch.Tensor:
    """Resize a picture H W 3 uint8 to (h, w) pixels: 1 h w 3 uint8, of which `floats_of` makes what a model is fed.

    The resize is Pillow's bicubic on 8 bits, which averages when it shrinks.

    >>> resized(np.zeros((60, 80, 3), np.uint8), (24, 32)).shape
    torch.Size([1, 24, 32, 3])
    """
    h, w = hw
    image = Image.fromarray(array).resize((w, h), Image.Resampling.BICUBIC)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(1, h, w, 3)


def floats_of(pixels: torch.Tensor) -> torch.Tensor:
    """Turn 8-bit pixels B H W 3 into what a model is fed, B 3 H W float32 in [-1, 1], on the device where they are.

    The numbers are the same on every device: each step is one rounded operation in float32.

    >>> floats_of(torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3)).flatten().tolist()
    [-1.0, -0.6000000238418579, 1.0]
    """
    values = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    # By a number of Python, CUDA would multiply with the rounded reciprocal; by a tensor on the device it divides.
    return values.div_(torch.tensor(255.0, device=pixels.device)).mul_(2).sub_(1)
