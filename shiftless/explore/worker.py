"""Worker: the one thread that owns the model, and the jobs that wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from shiftless.errors import BadInput

LANES = ("match", "search", "look", "audit", "label", "read")
"""What a client's jobs are for, first those that go first; a newer job takes the place of older ones in its lane."""

Steps = Generator["Step", None, Any]
"""A job's work: it yields after each piece, returns its answer, and is closed where it stands if it is cancelled."""


class Stale(Exception):
    """A newer request of the same client took the place of this one."""


@dataclass(frozen=True)
class Step:
    """How far a job is: `done` of `total` pieces."""

    done: int
    total: int
    doing: str = ""


@dataclass(eq=False)
class Job:
    """Work that waits or runs; `check`, called inside long pieces, raises Stale once the job is cancelled."""

    client: str
    lane: str
    start: Callable[[Job], Steps]
    number: int = 0
    future: Future[Any] = field(default_factory=Future)
    step: Step = Step(0, 1)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _steps: Steps | None = None

    def check(self, *_: object) -> None:
        """Raise Stale if the job was cancelled."""
        if self._cancelled.is_set():
            raise Stale("a newer request took the place of this one")

    def cancel(self) -> None:
        """Ask the job to stop at its next check."""
        self._cancelled.set()

    def advance(self) -> bool:
        """Run one piece of the work; returns whether it is finished, in whatever way."""
        try:
            self.check()
            self._steps = self._steps or self.start(self)
            self.step = next(self._steps)
            return False
        except StopIteration as end:
            self.future.set_result(end.value)
        except BaseException as error:
            self.future.set_exception(error)
        if self._steps is not None:
            self._steps.close()
        return True


class Worker:
    """Runs the jobs of all clients in one thread, a piece of each client's first job in turn.

    So a client with much to do does not starve the others, and within a client a click goes before what is read ahead.

    waiting  jobs of one client that may wait; BadInput says so to one that sends more

    >>> worker = Worker()
    >>> def work(job):
    ...     yield Step(1, 2)
    ...     return "answer"
    >>> worker.submit("a", "match", work).future.result()
    'answer'
    >>> worker.close()
    """

    def __init__(self, waiting: int = 32) -> None:
        self._waiting = waiting
        self._jobs: dict[str, list[Job]] = {}
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="shiftless-explore-model", daemon=True)
        self._thread.start()

    def submit(self, client: str, lane: str, start: Callable[[Job], Steps], number: int = 0) -> Job:
        """Add a job; older ones of the same client and lane are cancelled, and end in Stale.

        number  of the client's request, counted up: requests may arrive in another order than they were sent in, and
                one that arrives after a newer one is itself cancelled; of equal numbers the last to arrive is newest
        """
        job = Job(client, lane, start, number)
        job.future.set_running_or_notify_cancel()  # only `cancel` ends it early; a browser that goes away does not
        with self._wake:
            if self._closed:
                raise BadInput("the explorer is being stopped; start it again")
            own = self._jobs.setdefault(client, [])
            for other in own:
                if other.lane == lane:
                    (other if other.number <= number else job).cancel()
            if len(own) >= self._waiting:
                raise BadInput(f"{len(own)} requests of this page wait already; wait for their answers")
            own.append(job)
            self._wake.notify()
        return job

    def cancel(self, client: str, lane: str, number: int) -> None:
        """Cancel a client's jobs of a lane up to a request's number, without a new one in their place."""
        with self._wake:
            for job in self._jobs.get(client, []):
                if job.lane == lane and job.number <= number:
                    job.cancel()

    def steps(self, client: str) -> list[tuple[str, Step]]:
        """Return how far each of a client's jobs is, by its lane."""
        with self._wake:
            return [(job.lane, job.step) for job in self._jobs.get(client, [])]

    def close(self) -> None:
        """Cancel everything, and wait for the thread to end."""
        with self._wake:
            self._closed = True
            for jobs in self._jobs.values():
                for job in jobs:
                    job.cancel()
            self._wake.notify()
        self._thread.join(timeout=30)

    def _next(self) -> Job | None:
        """Wait for a job; None when closed and nothing is left. The client it is of goes to the end of the line."""
        with self._wake:
            while not self._jobs and not self._closed:
                self._wake.wait()
            if not self._jobs:
                return None
            client = next(iter(self._jobs))
            own = self._jobs.pop(client)
            self._jobs[client] = own
            return min(own, key=lambda job: (not job._cancelled.is_set(), LANES.index(job.lane)))

    def _run(self) -> None:
        while (job := self._next()) is not None:
            if job.advance():
                with self._wake:
                    self._jobs[job.client].remove(job)
                    if not self._jobs[job.client]:
                        del self._jobs[job.client]
