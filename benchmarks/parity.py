"""Compare what is read here with plain diffusers, block by block: the same weights, picture, prompt and noise.

    python benchmarks/parity.py --tiny             small random models (seconds)
    python benchmarks/parity.py                    full size, random weights, fp32 (minutes; 10 GB of memory)
    python benchmarks/parity.py --only "sd15 512 x 512" --json parity.json
    python benchmarks/parity.py --model PATH       a diffusers folder instead, with its own weights

Plain diffusers: the autoencoder's mean, the scheduler's add_noise and step, the text encoder on 77 padded tokens, and
the UNet with a forward hook on every block. The exit code is 1 where a block differs by more than its case allows.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer

PROMPT = "a photo of a horse"


@dataclass(frozen=True)
class Case:
    """One reading: which model, of what picture, at which noise.

    hw         of the picture, in pixels, at full size; a tiny model is shown a quarter of each side
    start      None, or the timestep from which ten DDIM strides lead down to `timestep`
    tolerance  largest difference allowed, as a share of the block's largest value
    """

    model: str
    hw: tuple[int, int]
    timestep: int
    start: int | None = None
    tolerance: float = 2e-5

    @property
    def name(self) -> str:
        """What the command line and the table call it."""
        walked = f", {self.start} to {self.timestep}" if self.start else ""
        return f"{self.model} {self.hw[0]} x {self.hw[1]}{walked}"


CASES = (
    Case("sd15", (512, 512), 50),
    Case("sd15", (512, 768), 261),
    Case("sd15", (512, 512), 50, start=60, tolerance=1e-4),
    Case("sd21", (768, 768), 261),
)


def picture(hw: tuple[int, int]) -> np.ndarray:
    """Draw an RGB picture of coloured stripes under a little noise."""
    y, x = np.mgrid[: hw[0], : hw[1]] * (8 * np.pi / hw[0])
    waves = np.stack([np.sin(x + y), np.cos(x * 0.7), np.sin(y * 1.3 - x)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 10, waves.shape)
    return (waves * 90 + 128 + noise).clip(0, 255).astype(np.uint8)


@contextmanager
def block_outputs(unet: Any) -> Iterator[dict[str, Any]]:
    """Collect each block's output by the name that it has here, from plain forward hooks."""
    kept: dict[str, Any] = {}
    blocks = {f"down{i}": block for i, block in enumerate(unet.down_blocks)}
    blocks |= {"mid": unet.mid_block, **{f"up{i}": block for i, block in enumerate(unet.up_blocks)}}
    with ExitStack() as handles:
        for name, block in blocks.items():

            def keep(_module: Any, _inputs: Any, output: Any, name: str = name) -> None:
                kept[name] = output[0] if isinstance(output, tuple) else output

            handles.callback(block.register_forward_hook(keep).remove)
        yield kept


def theirs(parts: dict[str, Any], image: np.ndarray, case: Case) -> dict[str, Any]:
    """Read with plain diffusers: block -> 1 C H W, and without a walk the predicted clean latent as "clean"."""
    import torch
    from diffusers import DDIMScheduler

    from shiftless.image import open_photo
    from shiftless.noise import noise_for

    unet, vae = parts["unet"].eval(), parts["vae"].eval()
    scheduler = DDIMScheduler.from_config(parts["scheduler"].config)
    scheduler.set_timesteps(scheduler.config.num_train_timesteps)  # so that a step leads one timestep down
    with torch.no_grad():
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 127.5 - 1
        clean = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
        noise = noise_for(open_photo(image).digest, 0, 0, tuple(clean.shape[1:]))[None]
        tokens = parts["tokenizer"](PROMPT, padding="max_length", max_length=77, return_tensors="pt")
        words = parts["text_encoder"].eval()(tokens.input_ids).last_hidden_state
        latent = scheduler.add_noise(clean, noise, torch.tensor(case.start or case.timestep))
        for timestep in range(case.start or case.timestep, case.timestep, -1):
            latent = scheduler.step(unet(latent, timestep, words).sample, timestep, latent).prev_sample
        with block_outputs(unet) as kept:
            prediction = unet(latent, case.timestep, words).sample
        if case.start is None:
            kept["clean"] = scheduler.step(prediction, case.timestep, latent).pred_original_sample
    return kept


