"""Captioner: the protocol of objects that caption photos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shiftless.image import Photo


class Captioner(Protocol):
    """An object that captions photos.

    name         for messages and tables
    fingerprint  changes whenever its captions may; "" if they are not to be kept on disk
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def caption(self, photos: Sequence[Photo]) -> list[str]:
        """Return one line for each photo; raises BadInput for a photo for which it has no text."""
        ...
