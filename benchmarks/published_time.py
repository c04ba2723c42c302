"""How long one photo takes to read by the presets of published tables, on this machine.

    python -m benchmarks.published_time                        every preset below
    python -m benchmarks.published_time dift-spair gate-spair  these

Models have their real size and random weights, so that nothing is fetched: what a reading computes does not depend on
the values of weights. The LoRAs of GATE's buckets are left out; they are merged into the weights before a photo is
read. The photo has 640 x 480 pixels, each preset reads it at its own size, and nothing is read before the first one, so
that its row has the warming up in it. CPU seconds are those of all threads together: beside other work they say more
than the clock. Heads are not trained here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import typer

import shiftless
from shiftless.presets import preset

PRESETS = (
    "gate-spair-baseline", "gate-spair", "hyperfeatures", "vpd", "gate-horse21", "gate-ade20k", "dift-spair",
    "cleandift-spair", "ddpm-segmentation", "mae-segmentation", "swav-segmentation",
)  # fmt: skip
FILL = {"category": "cat"}


@dataclass(frozen=True)
class Row:
    """What a photo took by one preset: readings, seconds by the clock, and CPU seconds of all threads."""

    preset: str
    readings: int
    seconds: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.preset:<22}{self.readings:>3} readings{self.seconds:>9.1f} s{self.cpu:>9.1f} CPU s"


def timed(name: str, model: object, photo: np.ndarray) -> Row:
    """Read a photo H W 3 uint8 once by a preset's recipes, without their LoRAs."""
    recipes = [one.but(lora=()) for one in preset(name).recipes]
    clock, cpu = time.perf_counter(), time.process_time()
    shiftless.extract(model, photo, recipes, fill=FILL)
    return Row(name, len(recipes), time.perf_counter() - clock, time.process_time() - cpu)


def rows(names: Sequence[str], size: str = "twin-full") -> list[Row]:
    """Read a photo by each preset, and print each row; `size` is "twin-full", or "twin" for tiny models."""
    photo = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    loaded: dict[str, object] = {}
    done = []
    for name in names:
        about = preset(name).model
        if about not in loaded:
            loaded.clear()  # one model at a time
            loaded[about] = shiftless.load(f"{size}:{about}")
        done.append(timed(name, loaded[about], photo))
        print(done[-1], flush=True)
    return done


def main(names: list[str] = typer.Argument(None, help="Presets; by default those of the tables.")) -> None:
    """Time each preset."""
    print(f"{torch.get_num_threads()} threads of torch")
    rows(names or PRESETS)


if __name__ == "__main__":
    typer.run(main)
