"""Fingerprinted: a model's weights as they are now, by their contents; the digest is kept until they change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch

from shiftless.digest import samples_of, state_of
from shiftless.taps.lock import exclusive


class Fingerprinted(ABC):
    """What adapters derive from to have a fingerprint; `_made_of_is` is to be called when the networks are in place."""

    def _made_of_is(self, made_of: Callable[[], str] | None) -> None:
        """Note what gives the digest of what the weights were made of; "" or no function digests the weights."""
        self._made_of, self._as_made = made_of, self._state()
        self._fingerprint: tuple[Any, str] = (None, "")

    @property
    def fingerprint(self) -> str:
        """The digest of the model's weights as they are now; it depends neither on a path nor on a name.

        The same files give the same fingerprint in every dtype. Weights that were changed after loading give another.

        >>> from shiftless.backbones.registry import load
        >>> load("twin:sd15", dtype="bf16").fingerprint == load("twin:sd15", dtype="fp32").fingerprint
        True
        """
        with exclusive(*self._locked()):
            state = self._state()
            if state != self._fingerprint[0]:
                made_of = self._made_of() if self._made_of is not None and state == self._as_made else ""
                self._fingerprint = state, made_of or self._digest()
            return self._fingerprint[1]

    def _state(self) -> tuple[Any, ...]:
        """What tells whether the weights have changed, without reading all of them."""
        return state_of_tensors(self._own_tensors())

    @abstractmethod
    def _own_tensors(self) -> Iterable[torch.Tensor]:
        """The tensors of the model's own networks."""

    @abstractmethod
    def _locked(self) -> Iterable[Any]:
        """The networks that nobody may change meanwhile, in the order in which they are locked."""

    @abstractmethod
    def _digest(self) -> str:
        """The digest of the weights, and of what else decides what the model makes of a picture."""


def state_of_tensors(tensors: Iterable[torch.Tensor]) -> tuple[Any, ...]:
    """Return what changes when tensors are replaced, changed in place, or written to past torch's knowledge.

    >>> weights = [torch.zeros(4)]
    >>> before = state_of_tensors(weights)
    >>> before == state_of_tensors(weights), before == state_of_tensors([weights[0].add_(1)])
    (True, False)
    """
    listed = list(tensors)
    return state_of(listed), samples_of(listed)
