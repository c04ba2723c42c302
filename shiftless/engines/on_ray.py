"""The Ray engine: a Ray Data pipeline over a cluster's nodes, whose actors hold the model and write their own parts."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from shiftless.engines.job import Job, Worker
from shiftless.engines.local import TRIES
from shiftless.errors import BadInput, first_line
from shiftless.store.extraction import Extracted

Done = Callable[[int, Extracted], object]
_IN_FLIGHT = 2  # portions that an actor has been given, so that the next one waits when it has read one


class Reader:
    """The actor of the pipeline: it loads the model with its first portion, and keeps it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._worker: Worker | None = None

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """A batch of one row, a portion's number and its photos as JSON -> the number and what became of it."""
        try:
            self._worker = self._worker or Worker(self.job)
            said = asdict(self._worker.read(json.loads(rows["photos"][0])))
        except BadInput as error:  # raised here, Ray would wrap it, and take the actor for a broken one
            said = {"error": str(error)}
        return {"portion": rows["portion"], "said": [json.dumps(said)]}


def read_on_ray(
    job: Job, portions: Sequence[Sequence[str]], workers: int, done: Done, *, cpus: float | None, gpus: float | None
) -> None:
    """Read portions of photos by actors of Ray Data, on the cluster that is found or else on this machine.

    cpus  that Ray sets aside for each actor; 1 by default where it has no GPU
    gpus  that it sets aside; by default 1 where the cluster has any and the job is for `auto` or `cuda`
    done  called with a portion's number and what became of it, in whichever order they end

    The cluster is the one that this program is connected to, that RAY_ADDRESS names, or that runs on this machine.
    An actor that dies is started anew, and Ray gives its portion out again, three times in all. Photos, models and the
    target must be where every node finds them under the same path. Raises BadInput where a worker does, where Ray is
    not installed or has no room for an actor, and for a portion that three actors have died of.
    """
    ray = connected()
    try:
        there = ray.cluster_resources()
        if gpus is None:
            gpus = 1.0 if there.get("GPU", 0) >= 1 and job.device in ("auto", "cuda") else 0.0
        each = {"GPU": gpus, "CPU": (0.0 if gpus else 1.0) if cpus is None else cpus}
        if short := [kind for kind, number in each.items() if number > there.get(kind, 0)]:
            raise BadInput(f"--engine ray: a worker asks for {each[short[0]]:g} {short[0]}, and the cluster has "
                           f"{there.get(short[0], 0):g}; ask for less, or add nodes")  # fmt: skip
        for row in _pipeline(ray, job, portions, workers, each).iter_rows():
            said = json.loads(row["said"])
            if "error" in said:
                raise BadInput(said["error"])
            done(int(row["portion"]), Extracted(**said))
    except ray.exceptions.RayError as error:
        raise BadInput(
            f"--engine ray: {first_line(error)}; see the cluster's logs, give fewer --workers or a smaller --batch if "
            "memory is short, and run the same command again, which goes on"
        ) from None


def connected() -> Any:
    """Return ray, connected to a cluster: the one of this program, of RAY_ADDRESS, of this machine, or a new one."""
    ray = _imported()
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    return ray


def room(gpus: float | None) -> int:
    """Return how many workers the cluster has room for: one for each `gpus` GPUs, or one a node where it has none."""
    ray = connected()
    there = ray.cluster_resources().get("GPU", 0)
    if there and gpus != 0:
        return max(1, int(there // (gpus or 1)))
    return sum(node["Alive"] for node in ray.nodes())


def _pipeline(ray: Any, job: Job, portions: Sequence[Sequence[str]], workers: int, each: dict[str, float]) -> Any:
    """The dataset whose rows say what became of portions: read in one block each, mapped by the actors."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the caller shows its own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = [{"portion": i, "photos": json.dumps(list(photos))} for i, photos in enumerate(portions)]
    compute = ray.data.ActorPoolStrategy(size=min(workers, len(rows)), max_tasks_in_flight_per_actor=_IN_FLIGHT)
    wanted = {"num_gpus": each["GPU"]} if each["GPU"] else {}
    if each["CPU"]:
        wanted["num_cpus"] = each["CPU"]
    return ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Reader, fn_constructor_args=(job,), batch_size=1, batch_format="numpy", compute=compute, **wanted,
        max_restarts=-1, max_task_retries=TRIES - 1,
    )  # fmt: skip


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unless the user says so
    try:
        import ray
        import ray.data
    except ImportError:
        raise BadInput('--engine ray: ray is not installed; install it: pip install "shiftless[ray]"') from None
    return ray
