"""Count what a bucket of readings costs beside one reading, in floating-point operations, and where they go.

    python benchmarks/bucket.py                          GATE's seven readings, Stable Diffusion 1.5 at 512 x 512
    python benchmarks/bucket.py --preset gate-horse21 --json bucket.json

Every way reads one picture with a tiny random copy of the model, which says what is called: how often the encoder, and
with which taps, ControlNets and timesteps the denoiser. Each of these calls is then made once by networks of the real
size on torch's meta device, where nothing is computed, and its operations are counted (a multiplication and an addition
are two). LoRAs are left out, as the operations of their own are under a hundredth; their readings keep a prompt of
their own, so that they share no pass with others, as with LoRAs.

one         the first reading alone
apart       every reading by itself, one after another: nothing is shared
bucket      all in one call of `shiftless.extract`
few steps   the same, with `--steps` steps of each walk in place of one a timestep
no walk     the same, with the readings that walk read at once
tiny        few steps, and photos encoded by a tiny encoder of TAESD's size
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

import shiftless
from shiftless.backbones.base import Backbone, Reading
from shiftless.backbones.families import family
from shiftless.backbones.registry import models
from shiftless.backbones.tiny_encoder import TinyEncoder
from shiftless.conditions.condition import Condition, Steer
from shiftless.presets import preset
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap

PARTS = ("encoder", "denoiser", "ControlNet")
TARGET = 3.0  # times one reading: what a bucket of seven is meant to cost


@dataclass(frozen=True)
class Call:
    """One row of a denoiser's batch: the taps that are read and whether to the end, its ControlNets, its tokens."""

    taps: tuple[str, ...]
    full: bool
    controls: int
    tokens: int


class Recorder:
    """A model that counts what is asked of it: photos encoded, by which encoder, and the denoiser's rows."""

    def __init__(self, model: Backbone) -> None:
        self.model = model
        self.encoded: Counter[str] = Counter()
        self.rows: Counter[Call] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode_image(self, pixels: torch.Tensor, **options: Any) -> torch.Tensor:
        """B 3 H W -> what the model gives."""
        self.encoded[options.get("encoder", "")] += len(pixels)
        return self.model.encode_image(pixels, **options)

    def denoise(
        self, latent: torch.Tensor, timestep: int, condition: Condition, taps: Sequence[Tap] = (), **options: Any
    ) -> Reading:
        """B c h w -> what the model gives."""
        tokens = 0 if condition.embeds is None else condition.embeds.shape[1]
        full = bool(options.get("full")) or not taps
        self.rows[Call(tuple(tap.name for tap in taps), full, len(condition.steers), tokens)] += len(latent)
        return self.model.denoise(latent, timestep, condition, taps, **options)


class RealSize:
    """A model of the real size on the meta device, and the operations of a row of its calls."""

    def __init__(self, name: str, size: int) -> None:
        row, meta = models()[name], torch.device("meta")
        kind: Any = type("Unsampled", (family(row["family"]),), {"_state": lambda self: ()})  # no values to look at
        with meta:
            parts = kind.twin_parts(row, full=True)
        parts["scheduler"] = kind.twin_parts(row)["scheduler"]  # it computes with numbers
        self.model: Any = kind(name, parts, size, meta, torch.float32)
        with meta:
            self.control = kind.twin_controls(parts)["canny"]()
        self.size, self._known = size, dict[Any, int]()

    def encoder(self, tiny: bool) -> int:
        """Return the operations of encoding a photo."""
        from diffusers import AutoencoderTiny

        pixels = torch.zeros(1, 3, self.size, self.size, device="meta")
        if tiny:
            with torch.device("meta"):
                net = TinyEncoder(AutoencoderTiny().encoder)
            return self._counted("tiny", lambda: net(pixels))
        return self._counted("vae", lambda: self.model.encode_image(pixels))

    def denoiser(self, call: Call) -> int:
        """Return the operations of one row, without ControlNets."""
        taps = [] if call.full else [tap for tap in self.model.taps if tap.name in call.taps]
        return self._counted(call.taps if not call.full else (), lambda: self._denoise(call, taps, ()))

    def controls(self, call: Call) -> int:
        """Return the operations of one row's ControlNets."""
        if not call.controls:
            return 0
        image = torch.zeros(1, 3, self.size, self.size, device="meta")
        steers = (Steer(self.control, image),)
        return call.controls * (self._counted("control", lambda: self._denoise(call, [], steers)) - self.full(call))

    def full(self, call: Call) -> int:
        """Return the operations of one row to the end."""
        return self._counted((), lambda: self._denoise(call, [], ()))

    def _denoise(self, call: Call, taps: Sequence[Tap], steers: tuple[Steer, ...]) -> Reading:
        channels, stride = self.model.spec.latent
        side, width = self.size // stride, self.model.unet.config.cross_attention_dim
        words = ((("",) * call.tokens),)
        condition = Condition(torch.zeros(1, call.tokens, width, device="meta"), words, {}, steers)
        read: Reading = self.model.denoise(
            torch.zeros(1, channels, side, side, device="meta"), 50, condition, taps, full=call.full and bool(taps)
        )
        return read

    def _counted(self, key: Any, run: Callable[[], object]) -> int:
        if key not in self._known:
            counter = FlopCounterMode(display=False)
            with counter, torch.no_grad():
                run()
            self._known[key] = int(counter.get_total_flops())
        return self._known[key]


