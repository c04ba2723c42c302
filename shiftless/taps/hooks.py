"""`with tapped(...)`: forward hooks that read taps from an unmodified module, and stop it after the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from shiftless.taps.attention import word_columns
from shiftless.taps.layout import Layout
from shiftless.taps.lock import exclusive
from shiftless.taps.modulation import KIND, shift_and_scale
from shiftless.taps.names import Tap

Words = Sequence[Sequence[str]]


class _LastTapRead(Exception):
    """Unwinds the model's forward pass once nothing is left to read."""


class Captured:
    """What the hooks have read so far: tap name -> B C H W, complete when the `with` ends."""

    def __init__(self, taps: Sequence[Tap], words: Words) -> None:
        self.taps = tuple(taps)
        self.words = words
        self.stopped = False
        self._raw: dict[str, torch.Tensor] = {}
        self._derive: dict[str, Callable[[], torch.Tensor]] = {}

    def maps(self) -> dict[str, torch.Tensor]:
        """Return tap name -> B C H W in the order asked for; raises RuntimeError if one was never reached."""
        while self._derive:
            name, derived = self._derive.popitem()
            self._raw[name] = derived()
        maps = {tap.name: self._read(tap) for tap in self.taps}
        if missing := [name for name, value in maps.items() if value is None]:
            raise RuntimeError(f"the model never reached {', '.join(missing)}")
        return {name: value for name, value in maps.items() if value is not None}

    def _read(self, tap: Tap) -> torch.Tensor | None:
        if tap.kind == "group":
            parts = [self._raw[m] for m in tap.members if m in self._raw]
            value = torch.stack(parts).mean(0) if len(parts) == len(tap.members) else None
        else:
            value = self._raw.get(tap.name.partition(":")[0])
        if value is None or not tap.word:
            return value
        columns = [word_columns(words, tap.word) for words in self.words]
        return torch.stack([value[i, c].mean(0, keepdim=True) for i, c in enumerate(columns)])


@contextmanager
def tapped(
    module: nn.Module,
    taps: Sequence[Tap],
    *,
    layout: Layout | None = None,
    words: Words = (),
    by_name: dict[str, Tap] | None = None,
    stop: bool = True,
) -> Iterator[Captured]:
    """Read `taps` from whatever `module` computes inside the `with`; every hook is gone afterwards.

    Other threads that read the same module wait until then.

    layout   how the network's tensors lie over the image; needed by all but modules that give B C H W
    words    the prompt's tokens for each image, needed by taps of one prompt word
    by_name  all taps of the model, needed by groups to find their members
    stop     end the forward pass after the last tap; code after it in the `with` is then not run

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> with tapped(net, [Tap("first", 4, 1, "0")]) as captured:
    ...     _ = net(torch.zeros(1, 3, 5, 7))
    >>> captured.maps()["first"].shape, captured.stopped
    (torch.Size([1, 4, 5, 7]), True)
    """
    captured = Captured(taps, words)
    requested = _expand(taps, by_name or {})
    waiting = set(requested)

    def keep(name: str, value: torch.Tensor | Callable[[], torch.Tensor]) -> None:
        waiting.discard(name)
        if not isinstance(value, torch.Tensor):
            captured._derive[name] = value
            if stop and not waiting:
                captured.stopped = True
                raise _LastTapRead
            return
        if stop and not waiting:
            captured._raw[name], captured.stopped = value, True
            raise _LastTapRead
        captured._raw[name] = value.clone()  # UNets add a T2I-Adapter's features in place to what a block gave

    with exclusive(module), ExitStack() as hooks:

        def hook(handle: RemovableHandle) -> None:
            hooks.callback(handle.remove)

        for tap in requested.values():
            for handle in _hooks_of(tap, module, layout or Layout(), keep):
                hook(handle)
        with suppress(_LastTapRead):
            yield captured


def _expand(taps: Sequence[Tap], by_name: dict[str, Tap]) -> dict[str, Tap]:
    """Replace groups by their members and words by their whole map: what must really be hooked."""
    expanded: dict[str, Tap] = {}
    for tap in taps:
        for name in tap.members or (tap.name.partition(":")[0],):
            expanded[name] = by_name.get(name, tap)
    return expanded


def _hooks_of(
    tap: Tap, network: nn.Module, layout: Layout, keep: Callable[[str, Any], None]
) -> Iterator[RemovableHandle]:
    target = network.get_submodule(tap.module)
    if tap.kind == KIND:
        yield target.register_forward_hook(
            lambda _module, _args, output: keep(tap.name, shift_and_scale(tap, network, output))
        )
        return
    if tap.kind != "out":
        yield from _map_hooks(tap, target, layout, keep)
        return

    def take(output: Any) -> None:
        keep(tap.name, layout.to_map(tap, output))

    if tap.side == "in":
        yield target.register_forward_pre_hook(
            lambda _module, args, kwargs: take(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
        )
    else:
        yield target.register_forward_hook(lambda _module, _args, output: take(output))


def _map_hooks(
    tap: Tap, attention: nn.Module, layout: Layout, keep: Callable[[str, Any], None]
) -> Iterator[RemovableHandle]:
    """Hook the projections of one attention layer; the map is derived when all have been computed.

    Where gradients are kept it is derived after the pass: a layer under gradient checkpointing is run again in the
    backward pass, without hooks, and must then keep as many tensors as it did the first time.
    """
    names = layout.projections(tap)
    projected: dict[str, torch.Tensor] = {}
    call: dict[str, Any] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
            projected[name] = output
            if len(projected) == len(names):
                derive = partial(layout.attention, tap, attention, dict(projected), dict(call))
                projected.clear()
                keep(tap.name, derive if torch.is_grad_enabled() else derive())

        return hook

    yield attention.register_forward_pre_hook(lambda _module, _args, kwargs: call.update(kwargs), with_kwargs=True)
    for name in names:
        yield attention.get_submodule(name).register_forward_hook(hook_for(name))
