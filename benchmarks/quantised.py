"""How much quantised weights change features: the cosine of each cell with that of the same model in plain weights.

    python benchmarks/quantised.py twin-full:sd15 --timestep 50 --size 256 --taps up1,up2
    python benchmarks/quantised.py sd15 --dtype bf16 photos/*.jpg

Without photos, drawn pictures are read. A twin has random weights, which says how large the rounding is in layers of
these sizes, and nothing of a trained model: give a model that is on this machine for that.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch

import shiftless
from shiftless.backbones.quantise import PACKAGES


def cosines(model: str, photos: Sequence[Any], recipe: shiftless.Recipe, **options: Any) -> dict[str, dict[str, Any]]:
    """Return the cosines of each tap's cells with those of plain weights, and the least of them: kind -> tap -> two."""
    plain = shiftless.extract(shiftless.load(model, **options), photos, recipe)
    found: dict[str, dict[str, Any]] = {}
    for kind in PACKAGES:
        quantised = shiftless.extract(shiftless.load(model, quantise=kind, **options), photos, recipe)
        found[kind] = {}
        for tap in plain[0]:
            alike = [torch.cosine_similarity(a[tap], b[tap]).flatten() for a, b in zip(quantised, plain)]
            together = torch.cat(alike)
            found[kind][tap] = together.mean().item(), together.min().item()
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a line for each tap and kind of weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("photos", nargs="*")
    parser.add_argument("--timestep", type=int, default=50)
    parser.add_argument("--size", type=int, default=None)
    parser.add_argument("--taps", default="up1")
    parser.add_argument("--prompt", default="")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(arguments)
    taps = tuple(given.taps.split(","))
    recipe = shiftless.Recipe(timestep=given.timestep, taps=taps, size=given.size, prompt=given.prompt)
    photos = given.photos or drawn(2)
    for kind, by_tap in cosines(given.model, photos, recipe, dtype=given.dtype, device=given.device).items():
        for tap, (mean, least) in by_tap.items():
            print(f"{given.model} {kind} {tap}: cosine {mean:.5f}, least {least:.5f}")


def drawn(count: int) -> list[Any]:
    """Drawn pictures that no table measures."""
    from miniworld.datasets import photos, seeds

    return [picture.image for picture in photos(seeds("shown", count).start, count)]


if __name__ == "__main__":
    main()