def without_loras(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return recipes without LoRAs, each of those that had one with a prompt of its own, of the same length.

    >>> [one.prompt for one in without_loras([Recipe(prompt="a b"), Recipe(prompt="a b", lora="x.safetensors")])]
    ['a b', 'a b 1']
    """
    own = [recipe.but(lora=(), prompt=f"{recipe.prompt} {i}" if recipe.lora else recipe.prompt)
           for i, recipe in enumerate(recipes)]  # fmt: skip
    return own


def ways(recipes: Sequence[Recipe], steps: int) -> dict[str, list[list[Recipe]]]:
    """Return for each way the recipes of every call of `shiftless.extract`."""
    few = [one if one.start is None else one.but(scheduler="plain", steps=steps) for one in recipes]
    once = [one.but(start=None) for one in recipes]
    tiny = [one.but(latent="mean", encoder="taesd") for one in few]
    return {
        "one": [[recipes[0]]], "apart": [[one] for one in recipes], "bucket": [list(recipes)], "few steps": [few],
        "no walk": [once], "tiny": [tiny],
    }  # fmt: skip


def measure(model: Backbone, real: RealSize, readings: Sequence[Sequence[Recipe]]) -> dict[str, int]:
    """Read a picture by calls of `extract`; return the operations of each part at the real size."""
    side = model.spec.multiple
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    recorder: Any = Recorder(model)
    for recipes in readings:
        shiftless.extract(recorder, picture, [one.but(size=side) for one in recipes])
    return {
        "encoder": sum(count * real.encoder(bool(name)) for name, count in recorder.encoded.items()),
        "denoiser": sum(count * real.denoiser(call) for call, count in recorder.rows.items()),
        "ControlNet": sum(count * real.controls(call) for call, count in recorder.rows.items()),
        "rows": sum(recorder.rows.values()),
    }


def main(
    name: str = typer.Option("gate-spair", "--preset", help="The bucket, a preset of Stable Diffusion 1.5."),
    size: int = typer.Option(512, min=64, help="Side of the photo as the model is fed it, a multiple of 64."),
    steps: int = typer.Option(1, min=1, help="Steps of a walk in the ways with few."),
    json_file: Path = typer.Option(None, "--json", help="Write the numbers here too."),
) -> None:
    """Count a bucket's operations against one reading's."""
    recipes = without_loras(preset(name).recipes)
    model, real = shiftless.load("twin:sd15", device="cpu", dtype="fp32"), RealSize("sd15", size)
    found = {way: measure(model, real, readings) for way, readings in ways(recipes, steps).items()}
    one = sum(found["one"][part] for part in PARTS)
    print(f"{name}: {len(recipes)} readings, {size} x {size}; TFLOP, times the first reading (aim: {TARGET:g})")
    print(f"{'':<10}{'rows':>6}" + "".join(f"{part:>12}" for part in PARTS) + f"{'all':>9}{'times':>8}")
    for way, parts in found.items():
        whole = sum(parts[part] for part in PARTS)
        each = "".join(f"{parts[part] / 1e12:12.2f}" for part in PARTS)
        print(f"{way:<10}{parts['rows']:>6}{each}{whole / 1e12:9.2f}{whole / one:8.2f}")
    if json_file:
        json_file.write_text(json.dumps({"preset": name, "size": size, "steps": steps, "ways": found}) + "\n", "utf-8")


if __name__ == "__main__":
    typer.run(main)
