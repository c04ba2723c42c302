"""Drawing in several processes, with progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import cv2

from shiftless.progress import count, reporting


def draw_in_processes(
    draw: Callable[[Any], Any],
    jobs: Sequence[Any],
    counts: Sequence[int],
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Run `draw` on every job, of as many pictures as `counts` says, in processes of one thread each.

    `workers` None is a process for each core. `draw` is a function of a module, so that a process finds it.
    """
    if not jobs:
        return
    processes = min(len(jobs), workers or available_cores())
    doing = f"drawing {count(sum(counts), 'picture')} on {count(processes, 'core')}"
    with (
        reporting(progress, doing, sum(counts), "picture") as report,
        ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_one_thread) as pool,
    ):
        for drawn, _ in zip(counts, pool.map(draw, jobs)):
            report(drawn)


def available_cores() -> int:
    """Count the cores that this process may use.

    >>> available_cores() >= 1
    True
    """
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def _one_thread() -> None:
    cv2.setNumThreads(1)
