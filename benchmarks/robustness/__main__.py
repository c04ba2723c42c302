"""Try hostile, broken and interrupted input, and print what became of it.

    python -m benchmarks.robustness                          every group (about an hour)
    python -m benchmarks.robustness --quick                  a few minutes
    python -m benchmarks.robustness --only pictures --count 20000 --seed 7 --json found.json
    python -m benchmarks.robustness --only LoRAs --first 41 --count 1      one case again, with its seed

Cases come from a seed. Each group runs in a process of its own, so that a crash in a library's native code is a failed
case and not the end. Exit code 1 if anything failed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.robustness.campaign import GROUPS, own_cache, render, run_group
from benchmarks.robustness.outcome import Outcome
from benchmarks.robustness.processes import SCENES, run_scene

ROOT = Path(__file__).parents[2]


def main(
    only: Annotated[list[str], typer.Option(help=f"{', '.join([*GROUPS, *SCENES])}; repeat for more.")] = [],  # noqa: B006
    quick: Annotated[bool, typer.Option("--quick", help="Few cases of each group.")] = False,
    seed: Annotated[int, typer.Option(help="Other cases.")] = 0,
    count: Annotated[int | None, typer.Option(help="So many cases of each group.")] = None,
    first: Annotated[int, typer.Option(help="Begin at this case.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was found here.")] = None,
    inside: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Try hostile input from a seed; see the module's text."""
    for name in only:
        if name not in (*GROUPS, *SCENES):
            raise typer.BadParameter(f"{name!r}: there are {', '.join([*GROUPS, *SCENES])}")
    outcomes = []
    with tempfile.TemporaryDirectory() as cache:
        own_cache(cache)
        for name in only or [*GROUPS, *SCENES]:
            if name in SCENES:
                outcome = run_scene(name, seed, quick)
            else:
                cases = count or GROUPS[name][2 if quick else 1]
                mark = json_file.with_suffix(".mark") if inside and json_file else None
                outcome = (run_group if inside else apart)(name, seed, cases, first, mark)
            outcomes.append(outcome)
            if not inside:
                print(f"{name}: {outcome.tried} tried, {len(outcome.failures)} failed", file=sys.stderr, flush=True)
    if json_file is not None:
        json_file.write_text(json.dumps([outcome.to_dict() for outcome in outcomes], indent=1) + "\n", encoding="utf-8")
    if not inside:
        print(render(outcomes))
        raise typer.Exit(1 if any(outcome.failures for outcome in outcomes) else 0)


def apart(name: str, seed: int, count: int, first: int = 0, mark: Path | None = None) -> Outcome:
    """Run a group in a process of its own; where it dies, count that as a failure and go on behind the case."""
    whole = Outcome(name)
    end = first + count
    with tempfile.TemporaryDirectory() as folder:
        written, mark = Path(folder, "found.json"), Path(folder, "found.mark")
        while first < end:
            written.unlink(missing_ok=True)
            command = [sys.executable, "-m", "benchmarks.robustness", "--inside", "--only", name, "--seed", str(seed)]
            command += ["--first", str(first), "--count", str(end - first), "--json", str(written)]
            process = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace")
            if written.is_file():
                _add(whole, Outcome(**json.loads(written.read_text(encoding="utf-8"))[0]))
                break
            number, _, case = (mark.read_text(encoding="utf-8") if mark.is_file() else f"{first} ?").partition(" ")
            how = (
                signal.Signals(-process.returncode).name
                if process.returncode < 0
                else f"exit code {process.returncode}"
            )
            last = (process.stderr.strip().splitlines() or [""])[-1][:200]
            done = int(number) - first
            _add(whole, Outcome(name, done + 1, done, failures=[f"[{number}] {case}: the process died ({how}) {last}"]))
            first = int(number) + 1
            mark.unlink(missing_ok=True)
    return whole


def _add(whole: Outcome, part: Outcome) -> None:
    whole.tried, whole.done, whole.refused = (
        whole.tried + part.tried,
        whole.done + part.done,
        whole.refused + part.refused,
    )
    whole.failures += part.failures
    whole.seconds += part.seconds


if __name__ == "__main__":
    typer.run(main)
