"""Batches made ahead in a thread, so that an accelerator does not wait for its data."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

Batch = tuple[Tensor, ...]
AHEAD = 4
"""How many batches wait for an accelerator."""


class Batches:
    """The batches of a run on its device, by the numbers of their steps.

    make    gives the batch of a step on the CPU, a function of the step's number alone
    device  where the batches go
    ahead   how many are made before they are asked for; by default none on the CPU, whose cores are training

    Steps are asked for one after another, beginning anywhere. One thread makes the batches, in order, so that `make`
    need not be safe for several.

    >>> batches = Batches(lambda step: (torch.tensor([step]),), torch.device("cpu"), ahead=2)
    >>> [int(batches(step)[0]) for step in (7, 8, 9, 3)]
    [7, 8, 9, 3]
    """

    def __init__(self, make: Callable[[int], Batch], device: torch.device, ahead: int | None = None) -> None:
        self.make, self.device = make, device
        self.ahead = (0 if device.type == "cpu" else AHEAD) if ahead is None else ahead
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")  # begins with the first batch
        self._waiting: deque[Future[Batch]] = deque()
        self._next = 0

    def __call__(self, step: int) -> Batch:
        """Give the batch of one step, on the device."""
        if not self.ahead:
            return to_device(self.make(step), self.device)
        if step != self._next:
            for future in self._waiting:
                future.cancel()
            self._waiting.clear()
        self._next = step + 1
        while len(self._waiting) <= self.ahead:
            self._waiting.append(self._thread.submit(self._made, step + len(self._waiting)))
        return to_device(self._waiting.popleft().result(), self.device)

    def _made(self, step: int) -> Batch:
        batch = self.make(step)
        return tuple(one.pin_memory() for one in batch) if self.device.type == "cuda" else batch


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch; from pinned memory the device copies it while this thread goes on."""
    return tuple(one.to(device, non_blocking=True) for one in batch)
