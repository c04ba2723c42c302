"""Offloading: networks wait in main memory and are on the device only while it is their turn."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from shiftless.errors import BadInput

PARTS, LAYERS = "parts", "layers"
OFFLOADS = (PARTS, LAYERS)


def choose_offload(offload: bool | str) -> str:
    """Return how a model is offloaded: "parts", "layers", or "" for not at all; True is "parts".

    Raises BadInput for anything else.

    >>> choose_offload(True), choose_offload("layers"), choose_offload(False)
    ('parts', 'layers', '')
    """
    if isinstance(offload, bool) or offload == "":
        return PARTS if offload else ""
    if offload not in OFFLOADS:
        raise BadInput(f"offload={offload!r}: must be {' or '.join(OFFLOADS)}, or be left out")
    return offload


class _Group:
    """Modules whose weights come and go together; those that are added to them meanwhile (LoRAs) come too."""

    def __init__(self, roots: Sequence[nn.Module], without: Sequence[nn.Module] = ()) -> None:
        self._roots, self._without = tuple(roots), {id(module) for module in without}
        self.away: list[tuple[nn.Module, str, torch.Tensor, torch.Tensor, int]] = []

    def _modules(self) -> Iterator[nn.Module]:
        waiting = list(self._roots)
        while waiting:
            module = waiting.pop()
            if id(module) not in self._without:
                yield module
                waiting.extend(module.children())

    @torch.no_grad()
    def bring(self, device: torch.device) -> None:
        """Put copies of all weights on the device, in the place of those in main memory, which are kept."""
        copies: dict[int, torch.Tensor] = {}
        for module in self._modules():
            own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            for name, home in own:
                there = copies.get(id(home))  # tied weights stay tied
                if there is None:
                    there = copies[id(home)] = _moved(home, device)
                if there is not home:
                    setattr(module, name, there)
                    self.away.append((module, name, home, there, there._version))

    @torch.no_grad()
    def leave(self) -> None:
        """Put the weights in main memory back; what was written to their copies is written to them."""
        for module, name, home, there, version in self.away:
            if getattr(module, name, None) is there:
                if there._version != version:
                    home.copy_(there)
                setattr(module, name, home)
        self.away = []


def _moved(home: torch.Tensor, device: torch.device) -> torch.Tensor:
    if home.device == device:
        return home
    state = copy(getattr(home, "quant_state", None))
    there = home.to(device)
    if state is not None:  # bitsandbytes moves the scales of weights in place, along with their copy
        home.quant_state = state  # type: ignore[attr-defined]
    wanted = isinstance(home, nn.Parameter) and not isinstance(there, nn.Parameter)
    return nn.Parameter(there, requires_grad=home.requires_grad) if wanted else there


class _Station:
    """One network that is offloaded: all of it at once, or its blocks one after another and the rest at once."""

    def __init__(self, network: nn.Module, layers: bool) -> None:
        blocks = list(blocks_of(network)) if layers else []
        self._rest, self._blocks = _Group([network], without=blocks), [_Group([block]) for block in blocks]
        self._shown: _Group | None = None
        self._device: torch.device | None = None
        for block, group in zip(blocks, self._blocks):
            for module in block.modules():  # some networks use a piece of a block outside the block's own call
                module.register_forward_pre_hook(lambda _module, _inputs, group=group: self._show(group))

    def bring(self, device: torch.device) -> None:
        self._device = device
        self._rest.bring(device)

    def leave(self) -> None:
        self._device, self._shown = None, None
        for group in (self._rest, *self._blocks):
            group.leave()

    def _show(self, group: _Group) -> None:
        if self._device is not None and self._shown is not group:
            if self._shown is not None:
                self._shown.leave()
            self._shown = group
            group.bring(self._device)

    def homes(self) -> dict[int, torch.Tensor]:
        """The weights in main memory, by the identity of their copies on the device."""
        return {id(there): home for g in (self._rest, *self._blocks) for _, _, home, there, _ in g.away}


def blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the members of a network's outermost lists of modules, which come one at a time by "layers".

    >>> len(list(blocks_of(nn.Sequential(nn.ModuleList([nn.Linear(2, 2), nn.ModuleList([nn.ReLU()])])))))
    2
    """
    for child in network.children():
        yield from child if isinstance(child, nn.ModuleList) else blocks_of(child)


class _Queue:
    """Whose turn it is on one device; threads wait for each other."""

    def __init__(self) -> None:
        self.lock, self.present = threading.RLock(), list[_Station]()
        self.turns: list[tuple[_Station, ...]] = []

    def let_in(self, device: torch.device, stations: Sequence[_Station]) -> None:
        for one in [one for one in self.present if one not in stations]:
            one.leave()
        self.present = list(stations)
        for one in stations:
            one.bring(device)


_queues: defaultdict[torch.device, _Queue] = defaultdict(_Queue)
_stations: WeakKeyDictionary[nn.Module, _Station] = WeakKeyDictionary()


class Offload:
    """The networks of one model that are offloaded from a device.

    device   where they run
    layered  those whose blocks come one after another; the others come whole

    On one device there is one turn at a time, of all models that are offloaded from it: who enters a turn waits until
    other threads have left theirs, and enters it after `exclusive`, never before. The networks of the last turn stay
    on the device until others need it.

    >>> layer = nn.Linear(2, 2)
    >>> offload = Offload([layer], torch.device("meta"))
    >>> with offload.turn(layer):
    ...     layer.weight.device.type
    'meta'
    >>> with offload.turn():
    ...     layer.weight.device.type
    'cpu'
    """

    def __init__(self, networks: Iterable[Any], device: torch.device, layered: Iterable[Any] = ()) -> None:
        self.device, self._networks = torch.empty(0, device=device).device, list(networks)  # "cuda" is "cuda:0"
        several = list(layered)
        for network in self._networks:
            if network not in _stations:
                _stations[network] = _Station(network, any(network is one for one in several))

    @contextmanager
    def turn(self, *networks: Any) -> Iterator[None]:
        """Inside the `with`, these networks are on the device and no other that is offloaded from it."""
        queue, stations = _queues[self.device], tuple(_stations[network] for network in networks)
        with queue.lock:
            queue.turns.append(stations)
            try:
                queue.let_in(self.device, stations)
                yield
            finally:
                queue.turns.pop()
                if queue.turns:  # a turn inside another one, as for the latent of a mask
                    queue.let_in(self.device, queue.turns[-1])

    def at_home(self, tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """Return weights of the networks as they are in main memory, wherever the networks are now."""
        homes: dict[int, torch.Tensor] = {}
        for network in self._networks:
            homes |= _stations[network].homes()
        return [homes.get(id(tensor), tensor) for tensor in tensors]
