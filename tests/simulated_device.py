"""A GPU without one: a stand-in device that refuses float64 and operands that lie elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

ATEN = torch.ops.aten


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """What a call is given or gives, with each thing in its lists, tuples and dictionaries changed.

    As torch's tree_map, which takes ten times as long: a reading makes a hundred thousand calls.
    """
    kind = type(value)
    if kind is tuple or kind is list:
        return kind([mapped(change, one) for one in value])
    if kind is dict:
        return {key: mapped(change, one) for key, one in value.items()}
    return change(value)


def held(one: Any) -> Any:
    return one.held if isinstance(one, OnDevice) else one


class OnDevice(torch.Tensor):
    """A tensor that says it is on another device, and holds its values on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor, device: torch.device) -> OnDevice:
        if held.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"float64 on {device}")
        options = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        self = torch.Tensor._make_wrapper_subclass(cls, held.shape, device=device, **options)
        self.held = held
        return self

    def __init__(self, held: torch.Tensor, device: torch.device) -> None:
        super().__init__()

    def __repr__(self) -> str:
        return f"OnDevice({self.device}, {self.held!r})"

    def __tensor_flatten__(self):
        return ["held"], self.device

    @staticmethod
    def __tensor_unflatten__(inner, device, size, stride):
        return OnDevice(inner["held"], device)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return run(function, args, kwargs or {})


def run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on what its operands hold; what comes out is where they are."""
    tensors: list[torch.Tensor] = []
    mapped(lambda one: tensors.append(one) if isinstance(one, torch.Tensor) else None, (args, kwargs))
    there = {one.device for one in tensors if isinstance(one, OnDevice)}
    target = kwargs.get("device")
    target = None if target is None else torch.device(target)
    if function in (ATEN._to_copy.default, ATEN.copy_.default) or not tensors:
        place = target or (tensors[0].device if tensors else torch.device("cpu"))
    else:
        if function in (ATEN.index.Tensor, ATEN.index_put_.default):  # indices may lie on the CPU
            tensors = tensors[:1] if isinstance(tensors[0], OnDevice) else tensors
        strangers = [one for one in tensors if not isinstance(one, OnDevice) and one.ndim > 0]
        if (there and strangers) or len(there) > 1:
            raise RuntimeError(
                f"{function}: operands on {there} and {[tuple(one.shape) for one in strangers]} on the CPU"
            )
        place = target or next(iter(there))
    inner_args, inner_kwargs = mapped(held, args), mapped(held, kwargs)
    if target is not None:
        inner_kwargs = inner_kwargs | {"device": torch.device("cpu")}
    result = function(*inner_args, **inner_kwargs)
    if place.type == "cpu":
        return result
    wrapped = mapped(lambda one: OnDevice(one, place) if isinstance(one, torch.Tensor) else one, result)
    return return_and_correct_aliasing(function, args, kwargs, wrapped)


class Dispatch(TorchDispatchMode):
    """Operations without operands there that make some there: torch.zeros(device=...), .to(device)."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        there = any(issubclass(kind, OnDevice) for kind in types)
        return run(function, args, kwargs) if there or kwargs.get("device") is not None else function(*args, **kwargs)


class Names(TorchFunctionMode):
    """Calls a kind of device by another name: what torch knows as lazy:1 is cuda:1 to the caller.

    A torch for CPUs alone knows no CUDA or Apple device well enough to index or differentiate a tensor there, but
    guards its lazy ones.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function == torch.Tensor.device.__get__:
            return self.outside(function(*args))
        if function == torch.Tensor.tolist:
            return function(args[0].cpu())
        if function is torch.device:
            return function(*args, **kwargs or {})
        if not kwargs and len(args) == 1 and isinstance(args[0], torch.Tensor):  # most calls: a tensor is asked
            return function(*args)
        args, kwargs = mapped(self.inside, args), mapped(self.inside, dict(kwargs or {}))
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            return function(*args, **{**kwargs, "device": "cpu"}).to(kwargs["device"])  # made below any dispatch
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):  # lists would be made below any dispatch
            several = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(torch.tensor(one) if isinstance(one, list) else one for one in several)
            args = (args[0], index, *args[2:])
        return function(*args, **kwargs)

    def inside(self, one: Any) -> Any:
        if isinstance(one, torch.Tensor):
            return one
        device = torch.device(one) if isinstance(one, str) and one.partition(":")[0] == self.kind else one
        return torch.device("lazy", device.index or 0) if is_of(device, self.kind) else one

    def outside(self, one: torch.device) -> torch.device:
        return torch.device(self.kind, one.index) if is_of(one, "lazy") else one


def is_of(device: Any, kind: str) -> bool:
    return isinstance(device, torch.device) and device.type == kind


@contextmanager
def simulated(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Inside the `with`, there is a device of this name, such as an Apple device or the second of two GPUs."""
    device = torch.device(name)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: device.type == "mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device.type == "cuda")
    answers = {
        "device_count": 2, "get_device_capability": (7, 5), "is_bf16_supported": True, "manual_seed": None,
        "get_rng_state": None, "set_rng_state": None, "device": nullcontext(),
    }  # fmt: skip
    for module in (torch.cuda, torch.mps):
        for name, answer in answers.items():
            monkeypatch.setattr(module, name, lambda *_, _answer=answer: _answer, raising=False)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 * 2**30))
    monkeypatch.setattr(torch, "Event", MagicMock())
    with Names(device.type), Dispatch():
        yield device
