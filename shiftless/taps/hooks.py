"""`with tapped(...)`: forward hooks that read taps from an unmodified module, and stop it after the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from shiftless.taps.attention import attention_map, word_columns
from shiftless.taps.lock import exclusive
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
        self._grids: dict[str, tuple[int, int]] = {}

    def maps(self) -> dict[str, torch.Tensor]:
        """Return tap name -> B C H W in the order asked for; raises RuntimeError if one was never reached."""
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
    words: Words = (),
    by_name: dict[str, Tap] | None = None,
    stop: bool = True,
) -> Iterator[Captured]:
    """Read `taps` from whatever `module` computes inside the `with`; every hook is gone afterwards.

    Other threads that read the same module wait until then.

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

    def keep(name: str, value: torch.Tensor) -> None:
        captured._raw[name] = value
        waiting.discard(name)
        if stop and not waiting:
            captured.stopped = True
            raise _LastTapRead

    with exclusive(module), ExitStack() as hooks:

        def hook(handle: RemovableHandle) -> None:
            hooks.callback(handle.remove)

        for path in {tap.grid for tap in requested.values() if tap.grid}:
            hook(module.get_submodule(path).register_forward_pre_hook(_note_grid(captured, path), with_kwargs=True))
        for tap in requested.values():
            target = module.get_submodule(tap.module)
            if tap.kind == "out":
                hook(target.register_forward_hook(_keep_output(captured, tap, keep)))
            else:
                for handle in _keep_map(captured, tap, target, keep):
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


def _note_grid(captured: Captured, path: str) -> Callable[..., None]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        captured._grids[path] = (hidden.shape[-2], hidden.shape[-1])

    return hook


def _keep_output(captured: Captured, tap: Tap, keep: Callable[[str, torch.Tensor], None]) -> Callable[..., None]:
    def hook(_module: nn.Module, _args: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
        if value.ndim == 3:  # B (H W) C
            h, w = captured._grids[tap.grid]
            value = value.transpose(1, 2).unflatten(2, (h, w))
        keep(tap.name, value)

    return hook


def _keep_map(
    captured: Captured, tap: Tap, attention: nn.Module, keep: Callable[[str, torch.Tensor], None]
) -> list[RemovableHandle]:
    """Hook the projections of one attention layer; the map is derived when both have been seen."""
    projections: dict[str, torch.Tensor] = {}

    def hook_for(which: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
            projections[which] = output
            if len(projections) == 2:
                value = attention_map(
                    attention, projections.pop("q"), projections.pop("k"), per_head=tap.kind == "heads"
                )
                keep(tap.name, value.unflatten(2, captured._grids[tap.grid]))

        return hook

    return [
        attention.get_submodule("to_q").register_forward_hook(hook_for("q")),
        attention.get_submodule("to_k").register_forward_hook(hook_for("k")),
    ]
