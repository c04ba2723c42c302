"""What `extract` takes as photos become more: peak memory and time a photo, for each tenth of a long run into a store.

    OMP_NUM_THREADS=1 python benchmarks/extract_memory.py --photos 10000

Drawn pictures that no table measures are read with the embedded model into a store, in a process of its own, by the
loop behind `shiftless extract`. The peak is the largest resident memory within a tenth (on Linux; elsewhere since the
start). Processor time is that of all threads, which other work on the machine changes less than what a clock shows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

TENTHS = 10
_STATUS = Path("/proc/self/status")


class Watch:
    """Notes the peak memory in MB, and the milliseconds a photo by the clock and of the processor, of each tenth."""

    def __init__(self, photos: int) -> None:
        self.ends = [photos * (i + 1) // TENTHS for i in range(TENTHS)]
        self.rows: list[dict[str, float]] = []
        self._read = self._since = 0
        self._begin()

    def __call__(self, _bucket: object) -> None:
        """Count a photo."""
        self._read += 1
        if self._read == self.ends[len(self.rows)]:
            count = self._read - self._since
            clock, processor = time.perf_counter() - self._clock, time.process_time() - self._processor
            self.rows.append(
                {
                    "photos": self._read,
                    "peak MB": round(peak_bytes() / 1e6, 1),
                    "ms a photo": round(1e3 * clock / count, 2),
                    "CPU ms a photo": round(1e3 * processor / count, 2),
                }
            )
            self._begin()

    def _begin(self) -> None:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        self._since, self._clock, self._processor = self._read, time.perf_counter(), time.process_time()


def peak_bytes() -> int:
    """Return the peak resident memory of this process, since it was last reset where that can be done."""
    with suppress(OSError, StopIteration):
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def draw(folder: Path, count: int) -> Iterator[Path]:
    """Write drawn pictures into a folder, and yield their paths."""
    from PIL import Image

    from miniworld.datasets import photos, seeds

    folder.mkdir(parents=True)
    first = seeds("crowd", count).start
    for start in range(0, count, 100):
        for i, picture in enumerate(photos(first + start, min(100, count - start)), start):
            path = folder / f"{i:06d}.png"
            Image.fromarray(picture.image).save(path)
            yield path


def measure(folder: Path, out: str, model: str) -> list[dict[str, float]]:
    """Read every picture of a folder into a store as the command does; return a row for each tenth."""
    import shiftless
    from shiftless.backbones.memory import own_process
    from shiftless.engines.portions import with_ends
    from shiftless.presets import default_recipe
    from shiftless.reading.ahead import default_threads
    from shiftless.reading.loop import check
    from shiftless.store.extraction import extract_into
    from shiftless.store.writer import StoreWriter

    own_process()
    paths = sorted(folder.iterdir())
    backbone, recipes = shiftless.load(model), [default_recipe(model)]
    batch = check(backbone, recipes, None)
    watch = Watch(len(paths))
    with StoreWriter(out, backbone, recipes) as target:
        photos = with_ends(paths, batch, len(paths))
        result = extract_into(target, backbone, photos, recipes, batch=batch, threads=default_threads(), read=watch)
    if result.done != len(paths):
        raise SystemExit(f"{result.done} of {len(paths)} pictures were read: {(result.failed or ['twins'])[0]}")
    return watch.rows


def show(rows: list[dict[str, float]]) -> None:
    """Print the table, and how the last tenth compares with the second one, by which all is warm."""
    print("".join(f"{name:>18}" for name in rows[0]))
    for row in rows:
        print("".join(f"{value:>18,}" for value in row.values()))
    early, last = rows[1], rows[-1]
    grown = (last["peak MB"] - early["peak MB"]) * 1e6 / (last["photos"] - early["photos"])
    print(
        f"from the second tenth to the last the peak changed by {last['peak MB'] - early['peak MB']:+.1f} MB "
        f"({grown:+.0f} bytes a photo), and processor time a photo to "
        f"{last['CPU ms a photo'] / early['CPU ms a photo']:.2f} of what it was"
    )


def main(arguments: list[str] | None = None) -> None:
    """Draw, measure in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000, help="how many pictures are drawn and read (10000)")
    parser.add_argument("--model", default="mini", help="the model that reads (mini)")
    parser.add_argument("--json", type=Path, help="write every number here too")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker:
        print(json.dumps(measure(Path(given.worker[0]), given.worker[1], given.model)))
        return
    if given.photos < TENTHS:
        parser.error(f"--photos {given.photos}: give {TENTHS} or more")
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        count = sum(1 for _ in draw(Path(place, "photos"), given.photos))
        print(f"{count:,} pictures drawn in {time.perf_counter() - began:.0f} s", flush=True)
        command: list[Any] = [sys.executable, __file__, "--model", given.model, "--worker"]
        command += [Path(place, "photos"), Path(place, "features.zarr")]
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
    rows = json.loads(done.stdout.splitlines()[-1])
    show(rows)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
