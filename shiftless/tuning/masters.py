"""fp32 master weights of a denoiser that learns, in the place of its own; and the file that they become."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from shiftless.errors import BadInput


@contextmanager
def master_weights(network: nn.Module) -> Iterator[dict[str, nn.Parameter]]:
    """Put fp32 copies that learn in the place of a network's parameters; yield them by name.

    A small update is not rounded away in them (Micikevicius et al., 2018, "Mixed precision training"). Afterwards
    the network has its own parameters again, which were not touched.

    >>> net = nn.Linear(2, 2).bfloat16()
    >>> own = net.weight
    >>> with master_weights(net) as masters:
    ...     print(net.weight.dtype, net.weight is masters["weight"])
    torch.float32 True
    >>> net.weight is own
    True
    """
    with _replaced(network, lambda one: one.detach().to(torch.float32, copy=True), learn=True):
        yield dict(network.named_parameters())


@contextmanager
def copied_weights(network: nn.Module) -> Iterator[None]:
    """Put copies in the place of a network's parameters, so that loading others leaves its own as they are.

    >>> net = nn.Linear(2, 2)
    >>> own = net.weight
    >>> with copied_weights(net):
    ...     print(net.weight is own, torch.equal(net.weight, own))
    False True
    >>> net.weight is own
    True
    """
    with _replaced(network, lambda one: one.detach().clone(), learn=False):
        yield


@contextmanager
def _replaced(network: nn.Module, copy: Callable[[torch.Tensor], torch.Tensor], learn: bool) -> Iterator[None]:
    own = list(network.named_parameters(remove_duplicate=False))
    copies = {id(one): nn.Parameter(copy(one), requires_grad=learn) for _, one in own}  # tied parameters stay tied
    try:
        for name, one in own:
            _put(network, name, copies[id(one)])
        yield
    finally:
        for name, one in own:
            _put(network, name, one)


def _put(network: nn.Module, name: str, parameter: nn.Parameter) -> None:
    module, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(module), leaf, parameter)


def weights_bytes(network: nn.Module) -> bytes:
    """Return a network's weights as a safetensors file in half precision, in the names that diffusers has for them.

    Raises BadInput for a weight that half precision cannot hold.
    """
    from safetensors.torch import save

    state = {}
    for name, value in network.state_dict().items():
        half = value.detach().to("cpu", torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        if not torch.isfinite(half).all():
            raise BadInput(f"{name}: weights beyond half precision; take a smaller learning rate")
        state[name] = half
    return save(state, {"format": "pt"})


def load_weights(network: nn.Module, path: str | os.PathLike[str]) -> None:
    """Copy the weights of a file into a network, in the dtype and on the device that it has.

    Raises BadInput for a file of something else, or of another network.
    """
    from safetensors.torch import load_file

    try:
        state = load_file(Path(path))
    except Exception as error:  # broken headers make the parser raise nearly anything
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise BadInput(f"{path}: not a whole file of weights ({reason}); train again") from None
    own = network.state_dict()
    shapes = [{name: tuple(value.shape) for name, value in one.items()} for one in (own, state)]
    if shapes[0] != shapes[1]:
        different = {name for name, _ in set(shapes[0].items()) ^ set(shapes[1].items())}
        raise BadInput(f"{path}: weights of another network ({sorted(different)[0]} differs); load its own model")
    network.load_state_dict(state)