def ours(model: Any, image: np.ndarray, case: Case) -> dict[str, Any]:
    """Read with this library: block -> 1 C H W, and without a walk the predicted clean latent as "clean"."""
    import torch

    import shiftless
    from shiftless.image import open_photo
    from shiftless.noise import noise_for

    names = tuple(tap.name for tap in model.taps if re.fullmatch(r"down\d+|mid|up\d+", tap.name))
    recipe = shiftless.Recipe(
        timestep=case.timestep, taps=names, prompt=PROMPT, start=case.start, size=max(image.shape[:2])
    )
    maps = dict(shiftless.extract(model, image, recipe).maps)
    if case.start is not None:
        return maps
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    clean = model.encode_image(pixels)
    noise = noise_for(open_photo(image).digest, 0, 0, tuple(clean.shape[1:]))[None]
    latent = model.schedule.add(clean, noise, case.timestep)
    prediction = model.denoise(latent, case.timestep, model.encode_prompt([PROMPT])).prediction
    return maps | {"clean": model.predict_clean(latent, prediction, case.timestep)}


def fits(folder: Path, case: Case) -> bool:
    """Whether a diffusers folder holds a model of the case's shape."""
    from shiftless.backbones.registry import models

    config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    return bool(config["cross_attention_dim"] == models()[case.model]["unet"]["cross_attention_dim"])


def difference(a: Any, b: Any) -> float:
    """Return the largest difference of two tensors, as a share of the second's largest value."""
    if a.shape != b.shape:
        raise ValueError(f"the shapes differ: {tuple(a.shape)} and {tuple(b.shape)}")
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


def compare(case: Case, tiny: bool, folder: Path | None = None) -> dict[str, Any]:
    """Read one case both ways, one model in memory at a time; return differences by block, and the seconds."""
    import shiftless
    from shiftless.backbones.registry import models
    from shiftless.backbones.sd import StableDiffusion
    from shiftless.backbones.twins import twin_parts

    image = picture((case.hw[0] // 4, case.hw[1] // 4) if tiny else case.hw)
    parts = StableDiffusion.read_parts(folder) if folder else twin_parts(models()[case.model], full=not tiny)
    began = time.perf_counter()
    reference = theirs(parts, image, case)
    seconds = [time.perf_counter() - began]
    del parts
    name = str(folder) if folder else f"{'twin' if tiny else 'twin-full'}:{case.model}"
    model = shiftless.load(name, device="cpu", dtype="fp32")
    began = time.perf_counter()
    worst = ours(model, image, case)
    seconds.append(time.perf_counter() - began)
    if worst.keys() != reference.keys():
        raise ValueError(f"other blocks: {sorted(worst)} and {sorted(reference)}")
    blocks = {name: difference(worst[name].float(), reference[name]) for name in reference}
    return {
        "case": f"{case.name}{' (tiny)' if tiny else ''}", "tolerance": case.tolerance, "worst": max(blocks.values()),
        "blocks": blocks, "seconds": {"theirs": round(seconds[0], 1), "ours": round(seconds[1], 1)},
    }  # fmt: skip


def show(rows: list[dict[str, Any]]) -> None:
    """Print a line a block and a column a case, and what each case allows."""
    from rich.console import Console
    from rich.table import Table

    table = Table("block", *(row["case"] for row in rows), title="largest difference, as a share of the largest value")
    for name in max((row["blocks"] for row in rows), key=len):
        table.add_row(name, *(f"{row['blocks'][name]:.1e}" if name in row["blocks"] else "" for row in rows))
    table.add_section()
    table.add_row("allowed", *(f"{row['tolerance']:.0e}" for row in rows))
    table.add_row("", *("equal" if row["worst"] <= row["tolerance"] else "different" for row in rows))
    Console().print(table)


def main(
    tiny: bool = typer.Option(False, help="Small random models and pictures instead of full size."),
    only: str = typer.Option("", help="Run the cases whose name begins so, such as sd15."),
    model: Path = typer.Option(None, help="A diffusers folder whose weights are used, for the cases of its shape."),
    json_file: Path = typer.Option(None, "--json", help="Write every number here too."),
    threads: int = typer.Option(os.cpu_count() or 1, min=1, help="Threads for torch."),
) -> None:
    """Compare features with plain diffusers."""
    import torch

    torch.set_num_threads(threads)
    chosen = [case for case in CASES if case.name.startswith(only) and (model is None or fits(model, case))]
    if not chosen:
        raise typer.BadParameter(f"{only!r}: the cases are {', '.join(case.name for case in CASES)}")
    rows = []
    for case in chosen:
        rows.append(compare(case, tiny, model))
        took = rows[-1]["seconds"]
        print(f"{case.name}: {rows[-1]['worst']:.1e} ({took['theirs']} s theirs, {took['ours']} s ours)", flush=True)
    show(rows)
    if json_file:
        json_file.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    if any(row["worst"] > row["tolerance"] for row in rows):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
