"""Processes: several of them train one head, each with a device of its own; started by accelerate's launcher."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from shiftless.backbones.device import choose_device
from shiftless.errors import BadInput


class Processes:
    """The processes that train together: how many, and which of them this is.

    Each reads its share of a step's views, and takes the step of the head on the views of all: batch norm and the loss
    see the whole batch, as on one device. What learns of a model has gradients of a process's own views, which are
    added up.

    >>> alone = Processes()
    >>> alone.number, alone.main, alone.share(range(4))
    (1, True, range(0, 4))
    """

    def __init__(self, number: int = 1, index: int = 0) -> None:
        self.number, self.index = number, index

    @classmethod
    def launched(cls, device: str | torch.device = "auto") -> Processes:
        """Return the processes that a launcher (`accelerate launch`, `torchrun`) has started, or this one alone.

        Afterwards "cuda" is the device of this process. Raises BadInput where accelerate is not installed, and for
        the number of a device.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        chosen = choose_device(device)
        if chosen.index is not None:
            raise BadInput(f"device {device}: each of several processes takes its own device; give {chosen.type}")
        try:
            from accelerate import PartialState
        except ImportError:
            raise BadInput("several devices need accelerate; install it with: pip install 'shiftless[train]'") from None
        state = PartialState(cpu=chosen.type == "cpu")
        return cls(state.num_processes, state.process_index)

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.index == 0

    def share(self, numbers: range) -> range:
        """Return this process's part of some numbers; the parts of all, in their order, are the whole.

        >>> [Processes(2, index).share(range(6, 11)) for index in (0, 1)]
        [range(6, 8), range(8, 11)]
        """
        ends = [len(numbers) * i // self.number for i in (self.index, self.index + 1)]
        return numbers[ends[0] : ends[1]]

    def joined(self, own: torch.Tensor, dim: int = 0) -> torch.Tensor:
        """Return the tensors of all processes, one after another; this one's own part keeps its graph."""
        if self.number == 1:
            return own
        from accelerate.utils import gather

        first = own.movedim(dim, 0)
        parts = list(gather(first.detach().contiguous()).chunk(self.number))
        parts[self.index] = first
        return torch.cat(parts).movedim(0, dim)

    def collected(self, own: list[Any]) -> list[Any]:
        """Return the objects of all processes, one after another."""
        if self.number == 1:
            return own
        from accelerate.utils import gather_object

        every: list[Any] = gather_object(own)
        return every

    def reduce_gradients(self, same: Iterable[nn.Parameter], shared: Sequence[nn.Parameter] = ()) -> None:
        """Bring gradients together after a backward pass.

        same    weights whose gradients are those of all views in each process: their mean, so that rounding lets no
                process drift from the others
        shared  weights whose gradients are those of a process's own views: their sum
        """
        if self.number == 1:
            return
        from accelerate.utils import reduce

        for weights, how in ((same, "mean"), (shared, "sum")):
            for one in weights:
                if one.grad is not None:
                    one.grad.copy_(reduce(one.grad, how))

    def wait(self) -> None:
        """Wait until all have come here."""
        if self.number > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def end(self) -> None:
        """Leave the group; nothing can be shared afterwards."""
        if self.number > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()
