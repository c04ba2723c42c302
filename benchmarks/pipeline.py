"""Time everything but the model: how many photos a second reach it, and how many features a second are written.

    python benchmarks/pipeline.py                                 one core, and all that this process may use
    python benchmarks/pipeline.py --cores 1 --json pipeline.json
    python benchmarks/pipeline.py --photos my/photos --cores 1,8

All ways take the same photos to the same pixels, at `--size` on the longer side, in turn, several rounds of each in one
run, and a way's speed is that of its best round. CPU time is given beside it, which other work on the machine changes
less:

pillow      Pillow's decoding and bicubic resizing alone: the most that is possible with these decoders
dataloader  a torch DataLoader with the same decoding and resizing, the pixels as 8-bit tensors in batches
loader      the loader of `extract`: the same, the photo's digest, its keys, whether it is there, and its noise
floats      the loader, and floats made of the batches on this CPU, which an accelerator makes for itself
extract     the loader with a model that computes nothing, and features of `--megabytes` a photo written into a store

Photos are drawn, as JPEGs, unless some are given. Each number of cores is measured in a process of its own, bound to so
many, after all files have been read once. The pixels of all ways are compared before anything is timed.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer
import xxhash
from PIL import Image

from shiftless.backbones.memory import own_process
from shiftless.image import open_photo
from shiftless.pixels import floats_of
from shiftless.reading.inputs import frame_of, latent_shape

BATCH = 16
CHANNELS = 1280  # of the features that are written: a map of Stable Diffusion's up1 has as many
WAYS = ("pillow", "dataloader", "loader", "floats", "extract")
TARGET = 0.9  # of Pillow's speed: what the loader is meant to reach


def draw_photos(folder: Path, count: int, hw: tuple[int, int]) -> None:
    """Draw JPEGs of quality 90: smooth colours under noise, about as many bytes a pixel as a photograph has."""
    folder.mkdir(parents=True)
    h, w = hw
    for i in range(count):
        rng = np.random.default_rng(i)
        coarse = Image.fromarray(rng.integers(0, 256, (h // 16, w // 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((w, h), Image.Resampling.BICUBIC), dtype=np.float32)
        noisy = smooth + rng.normal(0, 6, (h, w, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:04}.jpg", quality=90)


def resized(path: Path, size: int) -> np.ndarray:
    """Decode and resize with Pillow alone: h w 3 uint8."""
    from shiftless.image import FORMATS, plan

    with Image.open(path, formats=FORMATS) as image:
        h, w = plan((image.height, image.width), size, 64).fed
        return np.array(image.convert("RGB").resize((w, h), Image.Resampling.BICUBIC))


class Pixels:
    """A torch Dataset over photos: h w 3 uint8."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Any:
        import torch

        return torch.from_numpy(resized(self.paths[i], self.size))


