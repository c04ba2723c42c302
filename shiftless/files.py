"""Files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from shiftless.errors import BadInput


def write_whole(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file so that no reader ever sees half of it; raises BadInput if it cannot be written."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
            part.write(content)
        os.chmod(part.name, 0o644)
        os.replace(part.name, path)
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be written ({error.strerror}); give a path in a folder you may write to"
        ) from None
    return path
