"""Kills of a process that writes a Zarr store: at a chosen file operation, and what must hold of the store then."""

from __future__ import annotations

import os
import random
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.robustness.files import Case, picture
from benchmarks.robustness.outcome import check
from shiftless.errors import BadInput

TIMEOUT = 120
"""Seconds after which a writer is taken to hang."""
OPERATIONS = ("write", "replace", "link", "ftruncate", "fsync", "mkdir", "unlink", "rmdir")


@dataclass(frozen=True)
class Work:
    """What is written: the photos' buckets, and what a writer needs to claim them."""

    model: Any
    recipes: Sequence[Any]
    photos: Sequence[Any]
    buckets: Sequence[Any]
    shard: int = 4

    def write(self, target: Path, done: Callable[[], None] = lambda: None) -> None:
        """Write every photo that is not there; `done` is called after each."""
        from shiftless.store.writer import StoreWriter

        with StoreWriter(target, self.model, self.recipes, shard=self.shard) as writer:
            writer.recover()
            for photo, bucket in zip(self.photos, self.buckets):
                if writer.claim(photo):
                    writer.write(bucket)
                done()


def make_work(photos: int, shard: int = 4) -> Work:
    """Read photos of two shapes by two recipes of a tiny model with random weights."""
    import shiftless
    from shiftless.image import open_photo

    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    recipes = [shiftless.Recipe(taps=("up0", "up1"), size=128), shiftless.Recipe(taps=("up1",), size=128, timestep=200)]
    drawn = [picture(64, seed=i)[: 64 if i % 3 else 32] for i in range(photos)]
    opened = [open_photo(array, f"{i}.png") for i, array in enumerate(drawn)]
    buckets = shiftless.extract(model, opened, recipes, dtype="fp16")
    known = SimpleNamespace(spec=model.spec, fingerprint=model.fingerprint, dtype=model.dtype)  # digested once
    return Work(known, recipes, opened, buckets, shard)


def killed_at(number: int | None, act: Callable[[Callable[[], None]], None]) -> tuple[int, int]:
    """Run `act` in a forked process that kills itself at its file operation of a number; None lets it run to its end.

    Half of what the operation would write is written first. Returns how many operations it made, and how often it
    called the function that it is given.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            signal.alarm(TIMEOUT)
            counted = [0]
            send = os.write
            for name in OPERATIONS:
                setattr(os, name, _counting(getattr(os, name), counted, number))
            act(lambda: _send(send, write, b"d"))
            send(write, b"o" * counted[0])
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    dead = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    check(dead or status == 0, f"the writer ended with status {status}")
    check(number is None or dead or said.count(b"o") < number, "the writer was not killed")
    return said.count(b"o"), said.count(b"d")


def check_shown(target: Path, whole: dict[tuple[str, int], Any]) -> int:
    """Check that what a store shows is right to the bit, also to plain zarr; return how many photos that are."""
    import zarr

    shown = maps_in(target)
    for key, value in shown.items():
        check(key in whole and torch.equal(value, whole[key]), f"{key} differs from an undisturbed run")
    if shown:
        for name, group in zarr.open_group(target, mode="r").groups():
            lengths = {array.shape[0] for _, array in group.arrays()}
            check(len(lengths) == 1, f"{name}: arrays of {lengths} photos")
            check(all(group["key"][:]), f"{name}: photos without a key")
            for _, array in group.arrays():
                values = np.asarray(array[:])
                check(values.dtype.kind != "f" or np.isfinite(values).all(), f"{name}: values that are not there")
    return len({digest for digest, _ in shown})


def maps_in(target: Path) -> dict[tuple[str, int], Any]:
    """Return every map of a store: (digest, number of the recipe and tap) -> values; nothing if it is not there."""
    import shiftless
    from shiftless.store.manifest import Manifest
    from shiftless.store.place import place_of

    found = {}
    try:
        groups = Manifest.read(place_of(target)).groups.values()
    except FileNotFoundError:
        return {}
    for one in groups:
        for maps in shiftless.FeatureStore(target, groups=[one.name], dtype=None):
            number = 100 * maps.recipe.timestep
            found |= {(maps.origin.photo, number + t): value for t, value in enumerate(maps.values())}
    return found


def store_kills(rng: random.Random, folder: Path, commands: Sequence[str], times: int) -> Iterator[Case]:
    """SIGKILL at any file operation of a writer, up to three times in a row: what shows is whole, none is lost."""
    work = make_work(20)
    operations, _ = killed_at(None, lambda done: work.write(folder / "whole.zarr", done))
    whole = maps_in(folder / "whole.zarr")
    for case in range(times):
        numbers = [rng.randrange(1, operations + 1) for _ in range(rng.randint(1, 3))]

        def act(case: int = case, numbers: Sequence[int] = tuple(numbers)) -> None:
            kill_and_go_on(work, folder / f"{case}.zarr", whole, numbers)

        yield f"a writer, killed at operations {numbers} of {operations}", act


def kill_and_go_on(work: Work, target: Path, whole: dict[tuple[str, int], Any], numbers: Sequence[int]) -> None:
    """Kill writers of one store at these operations, one after another, then write it to its end; check after each."""
    from shiftless.store.recovery import waiting

    for number in numbers:
        _, done = killed_at(number, lambda tell: work.write(target, tell))
        shown = check_shown(target, whole)
        check(shown + waiting(target) >= done, f"{done} photos were written, and {shown} and some that wait are there")
    killed_at(None, lambda tell: work.write(target, tell))
    check_shown(target, whole)
    check(maps_in(target).keys() == whole.keys(), "photos are missing")
    check(waiting(target) == 0, "photos wait in a store that was closed")
    try:
        os.rmdir(target / ".shiftless" / "pending")
    except OSError as error:
        raise BadInput(f"folders of dead writers stay behind ({error})") from None


def _counting(operation: Callable[..., Any], counted: list[int], number: int | None) -> Callable[..., Any]:
    def run(*given: Any, **more: Any) -> Any:
        counted[0] += 1
        if counted[0] == number:
            if operation.__name__ == "write":
                operation(given[0], bytes(given[1])[: len(given[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return operation(*given, **more)

    return run


def _send(send: Callable[[int, bytes], int], pipe: int, what: bytes) -> None:
    send(pipe, what)
