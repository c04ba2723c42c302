"""Files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from shiftless.errors import BadInput


def check_writable(*paths: Path | None) -> None:
    """Make the folders of paths that will be written, and raise BadInput for one that cannot be; None is passed over.

    >>> check_writable(None)
    """
    for path in paths:
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=path.parent):
                    pass
            except OSError as error:
                raise _refused(path, error) from None
            if path.is_dir():
                raise BadInput(f"{path}: is a folder; give the path of a file")


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
        raise _refused(path, error) from None
    return path


def _refused(path: Path, error: OSError) -> BadInput:
    return BadInput(f"{path}: cannot be written ({error.strerror}); give a path in a folder you may write to")
