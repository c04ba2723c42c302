"""What an audit's memory does as photos become more: the peak resident memory of a process each, for 16 and 64 photos.

    python benchmarks/audit_memory.py

Drawn pictures are audited as `shiftless audit` does: three timesteps with and without edges, two noise draws, the full
denoising, and the page with its sheets. Memory that grew with the photos would show as a difference.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

COUNTS = (16, 64)
AUDIT = ("--timestep", "100", "--timestep", "300", "--timestep", "500", "--control", "canny")
_CHILD = """
import resource, sys
from shiftless.cli import main
sys.argv[0] = "shiftless"
try:
    main()
except SystemExit as stop:
    if stop.code:
        raise
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("peak", peak if sys.platform == "darwin" else 1024 * peak)
"""


def peak_bytes(arguments: list[str]) -> int:
    """Run the command line in a process of its own, and return its peak resident memory in bytes (ru_maxrss)."""
    process = subprocess.run([sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True)
    if process.returncode:
        raise SystemExit(process.stderr.strip() or f"exit code {process.returncode}")
    return int(next(line.split()[1] for line in process.stdout.splitlines() if line.startswith("peak ")))


def draw(folder: Path, count: int) -> None:
    """Write drawn pictures that no table measures into a folder."""
    from PIL import Image

    from miniworld.datasets import photos, seeds

    folder.mkdir(parents=True)
    for i, picture in enumerate(photos(seeds("shown", count).start, count)):
        Image.fromarray(picture.image).save(folder / f"{i:03d}.png")


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a line for each number of photos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="numbers of photos (16 64)")
    parser.add_argument("audit", nargs="*", default=AUDIT, help="what the audit is given, after --")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        for count in given.counts:
            draw(Path(place, str(count)), count)
            out = str(Path(place, f"audit-{count}"))
            peak = peak_bytes(["audit", str(Path(place, str(count))), *given.audit, "--out", out])
            print(f"{count} photos: {peak / 1e6:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
