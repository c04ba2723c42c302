"""The commands that are stopped and starved of disk: how they are run, and what may be found of them afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.robustness.files import picture
from benchmarks.robustness.outcome import check
from benchmarks.robustness.storekills import maps_in
from shiftless.errors import BadInput

ROOT = Path(__file__).parents[2]
TIMEOUT = 300
"""Seconds that any one command may take."""
STORE = ".zarr"
RECIPE = 'taps = ["up0"]\nsize = 64\n'
COMMANDS: Mapping[str, Callable[[Path, Path], list[object]]] = {  # (inputs, out) -> arguments
    "extract": lambda inputs, out: ["extract", inputs / "photos", "--out", out, "--size", 64, "--batch", 1],
    "extract into a store": lambda inputs, out: [
        "extract", inputs / "photos", "--out", out / "f.zarr", "--size", 64, "--batch", 1, "--shard", 4,
    ],
    "audit": lambda inputs, out: [
        "audit", inputs / "photos" / "few", "--out", out, "--timestep", 100, "--draws", 1, "--finish", 0,
        "--json", out / "audit.json", "--pictures", 2, "--control", "canny", "--size", 64,
    ],
    "lora train": lambda inputs, out: [
        "lora", "train", inputs / "photos" / "few", "--out", out / "a.safetensors", "--captioner", "none",
        "--steps", 6, "--rank", 2, "--checks", 3, "--batch", 1,
    ],
    "caption": lambda inputs, out: ["caption", inputs / "photos", "--out", out, "--json", out / "captions.json"],
    "correspond fit": lambda inputs, out: [
        "correspond", "fit", "--recipe", inputs / "recipe.toml", "--out", out / "head", "--pairs", 6, "--val-pairs", 4,
        "--steps", 20, "--side", 8,
    ],
}  # fmt: skip


def make_inputs(folder: Path, photos: int = 12) -> Path:
    """Draw the photos and write the recipe that the commands read; return their folder."""
    (folder / "photos" / "few").mkdir(parents=True)
    for i in range(photos):
        place = folder / "photos" / ("few" if i < 4 else "")
        Image.fromarray(picture(64, seed=i)).save(place / f"{i}.png")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def start(arguments: list[object], limit: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """Start the command line in a process of its own; `limit` runs in it before anything else does."""
    code = "from shiftless.cli import main; main()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, preexec_fn=limit, **pipes)  # type: ignore[call-overload]


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a command: its exit code, stdout and stderr."""
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def ended_well(process: subprocess.Popen[str]) -> str:
    """Wait for a command that must succeed; return its stdout."""
    code, out, err = finish(process)
    check(code == 0, f"exit code {code}: {_tail(err)}")
    return out


def ended_refused(process: subprocess.Popen[str]) -> None:
    """Wait for a command that must be refused in one line with exit code 2; raises BadInput with that line."""
    code, _, err = finish(process)
    check("Traceback" not in err, f"a traceback: {_tail(err)}")
    check(code == 2, f"exit code {code}: {_tail(err)}")
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    check(lines, f"no line that begins with error: {_tail(err)}")
    raise BadInput(lines[-1])


def stop(process: subprocess.Popen[str], how: signal.Signals, after: float) -> tuple[int, str]:
    """Send a command a signal after so many seconds; return its exit code and stderr."""
    with_end = time.monotonic() + after
    while process.poll() is None and time.monotonic() < with_end:
        time.sleep(0.02)
    if process.poll() is None:
        process.send_signal(how)
    code, _, err = finish(process)
    return code, err


def check_whole(folder: Path) -> int:
    """Check that every file under a folder can be read to its end; return how many there are.

    Hidden files that end in .part are what SIGKILL leaves of a file that was being written; nothing reads them.
    """
    count = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix == STORE and path.is_dir():
            maps_in(path)  # raises BadInput for what is damaged
        if path.is_dir() or (path.name.startswith(".") and path.suffix == ".part"):
            continue
        count += 1
        try:
            _read(path)
        except Exception as error:
            check(False, f"{path.relative_to(folder)} is not whole: {type(error).__name__}: {error}")
    return count


def check_no_parts(folder: Path) -> None:
    """Check that no temporary file stays behind."""
    parts = [path.name for path in folder.rglob("*.part")]
    check(not parts, f"temporary files stay behind: {parts}")


def contents(folder: Path) -> dict[str, Any]:
    """Return what every file under a folder holds, by its path in it.

    Of a safetensors file that is its header, in which metadata may stand in any order, and its numbers; of an index
    its lines, which stand in the order in which the files were written; of a store its maps.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".part"]
    held = {str(path.relative_to(folder)): _content(path) for path in files if STORE not in str(path.parent)}
    for store in folder.rglob(f"*{STORE}"):
        held |= {f"{store.name} {key}": value.numpy().tobytes() for key, value in maps_in(store).items()}
    return held


def _content(path: Path) -> Any:
    data = path.read_bytes()
    if path.suffix == ".jsonl":
        return sorted(data.splitlines())
    if path.suffix != ".safetensors":
        return data
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def moment(rng: random.Random, seconds: float) -> float:
    """A moment of a run that takes so many seconds, more often in its second half, where files are written."""
    return seconds * (1 - rng.random() ** 2 * 0.9)


def _read(path: Path) -> None:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        load_file(path)
    elif path.suffix in (".json", ".jsonl"):
        for text in [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines():
            json.loads(text)
    elif path.suffix in (".png", ".jpg", ".webp"):
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as opened:
            opened.load()
    elif path.suffix == ".html":
        check(path.read_text().rstrip().endswith("</html>"), "the page has no end")
    elif path.suffix in (".txt", ".toml"):
        check(path.read_text().endswith("\n"), "the last line has no end")
    elif path.suffix == ".pt":
        import torch

        torch.load(path, weights_only=True)


def _tail(text: str) -> str:
    return " | ".join(line for line in text.splitlines()[-4:] if line.strip())[-500:]
