"""Commands in processes of their own, forked from one that has imported what they need: seconds less for each."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from multiprocessing.connection import Connection
from signal import Signals

WAY = multiprocessing.get_context("forkserver")
WAY.set_forkserver_preload(["tests.preloaded"])  # by the first process, which starts anew


class Forked:
    """A command that runs, with as much of `subprocess.Popen` as the robustness campaign uses."""

    def __init__(self, arguments: list[object]) -> None:
        pipes = [WAY.Pipe(duplex=False) for _ in range(2)]
        inner = [pipe[1] for pipe in pipes]
        self._process = WAY.Process(target=_run, args=(list(map(str, arguments)), dict(os.environ), *inner))
        self._process.start()
        self._said = [b"", b""]
        self._readers = [threading.Thread(target=self._read, args=(i, pipe[0])) for i, pipe in enumerate(pipes)]
        for end, reader in zip(inner, self._readers):
            end.close()
            reader.start()

    def _read(self, number: int, pipe: Connection) -> None:
        with pipe:
            while some := os.read(pipe.fileno(), 65536):
                self._said[number] += some

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, how: Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, how)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"a command took more than {timeout} s")
        for reader in self._readers:
            reader.join()
        out, err = (said.decode(errors="replace") for said in self._said)
        return out, err


def _run(arguments: list[str], environment: dict[str, str], out: Connection, err: Connection) -> None:
    """The command itself, in its own process."""
    os.environ.update(environment | {"COLUMNS": "200"})
    for pipe, number in ((out, 1), (err, 2)):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.argv = ["shiftless", *arguments]
    import torch

    from shiftless.cli import main

    torch.set_num_threads(1)
    main()
