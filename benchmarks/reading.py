"""Time reading one image: this library against the ways in which DIFT and GDF read, at equal inputs.

    python benchmarks/reading.py                      every way, each in a process of its own (minutes)
    python benchmarks/reading.py --only gdf --json reading.json
    python benchmarks/reading.py --profile "gdf ours bf16"

The weights are random and of Stable Diffusion 1.5's size, so nothing is downloaded; time does not depend on their
values. The peers' ways are written here with plain diffusers: what is done, in which order and precision, not their
code. Every way starts from the same picture, prompt and noise, and its features are compared with theirs in fp32.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer

DIFT = {"timestep": 261, "taps": ("up1",), "ensemble": 8}
GDF = {"timestep": 50, "taps": ("up0", "up1", "up2", "up3.attn2")}
MAPS = ("up.cross.map.s32", "up.cross.map.s16")
PROMPT = "a photo of a horse"


@dataclass(frozen=True)
class Way:
    """One way of reading: whose, in which precision, with attention maps or without."""

    family: str
    who: str
    dtype: str
    maps: bool = False

    @property
    def name(self) -> str:
        """What the command line and the table call it."""
        return f"{self.family} {self.who} {self.dtype}{' maps' if self.maps else ''}"


WAYS = tuple(
    Way(family, who, dtype, maps)
    for family, maps in (("gdf", False), ("gdf", True), ("dift", False))
    for who, dtype in (("theirs", "fp32"), ("theirs", "bf16"), ("ours", "fp32"), ("ours", "bf16"))
    if (family, who, dtype) != ("dift", "theirs", "bf16")  # DIFT has no such mode
)
TARGETS = (  # ours, theirs, how many times faster it is meant to be
    ("gdf ours bf16", "gdf theirs fp32", 4.0),
    ("gdf ours bf16", "gdf theirs bf16", 1.3),
    ("gdf ours bf16 maps", "gdf theirs fp32 maps", 2.5),
    ("gdf ours bf16 maps", "gdf theirs bf16 maps", 2.5),
    ("dift ours fp32", "dift theirs fp32", 3.3),
    ("dift ours bf16", "dift theirs fp32", 9.0),
)
ALIKE = {"fp32": 0.99999, "bf16": 0.999}


# --- one way, in a process of its own ------------------------------------------------------------------------


def picture(size: int) -> np.ndarray:
    """Draw a size x size RGB picture of coloured stripes under a little noise."""
    y, x = np.mgrid[:size, :size] * (8 * np.pi / size)
    waves = np.stack([np.sin(x + y), np.cos(x * 0.7), np.sin(y * 1.3 - x)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 10, waves.shape)
    return (waves * 90 + 128 + noise).clip(0, 255).astype(np.uint8)


def save_model(name: str, folder: Path) -> None:
    """Build a twin and save it once as a diffusers folder, from which every way loads the same weights."""
    from shiftless.backbones.registry import models
    from shiftless.backbones.twins import save_folder, twin_parts

    kind, _, of = name.partition(":")
    save_folder(twin_parts(models()[of], full=kind == "twin-full"), folder)


def prepare(way: Way, folder: Path, size: int) -> Callable[..., dict[str, Any]]:
    """Load the model and return a function that reads a picture of `size` by a prompt: name -> 1 C H W."""
    import shiftless
    from shiftless.backbones.device import DTYPES
    from shiftless.backbones.sd import StableDiffusion

    settings = DIFT if way.family == "dift" else GDF
    taps = (*settings["taps"], *MAPS) if way.maps else settings["taps"]
    recipe = shiftless.Recipe(**{**settings, "taps": taps}, latent="sample", size=size)
    if way.who == "ours":
        backbone = shiftless.load(folder, device="cpu", dtype=way.dtype)

        def ours(image: np.ndarray, prompt: str = PROMPT) -> dict[str, Any]:
            return dict(shiftless.extract(backbone, image, recipe.but(prompt=prompt, size=len(image))).maps)

        return ours
    parts = StableDiffusion.read_parts(folder)
    for part in ("unet", "vae", "text_encoder"):
        parts[part].eval().to(DTYPES[way.dtype])

    def theirs(image: np.ndarray, prompt: str = PROMPT) -> dict[str, Any]:
        read = dift_way if way.family == "dift" else gdf_way
        return read(parts, image, recipe.but(prompt=prompt), way.maps)

    return theirs


def latents_their_way(parts: dict[str, Any], image: np.ndarray, recipe: Any) -> Any:
    """Repeat the image, encode every copy, draw from each posterior and add noise: N c h w."""
    import torch

    from shiftless.image import open_photo
    from shiftless.noise import noise_for

    vae, count = parts["vae"], recipe.ensemble
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    posterior = vae.encode(pixels.repeat(count, 1, 1, 1).to(vae.dtype)).latent_dist
    shape, digest = tuple(posterior.mean.shape[1:]), open_photo(image).digest

    def draws(stream: str) -> Any:
        return torch.stack([noise_for(digest, recipe.seed, i, shape, stream) for i in range(count)]).to(vae.dtype)

    clean = (posterior.mean + posterior.std * draws("posterior")) * vae.config.scaling_factor
    return parts["scheduler"].add_noise(clean, draws("diffusion"), torch.tensor(recipe.timestep))


def prompt_their_way(parts: dict[str, Any], prompt: str) -> Any:
    """Encode the prompt, padded to 77 tokens: 1 77 D."""
    tokens = parts["tokenizer"](prompt, padding="max_length", max_length=77, return_tensors="pt")
    return parts["text_encoder"](tokens.input_ids).last_hidden_state


def dift_way(parts: dict[str, Any], image: np.ndarray, recipe: Any, maps: bool = False) -> dict[str, Any]:
    """All noise samples as one batch, each with its own encoding; sliced attention; stop after up block 1."""
    import torch

    class Enough(Exception):
        pass

    kept: list[Any] = []

    def stop(_module: Any, _inputs: Any, output: Any) -> None:
        kept.append(output)
        raise Enough

    unet = parts["unet"]
    unet.set_attention_slice("auto")
    handle = unet.up_blocks[1].register_forward_hook(stop)
    with torch.no_grad():
        prompt = prompt_their_way(parts, recipe.prompt).repeat(recipe.ensemble, 1, 1)
        noisy = latents_their_way(parts, image, recipe)
        try:
            with suppress(Enough):
                unet(noisy, recipe.timestep, encoder_hidden_states=prompt)
        finally:
            handle.remove()
    return {"up1": kept[0].mean(0, keepdim=True)}


class PlainAttention:
    """An attention processor that writes its whole probabilities out, and keeps them if asked to."""

    def __init__(self, keep: dict[int, list[Any]] | None = None) -> None:
        self.keep = keep

    def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, **_unused: Any) -> Any:
        """B N C -> B N C, by softmax(q k^T scale) v with nothing fused."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        q, k, v = (x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in projected)
        shares = (q @ k.transpose(-1, -2) * attn.scale).softmax(-1)
        if self.keep is not None:
            self.keep.setdefault(shares.shape[2], []).append(shares)
        return attn.to_out[0]((shares @ v).transpose(1, 2).flatten(2))


