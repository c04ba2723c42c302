"""Placed: what adapters derive from to lie on a device, wholly or by turns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar

import torch

from shiftless.backbones.offload import LAYERS, Offload
from shiftless.progress import detail

Method = TypeVar("Method", bound=Callable[..., Any])


class Placed:
    """The place of a model's networks.

    device   where they run
    offload  "" if they lie there always; "parts" or "layers" if they wait in main memory until it is their turn
    """

    device: torch.device
    offload: str = ""
    _offload: Offload | None = None

    def placed(
        self, networks: Mapping[str, Any], device: torch.device, offload: str, whole: Collection[str] = ()
    ) -> None:
        """Let networks that lie in main memory run on a device by turns; part -> network.

        whole  parts that come at once even by "layers", since they are small
        """
        layered = [one for part, one in networks.items() if part not in whole] if offload == LAYERS else []
        self.device, self.offload = device, offload
        self._offload = Offload(networks.values(), device, layered)
        detail(f"its {offload} wait in main memory, and come to {device} by turns")

    @property
    def waits_on(self) -> torch.device:
        """Where its networks lie while it is not their turn."""
        return torch.device("cpu") if self.offload else self.device

    def _turn(self, *networks: Any) -> AbstractContextManager[None]:
        """Inside the `with`, these networks are on the device; without any, all are in main memory if offloaded."""
        return nullcontext() if self._offload is None else self._offload.turn(*networks)

    def _rest(self) -> None:
        """Send all networks to main memory, before layers are added to them."""
        with self._turn():
            pass

    def _at_home(self, tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """Weights as they lie in main memory if offloaded, which stay the same whoever's turn it is."""
        return list(tensors) if self._offload is None else self._offload.at_home(tensors)


def own_weights(module: torch.nn.Module) -> None:
    """Copy weights that are still memory-mapped, so that the file does not stay in memory beside converted ones."""
    if next(module.parameters()).device.type == "cpu":
        for parameter in module.parameters():
            parameter.data = parameter.data.clone()


def with_autoencoder(method: Method) -> Method:
    """Run a method of a LatentModel while its autoencoder, if it has one, is on the device."""

    @wraps(method)
    def run(self: Any, *args: Any, **options: Any) -> Any:
        with self._turn(*([self.vae] if self.AUTOENCODER else [])):
            return method(self, *args, **options)

    return run  # type: ignore[return-value]
