"""Peak memory of fitting a pixel ensemble on thirty photos with the channels of Stable Diffusion 1.5.

    python benchmarks/segment_memory.py

Maps have the shapes that GATE's taps have at 512 pixels (1280 x 16 x 16, 1280 x 32 x 32, 640 x 64 x 64 and
320 x 64 x 64: 3520 channels) and random values, so that no weights are needed and the figure is of the fit alone: maps
of one photo at a time, the drawn pixels of all, and ten classifiers with their weight assigners for a few steps.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch

from shiftless.features import Bucket, FeatureMaps
from shiftless.image import Frame
from shiftless.taps.names import Tap
from shiftless.tasks.pixelsample import LabelledBuckets, PixelSample
from shiftless.training.pixels import fit_pixels

SHAPES = {"up0": (1280, 16), "up1": (1280, 32), "up2": (640, 64), "up3.attn2": (320, 64)}
CLASSES = 21


def photos(count: int, readings: int, side: int = 256) -> Iterator[LabelledBuckets]:
    """Yield labelled photos of `side` pixels, each read `readings` times, with random maps and masks of blocks."""
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        taps = {name: Tap(name, c, 512 // n, "") for name, (c, n) in SHAPES.items()}
        bucket = Bucket(
            tuple(
                FeatureMaps(
                    {name: torch.randn(1, c, n, n, generator=generator) for name, (c, n) in SHAPES.items()},
                    taps,
                    Frame((side, side), (512, 512)),
                )
                for _ in range(readings)
            )
        )
        blocks = np.random.default_rng(seed).integers(0, CLASSES, (8, 8), dtype=np.uint8)
        yield LabelledBuckets([bucket], np.kron(blocks, np.ones((side // 8, side // 8), np.uint8)), f"photo {seed}")


def peak_bytes() -> int:
    """Return the peak resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=30, help="labelled photos (30)")
    parser.add_argument("--readings", type=int, default=4, help="readings of each, as GATE's bucket of Horse-21 (4)")
    parser.add_argument("--steps", type=int, default=20, help="steps of training (20); more take no more memory")
    given = parser.parse_args(arguments)
    before, began = peak_bytes(), time.perf_counter()
    sample = PixelSample.gather(photos(given.photos, given.readings), given.photos)
    print(
        f"{given.photos} photos, {given.readings} readings of 3520 channels: {len(sample):,} pixels drawn, "
        f"{sample.bytes() / 1e9:.2f} GB, in {time.perf_counter() - began:.0f} s; peak {peak_bytes() / 1e9:.2f} GB",
        flush=True,
    )
    classes = [f"class {i}" for i in range(CLASSES)]
    fitted = fit_pixels(sample, classes, epochs=0, patience=given.steps, most_epochs=1)
    every = given.photos * 256 * 256 * given.readings * 3520 * 4
    print(
        f"ten classifiers, {max(fitted.steps)} steps in {fitted.seconds:.0f} s: peak {peak_bytes() / 1e9:.2f} GB "
        f"({before / 1e9:.2f} GB before); all pixels of all photos in fp32 would take {every / 1e9:.0f} GB"
    )


if __name__ == "__main__":
    main()