def gdf_way(parts: dict[str, Any], image: np.ndarray, recipe: Any, maps: bool) -> dict[str, Any]:
    """The whole UNet with hooks on four layers; for maps, plain attention everywhere, kept in the up blocks."""
    import torch

    unet, kept, shares = parts["unet"], {}, {}
    places = {f"up{i}": unet.up_blocks[i].upsamplers[0] for i in range(3)}
    places["up3.attn2"] = unet.up_blocks[3].attentions[2]
    handles = [
        module.register_forward_hook(
            lambda _m, _i, out, name=name: kept.update({name: out[0] if isinstance(out, tuple) else out})
        )
        for name, module in places.items()
    ]
    usual = unet.attn_processors
    if maps:
        unet.set_attn_processor(
            {
                name: PlainAttention(shares if name.startswith("up_blocks") and ".attn2." in name else None)
                for name in usual
            }
        )
    try:
        with torch.no_grad():
            prompt = prompt_their_way(parts, recipe.prompt)
            noisy = latents_their_way(parts, image, recipe)
            unet(noisy, recipe.timestep, encoder_hidden_states=prompt)
    finally:
        unet.set_attn_processor(usual)
        for handle in handles:
            handle.remove()
    for cells, layers in sorted(shares.items())[:2] if maps else ():
        side = int(cells**0.5)
        mean = torch.stack([layer.mean(1) for layer in layers]).mean(0)  # over heads, then layers
        kept[f"up.cross.map.s{image.shape[0] // side}"] = mean.transpose(1, 2).unflatten(2, (side, side))
    return kept


