"""`extract --engine`: the flags' checks, and the run of several workers with its progress."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftless.errors import BadInput
from shiftless.progress import Progress

if TYPE_CHECKING:
    from shiftless.store.extraction import Extracted

ENGINES = ("local", "ray")


def check_engine(engine: str, workers: int | None, cpus: float | None, gpus: float | None, json: Path | None) -> None:
    """Raise BadInput, before a model is loaded, for an engine that is not there and flags that say nothing without it.

    >>> check_engine("", 4, None, None, None)
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: --workers is for --engine local or ray; give one of them
    """
    flags = {"--workers": workers, "--worker-cpus": cpus, "--worker-gpus": gpus}
    given = [name for name, value in flags.items() if value is not None]
    if not engine:
        if given:
            raise BadInput(f"{given[0]} is for --engine {' or '.join(ENGINES)}; give one of them")
        return
    if engine not in ENGINES:
        raise BadInput(f"--engine {engine!r}: must be one of {', '.join(ENGINES)}")
    if engine == "local" and (cpus is not None or gpus is not None):
        raise BadInput(f"{given[-1]} is for --engine ray; leave it out, or take that engine")
    if engine == "ray":
        from importlib.util import find_spec

        if find_spec("ray") is None:
            raise BadInput('--engine ray: ray is not installed; install it: pip install "shiftless[ray]"')
    if json is not None:
        raise BadInput(f"--json with --engine {engine}: leave it out; shiftless store info --json lists a store")


def read_by_workers(
    engine: str, given: dict[str, Any], photos: Sequence[Path], workers: int | None, each: int, step: Progress,
    cpus: float | None, gpus: float | None,
) -> Extracted:  # fmt: skip
    """Read photos by the workers of an engine.

    given    the fields of a Job, but for its run and folder
    workers  by default one a device of this machine, or what the cluster has room for
    each     denoiser calls a photo, by which progress is counted
    """
    from shiftless.engines.job import Job
    from shiftless.engines.run import run

    devices = local_devices(given["device"])
    count = workers or (len(devices) if engine == "local" else _room(gpus))
    if engine == "local" and devices == ["cpu"] and "OMP_NUM_THREADS" not in os.environ:
        given = {**given, "cores": max(1, (os.cpu_count() or 1) // count)}

    def done(result: Extracted) -> None:
        step.skip(each * (result.there + len(result.failed)))
        step.advance(each * result.done)

    job = Job(run="", **given)
    return run(engine, job, photos, count, devices=devices, cpus=cpus, gpus=gpus, done=done)


def local_devices(device: str) -> list[str]:
    """Return the devices that workers on this machine take in turn: every GPU for auto and cuda, else the one given.

    >>> local_devices("cpu")
    ['cpu']
    """
    import torch

    if device in ("auto", "cuda") and torch.cuda.is_available():
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    from shiftless.backbones.device import choose_device

    return [str(choose_device(device))]


def _room(gpus: float | None) -> int:
    """How many workers the cluster has room for: one a GPU, or else one a node."""
    from shiftless.engines.on_ray import room

    return room(gpus)
