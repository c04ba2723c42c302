"""Measure what a tiny encoder in the place of the autoencoder costs and saves, on the drawn world.

    python benchmarks/tiny_encoder.py                                  the embedded model's own, if it has one
    python benchmarks/tiny_encoder.py --encoder out/mini/taesd --pairs 120
    python benchmarks/tiny_encoder.py --model twin:sd15 --pairs 4

Pairs of drawn pictures are read by both encoders, with the same noise, and matched. Printed are the cosine of the
latents and of the features of both, averaged over cells; PCK@0.1 of the object's box for each encoder, with 95%
bootstrap intervals over pairs, and the paired difference; the operations of encoding a picture (torch's counter; a
multiplication and an addition are two), and the CPU time of it, the best of five batches of four.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import typer
from torch.utils.flop_counter import FlopCounterMode

import shiftless
from shiftless.backbones.base import Backbone, with_tiny_encoder
from shiftless.errors import BadInput
from shiftless.image import Photo, open_photo, plan, to_pixels
from shiftless.metrics.bootstrap import difference, interval
from shiftless.metrics.pck import hits

NAMES = ("autoencoder", "tiny encoder")


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the cosine of maps 1 C H W, averaged over cells.

    >>> cosine(torch.ones(1, 2, 3, 3), torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 3))
    0.7071067690849304
    """
    return float(F.cosine_similarity(a.float(), b.float(), dim=1).mean())


def operations(run: Callable[[], object]) -> int:
    """Return the operations of a call, as torch counts them."""
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return int(counter.get_total_flops())


def seconds(run: Callable[[], object], times: int = 5) -> float:
    """Return the CPU time of a call, the best of several."""
    spent = []
    for _ in range(times):
        begun = time.process_time()
        run()
        spent.append(time.process_time() - begun)
    return min(spent)


def measure(model: Backbone, encoder: str, count: int, split: str = "val") -> dict[str, Any]:
    """Read and match `count` pairs by both encoders; raises BadInput where the tiny one is not there."""
    from miniworld.tables.pairs import mini_pairs
    from shiftless.presets import default_recipe

    recipe = default_recipe(model.spec.name, model.spec.family)
    recipes = [recipe.but(encoder=""), recipe.but(encoder=encoder)]
    with_tiny_encoder(model).tiny_encoder(encoder)
    right: list[list[int]] = [[], []]
    totals, cosines = [], []
    for pair in mini_pairs(split, count):
        photos = [open_photo(photo) for photo in (pair.source, pair.target)]
        sources, targets = shiftless.extract(model, photos, recipes)
        for k in range(2):
            found = shiftless.match(sources[k], targets[k], pair.source_points)
            right[k].append(int(hits(found.points, pair.target_points, pair.target_box).sum()))
        cosines += [cosine(one[0][tap], one[1][tap]) for one in (sources, targets) for tap in one[0]]
        totals.append(len(pair.source_points))
    low, high = zip(*(interval(one, totals) for one in right))
    return {
        "pairs": count, "split": split, "features": sum(cosines) / len(cosines), **_of_latents(model, encoder, photos),
        "pck": [sum(one) / sum(totals) for one in right], "low": low, "high": high,
        "difference": tuple(difference(right[1], right[0], totals)),
    }  # fmt: skip


def _of_latents(model: Backbone, encoder: str, photos: Sequence[Photo]) -> dict[str, Any]:
    """The cosine of both latents, and what it takes to make them."""
    encode: Any = model.encode_image
    with torch.no_grad():
        frames = [plan(photo.hw, model.spec.size, model.spec.multiple) for photo in photos]
        pixels = torch.cat([to_pixels(photo, frame) for photo, frame in zip(photos, frames)][:1] * 4)
        ways = (lambda: encode(pixels), lambda: encode(pixels, encoder=encoder))
        latents = [way() for way in ways]
        flops = [operations(way) / len(pixels) for way in ways]
        times = [seconds(way) / len(pixels) for way in ways]
    return {"latents": cosine(*latents), "operations": flops, "seconds": times}


def show(found: dict[str, Any]) -> None:
    """Print what was measured."""
    print(f"cosine of latents {found['latents']:.4f}, of features {found['features']:.4f}; {found['pairs']} pairs")
    for k, name in enumerate(NAMES):
        ends = f"[{found['low'][k]:.3f}, {found['high'][k]:.3f}]"
        cost = f"{found['operations'][k] / 1e9:8.2f} GFLOP and {found['seconds'][k] * 1e3:7.1f} ms of a core a picture"
        print(f"{name:<13} PCK@0.1 {found['pck'][k]:.3f} {ends} {cost}")
    print("difference {:+.3f} [{:+.3f}, {:+.3f}]".format(*found["difference"]))


def main(
    model: str = typer.Option("mini", help="mini, a folder or twin:NAME."),
    encoder: str = typer.Option("taesd", help="taesd, or the folder of an AutoencoderTiny."),
    pairs: int = typer.Option(60, min=1, help="Pairs of drawn pictures."),
    split: str = typer.Option("val", help="Whose pairs: val or test."),
    dtype: str = typer.Option("auto", help="auto, fp32 or bf16."),
    json_file: Path = typer.Option(None, "--json", help="Write the numbers here too."),
) -> None:
    """Compare a tiny encoder with the autoencoder."""
    try:
        found = measure(shiftless.load(model, dtype=dtype), encoder, pairs, split)
    except BadInput as error:
        raise SystemExit(str(error)) from None
    show(found)
    if json_file:
        json_file.write_text(json.dumps({"model": model, "encoder": encoder, **found}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
