"""How many photos a model reads at once unless the caller says: as many as the device's memory allows."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch

_VALUES = 512
"""A photo's activations, in values of the model's precision for each of its pixels: Stable Diffusion 1.5 at 512 x 512
in fp32 needs 7.8 GB for 8 photos, 4.3 GB of it for the weights, which is 430 values of 4 bytes a pixel."""
_SHARE = 4  # the activations may take one part in so many of the memory
_MOST = {"cpu": 16, "cuda": 64, "mps": 16}  # where a larger batch gains nothing more
_UNKNOWN = 8 * 2**30  # bytes, for a system that does not tell
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def default_batch(device: torch.device, dtype: torch.dtype, size: int) -> int:
    """Return how many photos of `size` x `size` pixels to read at once: a power of two, at least 1.

    It depends on the memory that the device has, and not on what is free, so that a machine always takes the same.

    >>> default_batch(torch.device("cpu"), torch.float32, 64)
    16
    """
    photo = size * size * _VALUES * dtype.itemsize
    fits = max(1, memory_of(device) // _SHARE // photo)
    return min(_MOST.get(device.type, 8), 2 ** (fits.bit_length() - 1))


def memory_of(device: torch.device) -> int:
    """Return how many bytes of memory a device has, whether free or not."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return _main_memory()


@cache
def _main_memory() -> int:
    """The machine's memory, or what its container may take of it."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return _UNKNOWN
    try:
        return min(size, int(_CGROUP.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # no limit: "max", or no such file
        return size