def forget_peak() -> None:
    """Let the peak memory be counted from here, where Linux allows it, so that loading does not hide reading."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def run_one(way: Way, folder: Path, size: int, threads: int, out: Path, profile: bool) -> dict[str, Any]:
    """Read once, timed, after a warm-up on a picture of 64 x 64; save the features, return seconds and peak GB."""
    import torch
    from diffusers.utils import logging
    from safetensors.torch import save_file

    logging.set_verbosity_error()  # casting warns, though it is meant
    torch.set_num_threads(threads)
    read = prepare(way, folder, size)
    read(picture(64), "another prompt")  # touches every weight once, starts the threads; caches nothing of use
    image = picture(size)
    forget_peak()
    if profile:
        from torch.profiler import ProfilerActivity
        from torch.profiler import profile as profiler

        with profiler(activities=[ProfilerActivity.CPU], record_shapes=True) as result:
            read(image)
        print(result.key_averages(group_by_input_shape=True).table("self_cpu_time_total", row_limit=40))
        print(result.key_averages().table("self_cpu_time_total", row_limit=25))
    faults, start = page_faults(), (time.perf_counter(), time.process_time())
    features = read(image)
    seconds, cpu_seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    unit = 1024**3 if sys.platform == "darwin" else 1024**2  # ru_maxrss is in bytes there, in KB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    save_file({name: value.float().contiguous() for name, value in features.items()}, out)
    numbers = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gb": peak, "page_faults": page_faults() - faults}
    return {**asdict(way), **{name: round(value, 3) for name, value in numbers.items()}}


def page_faults() -> int:
    """How often this process has so far been given memory it did not hold: large tensors that come and go."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


# --- all ways, compared --------------------------------------------------------------------------------------


