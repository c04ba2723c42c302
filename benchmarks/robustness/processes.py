"""Scenes: commands that are killed, interrupted, starved of disk, crowded, and given devices to write to."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.robustness.commands import (
    COMMANDS,
    TIMEOUT,
    check_no_parts,
    check_whole,
    contents,
    ended_refused,
    ended_well,
    make_inputs,
    moment,
    start,
    stop,
)
from benchmarks.robustness.files import Case
from benchmarks.robustness.outcome import Outcome, check
from benchmarks.robustness.storekills import store_kills

Scene = Callable[[random.Random, Path, Sequence[str], int], Iterator[Case]]
SAME = (
    "extract",
    "extract into a store",
    "caption",
)  # commands whose files are the same, byte by byte, however often they were stopped


def kills(rng: random.Random, folder: Path, commands: Sequence[str], times: int) -> Iterator[Case]:
    """SIGKILL at any moment: what is there is whole, and the same command again ends well, with the same files."""
    yield from _stopped(rng, folder, commands, times, signal.SIGKILL)


def interrupts(rng: random.Random, folder: Path, commands: Sequence[str], times: int) -> Iterator[Case]:
    """Ctrl-C at any moment: one line, exit code 130, no temporary file, and the same command again ends well."""
    yield from _stopped(rng, folder, commands, times, signal.SIGINT)


def _stopped(
    rng: random.Random, folder: Path, commands: Sequence[str], times: int, how: signal.Signals
) -> Iterator[Case]:
    inputs = make_inputs(folder / "inputs")
    for name in commands:
        seconds: list[float] = []

        def undisturbed(name: str = name, seconds: list[float] = seconds) -> None:
            began = time.monotonic()
            ended_well(start(COMMANDS[name](inputs, folder / name / "undisturbed")))
            seconds.append(time.monotonic() - began)
            check(check_whole(folder / name / "undisturbed"), "no file was written")

        yield f"{name}, undisturbed", undisturbed
        for number in range(times):

            def act(name: str = name, number: int = number, seconds: list[float] = seconds) -> None:
                out = folder / name / str(number)
                code, err = stop(start(COMMANDS[name](inputs, out)), how, moment(rng, seconds[0] if seconds else 10))
                check(code in (0, -how, 130), f"exit code {code}: {err[-300:]}")
                check_whole(out)
                if how == signal.SIGINT:
                    check(code != 130 or "error: stopped" in err, f"nothing is said: {err[-300:]}")
                    check("Traceback" not in err or code == -how, f"a traceback: {err[-300:]}")
                    check_no_parts(out)
                ended_well(start(COMMANDS[name](inputs, out)))
                check_whole(out)
                if name in SAME:
                    same = contents(out) == contents(folder / name / "undisturbed")
                    check(same, "what was continued is not what an undisturbed run writes")

            yield f"{name}, stopped by {how.name}", act


def full_disk(rng: random.Random, folder: Path, commands: Sequence[str], times: int) -> Iterator[Case]:
    """No space left, at once or after some kilobytes: one line, exit code 2, only whole files."""
    inputs = make_inputs(folder / "inputs")
    for name in commands:
        for number in range(times):

            def act(name: str = name, number: int = number) -> None:
                with _small_disk(folder / f"{name}-{number}", 0 if number == 0 else rng.choice((4, 16, 40))) as (
                    out,
                    limit,
                ):
                    process = start(COMMANDS[name](inputs, out / "out"), limit)
                    try:
                        ended_refused(process)
                    finally:
                        check_whole(out)
                        check_no_parts(out)

            yield f"{name}, on a full disk", act


@contextmanager
def _small_disk(place: Path, kilobytes: int) -> Iterator[tuple[Path, Callable[[], None] | None]]:
    """A file system with so much space left, where the user may mount one; else a limit on the size of files."""
    place.mkdir(parents=True)
    mounted = _mount(place, "size=128k")
    try:
        if not mounted:
            yield place, lambda: _limit_files(max(kilobytes, 1) * 256)
            return
        with suppress(OSError), open(place / "filler.bin", "wb", buffering=0) as filler:
            for _ in range(max(128 - kilobytes, 0) // 4):
                filler.write(bytes(4096))
        yield place, None
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)


def _limit_files(size: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _mount(place: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    with suppress(OSError):
        return (
            hasattr(os, "geteuid") and os.geteuid() == 0 and not subprocess.run(command, capture_output=True).returncode
        )
    return False


def read_only(rng: random.Random, folder: Path, commands: Sequence[str], times: int) -> Iterator[Case]:
    """A folder that may not be written: one line, exit code 2, nothing changed."""
    inputs = make_inputs(folder / "inputs")
    for name in commands:

        def act(name: str = name) -> None:
            place = folder / name
            place.mkdir()
            mounted = _mount(place, "ro,size=64k")
            if not mounted:
                place.chmod(0o555)
                check(not os.access(place, os.W_OK), "this user may write everywhere, and may not mount")
            try:
                ended_refused(start(COMMANDS[name](inputs, place / "out")))
            finally:
                check(not os.listdir(place), "something was written")
                if mounted:
                    subprocess.run(["umount", str(place)], check=True)

        yield f"{name}, into a read-only folder", act


def two_writers(rng: random.Random, folder: Path, commands: Sequence[str], times: int) -> Iterator[Case]:
    """Two of the same command at once in one folder: both end well, and the files are those of one alone."""
    inputs = make_inputs(folder / "inputs")
    for name in [name for name in commands if name in SAME]:

        def act(name: str = name) -> None:
            ended_well(start(COMMANDS[name](inputs, folder / name / "alone")))
            both = [start(COMMANDS[name](inputs, folder / name / "both")) for _ in range(2)]
            for process in both:
                ended_well(process)
            check_no_parts(folder / name)
            check(contents(folder / name / "alone") == contents(folder / name / "both"), "the files differ")

        yield f"{name}, twice at once", act


def devices(rng: random.Random, folder: Path, commands: Sequence[str], times: int) -> Iterator[Case]:
    """Answers written to devices, pipes and standard output: written through, and the device stays what it was."""
    inputs = make_inputs(folder / "inputs", photos=5)
    caption = ["caption", inputs / "photos" / "few", "--out", folder / "captions", "--json"]

    def full() -> None:
        try:
            ended_refused(start([*caption, _device(folder, "full")]))
        finally:
            check(stat.S_ISCHR(os.stat(_device(folder, "full")).st_mode), "the device was replaced")

    def standard_output() -> None:
        check(ended_well(start([*caption, "/dev/stdout"])).lstrip().startswith("{"), "no JSON on standard output")

    yield "caption --json /dev/full", full
    yield "caption --json /dev/stdout", standard_output


def _device(folder: Path, name: str) -> Path:
    """A device of our own, so that a mistake replaces no device of the system; the system's where it cannot be made."""
    own = folder / name
    if not own.exists():
        try:
            os.mknod(own, stat.S_IFCHR | 0o666, os.makedev(1, 7))
            with open(own, "wb", buffering=0) as opened:
                opened.write(b"x")
        except OSError as error:
            if error.errno != errno.ENOSPC:  # a device that works says that it is full
                return Path("/dev") / name
    return own


SCENES: Mapping[str, tuple[Scene, int]] = {  # what makes the cases, how many stops of each command in full
    "kills": (kills, 6),
    "store kills": (store_kills, 100),
    "Ctrl-C": (interrupts, 4),
    "full disk": (full_disk, 3),
    "read-only folder": (read_only, 1),
    "two writers": (two_writers, 1),
    "devices": (devices, 1),
}


def run_scene(name: str, seed: int, quick: bool = False, commands: Sequence[str] = tuple(COMMANDS)) -> Outcome:
    """Play one scene for each command, once with `quick`, else as often as the table says."""
    make, times = SCENES[name]
    outcome = Outcome(name)
    if os.name != "posix":
        outcome.skipped = "needs a POSIX system"
        return outcome
    with tempfile.TemporaryDirectory() as folder:
        for case, act in make(random.Random(f"{seed} {name}"), Path(folder), commands, 1 if quick else times):
            outcome.attempt(case, act, seconds=3 * TIMEOUT)
    return outcome
