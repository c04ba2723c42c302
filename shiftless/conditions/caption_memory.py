"""Captions kept on disk, by the captioner's weights and the photo's content: each photo is captioned once."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from shiftless.atomic import write_atomic
from shiftless.digest import cache_folder, digest_of, digest_of_folder
from shiftless.errors import BadInput
from shiftless.image import Photo

if TYPE_CHECKING:
    from shiftless.conditions.captioner import Captioner

RULES = 1
"""Raised when prompts or clean-up change, so that captions made by older rules are not reused."""
_SAVE_EVERY = 32
_PARTS = ("*.json", "*.txt", "*.model", "*.safetensors")


def remembered(captioner: Captioner, photos: Sequence[Photo]) -> list[str]:
    """Return a caption for each photo: from disk where one is kept, else from the captioner, and keep it.

    Captions lie in `captions_folder`, by the captioner's fingerprint and the photo's digest; a folder that cannot be
    written is no error. Raises BadInput as the captioner does, and for a blank caption.

    >>> class Parrot:
    ...     name, fingerprint = "parrot", ""
    ...     def caption(self, photos):
    ...         return [f"a photo, {photo.hw[1]} pixels wide" for photo in photos]
    >>> import numpy as np
    >>> remembered(Parrot(), [Photo(np.zeros((8, 9, 3), np.uint8), "a.png", "1f")])
    ['a photo, 9 pixels wide']
    """
    folder = captions_folder() / captioner.fingerprint if captioner.fingerprint else None
    waiting = {photo.digest: photo for photo in photos}
    captions: dict[str, str] = {}
    if folder is not None:
        captions = {digest: kept for digest in waiting if (kept := _read(folder / f"{digest}.txt"))}
    new = [photo for digest, photo in waiting.items() if digest not in captions]
    for start in range(0, len(new), _SAVE_EVERY):
        part = new[start : start + _SAVE_EVERY]
        for photo, text in zip(part, captioner.caption(part), strict=True):
            captions[photo.digest] = spoken(text, captioner.name, photo.name)
            if folder is not None:
                _keep(folder / f"{photo.digest}.txt", captions[photo.digest])
    return [captions[photo.digest] for photo in photos]


def captions_folder() -> Path:
    """Return where captions are kept: under $SHIFTLESS_CACHE, else the user's cache folder."""
    return cache_folder("captions")


def fingerprint_of(folder: str | os.PathLike[str]) -> str:
    """Name a captioner by the content of its files (weights, settings, words), wherever they lie.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     before = fingerprint_of(folder)
    ...     _ = Path(folder, "config.json").write_text("{}")
    ...     fingerprint_of(folder) == before
    False
    """
    return digest_of(RULES, digest_of_folder(folder, _PARTS))


def spoken(text: str, captioner: str, photo: str) -> str:
    """Return a caption as one clean line; raises BadInput if it is blank after cleaning.

    >>> spoken(" two cats ,\\n asleep . ", "blip", "a.jpg")
    'two cats, asleep.'
    >>> spoken(" \\n", "blip", "a.jpg")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: a.jpg: captioner blip says nothing of this photo; write its prompt, or try another...
    """
    line = re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split()))
    if not line:
        raise BadInput(
            f"{photo}: captioner {captioner} says nothing of this photo; write its prompt, or try another captioner"
        )
    return line


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _keep(path: Path, text: str) -> None:
    with suppress(BadInput):  # without a writable cache photos are captioned again
        write_atomic(path, f"{text}\n".encode())
