"""Atomic file writes: a reader finds the whole old file or the whole new one."""

from __future__ import annotations

import errno
import os
import random
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from shiftless.errors import BadInput

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PART = re.compile(r"\..+\.[0-9a-f]{12}\.part")
_STALE = 3600.0  # seconds since its last write after which a temporary file's writer is taken to have been killed
_TRIES = 20  # at making a file in a folder that other processes make and remove
_cleaned: set[Path] = set()  # folders that this process has removed stale temporary files from


def check_writable(*paths: Path | None) -> None:
    """Raise BadInput for a path that cannot be written; None is ignored. The check leaves no file behind.

    Called before minutes of work, so that its result has a place. A device or a pipe is not opened for it.

    >>> check_writable(None)
    """
    for path in paths:
        if path is None:
            continue
        try:
            if _special(path) or _standard_stream(path) is not None:
                _check_permission(path)
                continue
            target = _target(path)
            if target.is_dir():
                raise BadInput(f"{path}: is a folder; give the path of a file")
            made = [folder for folder in target.parents if not folder.exists()]
            try:
                descriptor, part = _new_part(target)
                os.close(descriptor)
                part.unlink()
            finally:
                for folder in made:
                    with suppress(OSError):
                        folder.rmdir()
        except (OSError, ValueError) as error:
            raise _refused(path, error) from None


def write_atomic(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file so that no reader ever sees a part of it; raises BadInput if it cannot be written.

    The content goes into a new file beside the target, reaches the disk, and is then moved into place; nothing of it
    stays after an error. A new file gets the permissions that the umask gives, a replaced one keeps its own. A
    symbolic link stays and the file that it leads to is replaced. Devices, pipes and standard output are written
    through: they cannot be replaced. Temporary files that killed processes left in the folder more than an hour ago are
    removed when a process first writes there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomic(f"{folder}/new/a.txt", b"whole").read_text()
    'whole'
    """
    path = Path(path)
    with reported(path), _destination(path) as descriptor:
        _write_all(descriptor, content)
    return path


@contextmanager
def write_atomic_pieces(path: str | os.PathLike[str]) -> Iterator[Callable[[bytes], None]]:
    """Write a file piece by piece, as `write_atomic` writes a whole one; its memory is that of a piece.

    The block is given a function that takes the next piece. The file stands in its place when the block ends; after an
    error within, nothing of it stays. Raises BadInput if it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_atomic_pieces(f"{folder}/a.txt") as write:
    ...         write(b"one, ")
    ...         write(b"two")
    ...     Path(f"{folder}/a.txt").read_text()
    'one, two'
    """
    path = Path(path)
    with ExitStack() as stack:
        with reported(path):
            descriptor = stack.enter_context(_destination(path))

        def write(piece: bytes) -> None:
            with reported(path):
                _write_all(descriptor, piece)

        yield write
        with reported(path):
            stack.pop_all().close()


@contextmanager
def new_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a hidden path beside a file or folder, which takes its place when the block ends, or is removed.

    For libraries that write files by their names. A file that is there is replaced; a folder is not, and BadInput says
    so, as it does where the path cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with new_path(f"{folder}/new/a.txt") as path:
    ...         _ = path.write_text("whole")
    ...     Path(f"{folder}/new/a.txt").read_text()
    'whole'
    """
    target = _target(Path(path))
    part = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        if target.is_dir():
            raise BadInput(f"{path}: is there already; give another name, or remove it")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield part
            for file in [part] if part.is_file() else [file for file in part.rglob("*") if file.is_file()]:
                with file.open("rb+") as opened:
                    _to_disk(opened.fileno())
            os.replace(part, target)
        except OSError as error:
            raise _refused(target, error) from None
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):
            part.unlink()


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Raise what the operating system says against a path as BadInput.

    >>> with reported(Path("a.txt")):
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: a.txt: cannot be written (No space left on device); free some space or give a path on ...
    """
    try:
        yield
    except BrokenPipeError:  # the reader closed the pipe, which is no error
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise _refused(path, error) from None


@contextmanager
def _destination(path: Path) -> Iterator[int]:
    """A descriptor to write to: of a device or stream itself, or of a new file that then takes the path's place."""
    stream = _standard_stream(path)
    if stream is not None:
        yield stream
    elif _special(path):
        _check_permission(path)
        with open(path, "wb", buffering=0) as device:
            yield device.fileno()
    else:
        with _replacement(_target(path)) as descriptor:
            yield descriptor


@contextmanager
def _replacement(target: Path) -> Iterator[int]:
    """A descriptor of a new file that takes the target's place at the end, and is removed after an error."""
    descriptor, part = _new_part(target)
    try:
        try:
            with suppress(FileNotFoundError):
                _keep_owner_and_mode(descriptor, target)
            yield descriptor
            _to_disk(descriptor)
        finally:
            os.close(descriptor)
        os.replace(part, target)
    except BaseException:  # also Ctrl-C
        with suppress(OSError):
            part.unlink()
        raise
    _remove_stale_parts(target.parent.absolute())


def _remove_stale_parts(folder: Path) -> None:
    """Remove what killed processes left in a folder; once a process, as listing a large folder takes time."""
    if folder in _cleaned:
        return
    _cleaned.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _PART.fullmatch(entry.name):
                with suppress(OSError):  # another process may have removed it
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE:
                        os.unlink(entry.path)


def _new_part(target: Path) -> tuple[int, Path]:
    """Open a new hidden file beside the target, with the permissions that the umask gives."""
    if target.exists():
        _check_permission(target)
    part = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.part")  # a name has at most 255 bytes
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    for _ in range(_TRIES):
        with suppress(FileNotFoundError, FileExistsError):  # another process has just removed the folder that it made
            target.parent.mkdir(parents=True, exist_ok=True)
            return os.open(part, flags, 0o666), part
        time.sleep(0.005 * random.random())
    target.parent.mkdir(parents=True, exist_ok=True)
    return os.open(part, flags, 0o666), part


def _keep_owner_and_mode(descriptor: int, target: Path) -> None:
    old = target.stat()
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid) and hasattr(os, "fchown"):
        with suppress(OSError):  # only root may change a file's owner
            os.fchown(descriptor, old.st_uid, old.st_gid)
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _to_disk(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # file systems that have no fsync
            raise


def _target(path: Path) -> Path:
    """The file that a path leads to: where a symbolic link points, whether there is one yet or not."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _special(path: Path) -> bool:
    """Whether a path is a character device, pipe or socket; raises OSError for a disk."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISBLK(mode):
        raise OSError(errno.EPERM, "is a block device")
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _standard_stream(path: Path) -> int | None:
    """The descriptor of standard output or error where the path is the same file, such as /dev/stdout."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # no such file yet, or a stream that is no file
            descriptor: int = stream.fileno()
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                stream.flush()
                return descriptor
    return None


def _check_permission(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _refused(path: Path, error: OSError | ValueError) -> BadInput:
    reason = getattr(error, "strerror", None) or str(error)
    full = getattr(error, "errno", None) in _FULL
    cure = "free some space or give a path on another disk" if full else "give a path in a folder you may write to"
    return BadInput(f"{path}: cannot be written ({reason}); {cure}")
