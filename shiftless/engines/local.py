"""The local engine: worker processes on this machine, one device each."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from shiftless.backbones.memory import own_process
from shiftless.engines.job import Job, Worker
from shiftless.errors import BadInput, first_line
from shiftless.store.extraction import Extracted

TRIES = 3  # of a portion, before the run is given up: photos that end a process end every one that takes them
_AHEAD = 2  # portions that a worker has been given, so that the next one waits when it has read one
_PATIENCE = 60.0  # seconds in which a worker that is told to stop has to publish what it has read

Done = Callable[[int, Extracted], object]


@dataclass
class _Process:
    """A worker process: the pipe to it, its device, and the numbers of the portions that it has been given."""

    process: Any
    pipe: Connection
    device: str
    given: deque[int] = field(default_factory=deque)


def read_locally(job: Job, portions: Sequence[Sequence[str]], workers: int, devices: Sequence[str], done: Done) -> None:
    """Read portions of photos by processes, which take the devices in turn.

    done  called with a portion's number and what became of it, in whichever order they end

    A worker that dies (killed, out of memory) is replaced, and the portions that it had not finished are given out
    again. Raises BadInput where a worker does, and for a portion that three workers have died of.
    """
    waiting = deque(range(len(portions)))
    tries = [0] * len(portions)
    running: list[_Process] = []
    try:
        for i in range(min(workers, len(portions))):
            running.append(_started(job, devices[i % len(devices)]))
        left = len(portions)
        while left:
            for one in running:
                while waiting and len(one.given) < _AHEAD:
                    one.given.append(number := waiting.popleft())
                    with suppress(OSError):  # it has died, which its pipe's end tells below
                        one.pipe.send(list(portions[number]))
            for pipe in wait([one.pipe for one in running]):
                (one,) = (each for each in running if each.pipe is pipe)
                result = _received(one)
                if isinstance(result, BadInput):
                    raise result
                if result is not None:
                    done(one.given.popleft(), result)
                    left -= 1
                    continue
                running.remove(one)
                for number in one.given:
                    tries[number] += number == one.given[0]
                if one.given and tries[one.given[0]] >= TRIES:
                    raise _hopeless(one, portions[one.given[0]])
                waiting.extendleft(reversed(one.given))
                running.append(_started(job, one.device))
    finally:
        _stop(running)


def _started(job: Job, device: str) -> _Process:
    # A process that was forked from one with CUDA in use cannot use it; one from a fork server can, and starts faster
    # than one that is spawned.
    ways = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in ways else "spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(job.on(device), theirs), daemon=True)
    process.start()
    theirs.close()
    return _Process(process, ours, device)


def _received(one: _Process) -> Extracted | BadInput | None:
    """What a worker says of its oldest portion; None if it is dead."""
    try:
        result: Extracted | BadInput = one.pipe.recv()
        return result
    except (EOFError, OSError):
        one.process.join()
        return None


def _hopeless(one: _Process, photos: Sequence[str]) -> BadInput:
    code = one.process.exitcode
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return BadInput(
        f"{TRIES} workers have ended ({how}) while they read {photos[0]} and {len(photos) - 1} after it; give fewer "
        "--workers or a smaller --batch if memory is short, or leave those photos out"
    )


def _stop(running: Sequence[_Process]) -> None:
    """Let workers publish what they have read, and wait for their end."""
    for one in running:
        if one.given:  # it is reading what nobody waits for
            one.process.terminate()
        one.pipe.close()
    for one in running:
        one.process.join(_PATIENCE)
        if one.process.exitcode is None:
            one.process.kill()
            one.process.join()


def _work(job: Job, pipe: Connection) -> None:
    """What a worker process does: reads portions until there are no more, then publishes its part."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which says so here
    signal.signal(signal.SIGTERM, _interrupt)
    own_process()
    try:
        worker = Worker(job)
        try:
            while True:
                pipe.send(worker.read(pipe.recv()))
        finally:
            worker.close()
    except BadInput as error:
        with suppress(OSError):
            pipe.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        pass  # no more portions, or nobody who waits for them
    except BaseException as error:
        print(f"a worker has failed: {first_line(error)}", file=sys.stderr)
        raise


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