class NoModel:
    """A backbone that computes nothing: its latents are zeros, and its one map too.

    cells  of the map along each side
    """

    fingerprint = "0" * 64

    def __init__(self, size: int, cells: int) -> None:
        import torch

        from shiftless.backbones.base import Spec
        from shiftless.noise import Schedule
        from shiftless.taps.names import Tap

        self.spec = Spec("none", "sd", size, 64, (4, 8), takes_text=False, takes_noise=True)
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.schedule = Schedule.from_betas(0.00085, 0.012, 1000)
        self.taps = (Tap("up1", CHANNELS, size // cells, ""),)
        self._map = torch.zeros(BATCH, CHANNELS, cells, cells)

    def encode_image(self, pixels: Any, **_unused: Any) -> Any:
        """B 3 H W -> B 4 H/8 W/8 of zeros."""
        import torch

        return torch.zeros(len(pixels), 4, pixels.shape[2] // 8, pixels.shape[3] // 8)

    def encode_prompt(self, prompts: Sequence[str], **_unused: Any) -> Any:
        """No text has any meaning here."""
        from shiftless.conditions.condition import Condition

        return Condition(None, ())

    def denoise(self, latent: Any, timestep: int, condition: Any, taps: Any = (), **_unused: Any) -> Any:
        """B 4 h w -> one map of zeros a photo."""
        from shiftless.backbones.base import Reading

        return Reading({"up1": self._map[: len(latent)]}, None)


# --- every way, in a process of its own for each number of cores ---------------------------------------------------


def ways(paths: Sequence[Path], size: int, cores: int, megabytes: float, scratch: Path) -> dict[str, Callable[[], Any]]:
    """Return for each way a function that takes all photos once and gives their pixels, uint8 or floats."""
    import torch

    import shiftless
    from shiftless.reading.ahead import Ahead
    from shiftless.store.extraction import Extracted, extract_into, unread_inputs
    from shiftless.store.writer import StoreWriter

    recipe = shiftless.Recipe(taps=("up1",), size=size)
    model: Any = NoModel(size, max(1, round((megabytes * 1e6 / 2 / CHANNELS) ** 0.5)))
    threads = cores if cores > 1 else 0  # on one core a second thread or process has nothing to run on
    numbers = itertools.count()

    def pillow() -> Iterator[Any]:
        with Ahead(threads) as ahead:
            yield from ahead.map(lambda path: resized(path, size), paths, BATCH)

    def dataloader() -> Iterator[Any]:
        data: Any = Pixels(paths, size)
        for batch in torch.utils.data.DataLoader(data, BATCH, num_workers=threads):
            yield from batch

    def batches() -> Iterator[Any]:
        target, result = StoreWriter(scratch / f"{next(numbers)}.zarr", model, [recipe]), Extracted()
        target.hold()
        with Ahead(threads) as ahead:
            inputs = unread_inputs(target, model, paths, [recipe], ahead, BATCH, result)
            while window := list(itertools.islice(inputs, BATCH)):
                fed = frame_of(model.spec, window[0].photo, recipe).fed
                pixels = torch.cat([one.pixels(fed) for one in window])
                torch.cat([one.noise(recipe.seed, 0, latent_shape(model.spec, fed)) for one in window])
                yield pixels

    def loader() -> Iterator[Any]:
        for pixels in batches():
            yield from pixels

    def floats() -> Iterator[Any]:
        for pixels in batches():
            yield from floats_of(pixels)

    def extract() -> Iterator[Any]:
        with StoreWriter(scratch / f"{next(numbers)}.zarr", model, [recipe]) as target:
            result = extract_into(target, model, paths, [recipe], batch=BATCH, threads=threads)
        if result.done != len(paths):
            raise SystemExit(f"{result.done} of {len(paths)} photos were read: {(result.failed or ['twins'])[0]}")
        return iter(())

    return dict(zip(WAYS, (pillow, dataloader, loader, floats, extract)))


def compare(given: dict[str, Callable[[], Any]]) -> None:
    """Stop if two ways give the model other pixels."""
    pixels = {name: [np.asarray(one) for one in given[name]()] for name in WAYS[:4]}
    scaled = [one.transpose(2, 0, 1).astype(np.float32) / np.float32(255) * 2 - 1 for one in pixels["pillow"]]
    for name in WAYS[1:4]:
        expected = scaled if name == "floats" else pixels["pillow"]
        if not all(np.array_equal(a, b) for a, b in zip(expected, pixels[name], strict=True)):
            raise SystemExit(f"{name} gives other pixels than pillow")


def measure(folder: Path, size: int, cores: int, megabytes: float, rounds: int) -> dict[str, Any]:
    """Time every way, in turn, `rounds` times: photos a second of its best round, and its share of Pillow's."""
    import torch

    torch.set_num_threads(1)
    own_process()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    paths = sorted(folder.iterdir())
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    spent: dict[str, list[float]] = {name: [] for name in WAYS}  # CPU seconds, which other work on the machine spares
    with tempfile.TemporaryDirectory() as scratch:
        given = ways(paths, size, cores, megabytes, Path(scratch))
        compare(given)
        for _ in range(rounds):
            for name, run in given.items():
                begun, cpu = time.perf_counter(), cpu_seconds()
                for _pixels in run():
                    pass
                seconds[name].append(time.perf_counter() - begun)
                spent[name].append(cpu_seconds() - cpu)
            for store in Path(scratch).iterdir():
                shutil.rmtree(store)
    speed = {name: len(paths) / min(times) for name, times in seconds.items()}
    cpu_ms = {name: min(times) / len(paths) * 1e3 for name, times in spent.items()}
    return {
        "cores": cores,
        "photos a second": {name: round(value, 1) for name, value in speed.items()},
        "of pillow": {name: round(value / speed["pillow"], 3) for name, value in speed.items()},
        "CPU ms a photo": {name: round(value, 2) for name, value in cpu_ms.items()},
        "of pillow in CPU time": {name: round(cpu_ms["pillow"] / value, 3) for name, value in cpu_ms.items()},
        "CPU ms of a digest": round(digest_seconds(paths[0]) * 1e3, 2),
        "seconds": {name: [round(one, 3) for one in times] for name, times in seconds.items()},
    }


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def digest_seconds(path: Path) -> float:
    """Return the CPU time of the digest of one photo's pixels: the best of ten."""
    array, times = open_photo(path).array, []
    for _ in range(10):
        begun = time.process_time()
        xxhash.xxh3_128(array.data).digest()
        times.append(time.process_time() - begun)
    return min(times)


def machine() -> dict[str, Any]:
    """Say what the numbers were measured on."""
    import PIL
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    return {
        "cpu": cpu, "cores": os.cpu_count(), "load before": round(os.getloadavg()[0], 2), "pillow": PIL.__version__,
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip


def show(rows: Sequence[dict[str, Any]], about: dict[str, Any]) -> None:
    """Print the table."""
    print("  ".join(f"{name} {value}" for name, value in about.items()))
    for what, unit in (("photos a second", "of pillow"), ("CPU ms a photo", "of pillow in CPU time")):
        print(f"{what}:")
        print(f"{'cores':>5}" + "".join(f"{name:>18}" for name in WAYS))
        for row in rows:
            each = (f"{row[what][name]:.1f} ({100 * row[unit][name]:.0f}%)" for name in WAYS)
            print(f"{row['cores']:>5}" + "".join(f"{text:>18}" for text in each))
    for row in rows:
        share = row["of pillow in CPU time"]["loader"]
        print(
            f"{row['cores']} cores: of Pillow's speed the loader reaches {share:.0%} (target {TARGET:.0%}); "
            f"{row['CPU ms of a digest']:.1f} ms of a photo are its digest"
        )


def main(
    photos: Path = typer.Option(None, help="A folder of photos, all of one size; drawn by default."),
    count: int = typer.Option(64, min=1, help="How many photos to draw."),
    hw: str = typer.Option("480,640", help="Height and width of the photos that are drawn."),
    size: int = typer.Option(512, min=64, help="The longer side that the model is fed."),
    cores: str = typer.Option("", help="Numbers of cores, such as 1,8; by default 1 and all."),
    megabytes: float = typer.Option(2.6, help="Of features that are written for each photo, in fp16."),
    rounds: int = typer.Option(5, min=1, help="How often each way takes all photos."),
    json_file: Path = typer.Option(None, "--json", help="Write every number here too."),
    worker: int = typer.Option(0, hidden=True),
) -> None:
    """Time the loader against Pillow alone and a DataLoader."""
    if worker:
        print(json.dumps(measure(photos, size, worker, megabytes, rounds)))
        return
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    numbers = [int(one) for one in cores.split(",") if one] or sorted({1, len(there)})
    if max(numbers) > len(there):
        raise typer.BadParameter(f"{max(numbers)} cores: this process may use {len(there)}")
    about, rows = machine(), []
    with tempfile.TemporaryDirectory() as temporary:
        if photos is None:
            photos = Path(temporary) / "photos"
            h, w = map(int, hw.split(","))
            draw_photos(photos, count, (h, w))
        for number in numbers:
            options = ["--photos", photos, "--size", size, "--megabytes", megabytes, "--rounds", rounds]
            command = [sys.executable, __file__, *map(str, options), "--worker", str(number)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    show(rows, about)
    if json_file:
        result = {"machine": about, "size": size, "hw": hw, "megabytes": megabytes, "target": TARGET, "rows": rows}
        json_file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
