"""Placed: what adapters derive from to lie on a device, wholly or by turns, and to have their weights quantised."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial, wraps
from itertools import chain
from typing import Any, ClassVar, TypeVar
from weakref import WeakSet

import torch

from shiftless.backbones.base import Spec
from shiftless.backbones.fingerprinted import Fingerprinted
from shiftless.backbones.offload import LAYERS, Offload
from shiftless.backbones.quantise import quantise_weights
from shiftless.digest import digest_of
from shiftless.memory_format import memory_format
from shiftless.progress import detail

Method = TypeVar("Method", bound=Callable[..., Any])
_owned: WeakSet[torch.nn.Module] = WeakSet()


class Placed(Fingerprinted):
    """The place of a model's networks, and the precision that their weights are kept in.

    device    where they run
    offload   "" if they lie there always; "parts" or "layers" if they wait in main memory until it is their turn
    quantise  "" if their weights are in the model's dtype; "int8" or "nf4"
    """

    spec: Spec
    device: torch.device
    networks: dict[str, Any]
    offload: str = ""
    quantise: str = ""
    AUTOENCODER: ClassVar[str] = ""
    TEXT_ENCODERS: ClassVar[tuple[str, ...]] = ()
    CHANNELS_LAST: ClassVar[bool] = True
    _offload: Offload | None = None

    def place(self, device: torch.device, offload: str = "", quantise: str = "") -> None:
        """Put a model that lies in main memory on a device, or let it come there by turns; quantise it first.

        What is quantised is what may learn from a prompt or a LoRA: denoiser and text encoders.
        """
        if quantise:
            for network in self._locked():
                quantise_weights(network, quantise)
            self.quantise, self._made_of = quantise, partial(_digest_of_quantised, self._made_of, quantise)
            kept = tuple(one for one in self.spec.techniques if one != "lora")
            self.spec = replace(self.spec, techniques=kept)
        self._format = memory_format(device) if self.CHANNELS_LAST else torch.contiguous_format
        for network in (self.networks[part] for part in self.networks if part not in self.TEXT_ENCODERS):
            network.to(memory_format=self._format)
        self.device, self.offload = device, offload
        if offload:
            large = [self.networks[part] for part in self.networks if part != self.AUTOENCODER]
            self._offload = Offload(self.networks.values(), device, large if offload == LAYERS else ())
        else:
            for network in self.networks.values():
                network.to(device)
        self._made_of_is(self._made_of)
        how = f"its {offload} wait in main memory and come by turns" if offload else "moved there"
        detail(f"{self.spec.name}: {device}: {how}{f', quantised in {quantise}' if quantise else ''}")

    @property
    def waits_on(self) -> torch.device:
        """Where its networks lie while it is not their turn."""
        return torch.device("cpu") if self.offload else self.device

    def _turn(self, *networks: Any) -> AbstractContextManager[None]:
        """Inside the `with`, these networks are on the device; without any, all are in main memory if offloaded."""
        return nullcontext() if self._offload is None else self._offload.turn(*networks)

    def _rest(self) -> None:
        """Send all networks to main memory if offloaded, before layers are added to them."""
        with self._turn():
            pass

    def _weights(self, network: Any) -> list[torch.Tensor]:
        """The weights of one network, as they lie in main memory if offloaded: the same whoever's turn it is."""
        # bitsandbytes makes some values of a state dict anew each time
        own = list(network.parameters() if self.quantise else network.state_dict(keep_vars=True).values())
        return own if self._offload is None else self._offload.at_home(own)


def _digest_of_quantised(made_of: Callable[[], str] | None, how: str) -> str:
    of = made_of() if made_of is not None else ""
    return digest_of("quantised", how, of) if of else ""


def converted(network: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Put a network on a device in a dtype, and return it; in fp16, what its class keeps in float32 stays so.

    T5's class keeps a layer of each block whose outputs overflow in fp16; T5 clamps what overflows, without a word.

    >>> layer = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    >>> layer._keep_in_fp32_modules = ["1"]
    >>> [one.weight.dtype for one in converted(layer, torch.device("cpu"), torch.float16)]
    [torch.float16, torch.float32]
    """
    kept = set(getattr(network, "_keep_in_fp32_modules", None) or ()) if dtype == torch.float16 else set()
    if not kept and _is_there(network, device, dtype):
        return network
    own = {name: one.data.float() for name, one in network.named_parameters() if kept & set(name.split("."))}
    network.to(device=device, dtype=dtype)
    for name, value in own.items():
        network.get_parameter(name).data = value.to(device)
    return network


def _is_there(network: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether nothing is to be moved or converted: to find that out takes less time than diffusers' own `to`."""
    tensors = chain(network.parameters(), network.buffers())
    return all(one.device == device and (one.dtype == dtype or not one.is_floating_point()) for one in tensors)


def own_weights(module: torch.nn.Module) -> None:
    """Copy weights that are still memory-mapped, so that the file does not stay in memory beside converted ones.

    A network that another model has already is left as it is.
    """
    if module not in _owned and next(module.parameters()).device.type == "cpu":
        for parameter in module.parameters():
            parameter.data = parameter.data.clone()
    _owned.add(module)


def with_autoencoder(method: Method) -> Method:
    """Run a method of a LatentModel while its autoencoder, if it has one, is on the device."""

    @wraps(method)
    def run(self: Any, *args: Any, **options: Any) -> Any:
        with self._turn(*([self.vae] if self.AUTOENCODER else [])):
            return method(self, *args, **options)

    return run  # type: ignore[return-value]