def likeness(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Return the cosine between two ways' features, of the tap where they differ most."""
    import torch

    if ours.keys() != theirs.keys():
        raise ValueError(f"the ways read different taps: {sorted(ours)} and {sorted(theirs)}")
    pairs = ((ours[name].double().flatten(), theirs[name].double().flatten()) for name in ours)
    return min(float(torch.nn.functional.cosine_similarity(a, b, dim=0)) for a, b in pairs)


def compare(rows: dict[str, dict[str, Any]], features: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Add each way's cosine with the peer's fp32 way, and return how each target was met."""
    for name, row in rows.items():
        reference = f"{row['family']} theirs fp32{' maps' if row['maps'] else ''}"
        if reference in features:
            row["cosine"] = likeness(features[name], features[reference])
    met = []
    for ours, theirs, target in TARGETS:
        if ours in rows and theirs in rows:
            a, b = rows[ours], rows[theirs]
            if "cosine" not in a:  # the peer's fp32 way, which says what is right, was not run
                continue
            ratio = b["seconds"] / a["seconds"]
            alike = a["cosine"] >= ALIKE[a["dtype"]]
            met.append(
                {
                    "ours": ours, "theirs": theirs, "target": target, "ratio": round(ratio, 2), "cosine": a["cosine"],
                    "peak_gb": [a["peak_gb"], b["peak_gb"]],
                    "met": bool(ratio >= target and alike and a["peak_gb"] <= b["peak_gb"]),
                }
            )  # fmt: skip
    return met


def machine(threads: int) -> dict[str, Any]:
    """Say what the numbers were measured on."""
    import diffusers
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    return {
        "cpu": cpu, "cores": os.cpu_count(), "threads": threads, "load before": round(os.getloadavg()[0], 2),
        "isa": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__, "diffusers": diffusers.__version__,
        "python": platform.python_version(),
    }  # fmt: skip


def show(rows: dict[str, dict[str, Any]], met: list[dict[str, Any]], states: dict[str, Any]) -> None:
    """Print the two tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print("  ".join(f"{name} {value}" for name, value in states.items()))
    table = Table("way", "seconds", "CPU seconds", "peak GB", "page faults", "cosine with theirs in fp32")
    for name, row in rows.items():
        cosine = f"{row['cosine']:.7f}" if "cosine" in row else ""
        numbers = (f"{row[key]:.2f}" for key in ("seconds", "cpu_seconds", "peak_gb"))
        table.add_row(name, *numbers, f"{row['page_faults']:,}", cosine)
    console.print(table)
    table = Table("ours", "against", "times faster", "target", "cosine", "peak GB, ours / theirs", "met")
    for row in met:
        peaks = " / ".join(f"{peak:.2f}" for peak in row["peak_gb"])
        table.add_row(
            row["ours"], row["theirs"], f"{row['ratio']:.2f}", f"{row['target']:.1f}", f"{row['cosine']:.6f}", peaks,
            "yes" if row["met"] else "no",
        )  # fmt: skip
    console.print(table)


def main(
    only: str = typer.Option("", help="dift or gdf: run that family only."),
    ways: str = typer.Option("", help='Comma-separated ways to run, such as "gdf ours bf16".'),
    json_file: Path = typer.Option(None, "--json", help="Write every number here too."),
    threads: int = typer.Option(os.cpu_count() or 1, min=1, help="Threads for torch."),
    model: str = typer.Option("twin-full:sd15", help="A twin (random weights of that size) or a diffusers folder."),
    size: int = typer.Option(512, min=64, help="Side of the picture in pixels, a multiple of 64."),
    profile: str = typer.Option("", help="Profile this one way and stop."),
    worker: str = typer.Option("", hidden=True),
    out: Path = typer.Option(None, hidden=True),
) -> None:
    """Time reading one image by each way and compare."""
    known = {way.name: way for way in WAYS}
    if worker == "save":
        return save_model(model, out)
    if worker:
        print(json.dumps(run_one(known[worker], Path(model), size, threads, out, bool(profile))))
        return None
    requested = [name for name in (profile or ways).split(",") if name] or list(known)
    if unknown := [name for name in requested if name not in known]:
        raise typer.BadParameter(f"{unknown[0]!r}: the ways are {', '.join(known)}")
    chosen = [name for name in known if name in requested and known[name].family.startswith(only)]
    if not chosen or size % 64:
        raise typer.BadParameter("nothing to run: --only is dift or gdf, --size a multiple of 64")
    states, rows, features = machine(threads), {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model" if ":" in model else Path(model)
        if ":" in model:
            start_worker("save", folder, model)
        for name in chosen:
            place = Path(temporary) / "features.safetensors"
            extra = ["--size", size, "--threads", threads, *(["--profile", name] if profile else [])]
            *tables, last = start_worker(name, place, folder, *extra).splitlines()
            print(*tables, sep="\n", end="\n" * bool(tables))
            rows[name], features[name] = json.loads(last), load(place)
            print(f"{name}: {rows[name]['seconds']:.2f} s", file=sys.stderr, flush=True)
    met = compare(rows, features)
    show(rows, met, states)
    if json_file:
        result = {"machine": states, "model": model, "size": size, "ways": rows, "targets": met}
        json_file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return None


def start_worker(name: str, out: Path, model: Any, *extra: Any) -> str:
    """Run one way in a process of its own, so that its peak memory is its own; return what it printed."""
    command = [sys.executable, __file__, "--worker", name, "--out", out, "--model", model, *extra]
    return subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True).stdout


def load(place: Path) -> dict[str, Any]:
    """Read back a way's features, whole, before the next way writes its own."""
    from safetensors.torch import load as from_bytes

    return from_bytes(place.read_bytes())


if __name__ == "__main__":
    typer.run(main)
