"""Place: where the files of a store are, a folder on disk or a target of fsspec (s3://, gs://, memory://)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from shiftless.atomic import reported, write_atomic_pieces
from shiftless.errors import BadInput, first_line
from shiftless.store.conditional import Objects, Unsupported
from shiftless.store.lease import Lease
from shiftless.store.lock import Folder, Held, Unlocked, locked

SUFFIX = ".zarr"
ROOT = "zarr.json"  # the file by which all others of a store become visible
_LEASE = ".shiftless/lease"
_ONE_PUT = 5 * 2**30  # bytes: S3 takes no larger object in one piece


class Place(Protocol):
    """Files under keys such as "512x512/up1/zarr.json"; a reader finds a whole old file or a whole new one.

    name  as it was given, for messages
    """

    name: str

    @property
    def path(self) -> Path | None:
        """The folder on disk; None for a target of fsspec, where files cannot grow or be linked."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a file's bytes from `start`, or its last ones if that is negative; at most `length` of them.

        Raises FileNotFoundError for a file that is not there, and BadInput for one that cannot be read.
        """

    def write(self, key: str, pieces: Iterable[bytes]) -> None:
        """Write a file, piece by piece, and put it in its place when it is whole; raises BadInput."""

    def names(self, key: str = "") -> list[str]:
        """Return what lies in a folder, sorted; nothing if there is no such folder."""

    def delete(self, key: str) -> None:
        """Remove a file, or outside of `lock` a folder with all that is in it; one that is gone is no error."""

    def inside(self, key: str) -> Place:
        """Return the place of a store that lies in this one."""

    def lock(self) -> AbstractContextManager[None]:
        """Hold the store's lock for the time of a block, so that one process commits at a time.

        On S3 `write` and `delete` raise Lost within the block where another process has taken the lock over meanwhile.
        """

    def hold(self, key: str) -> Held | None:
        """Hold a folder without waiting; None if another process holds it."""


def is_store(target: str | os.PathLike[str]) -> bool:
    """Whether a path or URL names a Zarr store, in place of a folder of files: by its ending.

    >>> is_store("features.zarr/"), is_store("s3://bucket/features.zarr"), is_store("features")
    (True, True, False)
    """
    return os.fspath(target).rstrip("/\\").endswith(SUFFIX)


def place_of(target: str | os.PathLike[str], options: dict[str, Any] | None = None) -> Place:
    """Return the place that a path or URL names; nothing is made there yet.

    options  what fsspec's file system takes, such as {"endpoint_url": "http://localhost:5000"} for S3

    Raises BadInput for a name that does not end in .zarr, and for a URL that fsspec cannot open.

    >>> place_of("features.zarr").path is None, place_of("memory://features.zarr").path is None
    (False, True)
    """
    text = os.fspath(target).rstrip("/\\")
    if not is_store(text):
        raise BadInput(f"{text}: the name of a store ends in {SUFFIX}; give such a name")
    if "://" in text and not text.startswith("file://"):
        return Remote(text, options or {})
    return Disk(Path(text.removeprefix("file://")))


class Disk:
    """A folder on disk."""

    def __init__(self, path: Path) -> None:
        self.name, self.path = str(path), path

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        try:
            with (self.path / key).open("rb") as file:
                if start:
                    file.seek(start if start > 0 else max(0, os.fstat(file.fileno()).st_size + start))
                return file.read(-1 if length is None else length)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(key) from None
        except OSError as error:
            raise BadInput(f"{self.path / key}: cannot be read ({error.strerror}); check the disk") from None

    def write(self, key: str, pieces: Iterable[bytes]) -> None:
        with write_atomic_pieces(self.path / key) as write:
            for piece in pieces:
                write(piece)

    def names(self, key: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self.path / key))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError):
            path = self.path / key
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def inside(self, key: str) -> Place:
        return Disk(self.path / key)

    @contextmanager
    def lock(self) -> Iterator[None]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be written ({error.strerror}); give another path") from None
        with locked(self.path):
            yield

    def hold(self, key: str) -> Held | None:
        with reported(self.path / key):
            (self.path / key).mkdir(parents=True, exist_ok=True)
            return Folder.held(self.path / key)


class Remote:
    """A target of fsspec.

    On S3 a lease is the lock. Elsewhere, and on servers of S3 that refuse conditional puts, there is none, so that one
    process may write at a time. A file is written by one call. What becomes visible by it is up to the file system:
    object stores show the old object until the new one is whole, whether it is put at once or in several parts.
    """

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        from fsspec.core import url_to_fs

        self.name, self.path, self._options = url, None, options
        try:
            self._files, self._root = url_to_fs(url, **options)
        except (ImportError, ValueError) as error:
            raise BadInput(f"{url}: fsspec cannot open it ({first_line(error)}); install what it names") from None
        self._objects = Objects.of(self._files)
        self._lease: Lease | None = None

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        path = self._path(key)
        try:
            end = None if length is None or start < 0 else start + length
            content: bytes = self._files.cat_file(path, start=start or None, end=end)
            return content if length is None else content[:length]
        except FileNotFoundError:
            raise FileNotFoundError(key) from None
        except Exception as error:  # each file system raises its own kinds
            raise BadInput(f"{self.name}/{key}: cannot be read ({first_line(error)}); check the address") from None

    def write(self, key: str, pieces: Iterable[bytes]) -> None:
        content = b"".join(pieces)
        with self._written(key):
            if self._lease is not None and len(content) <= _ONE_PUT:
                self._lease.put(self._path(key), content)
            else:
                self._files.pipe_file(self._path(key), content)

    def names(self, key: str = "") -> list[str]:
        self._files.invalidate_cache()
        try:
            found = self._files.ls(self._path(key), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def delete(self, key: str) -> None:
        if self._lease is not None:
            try:
                return self._lease.delete(self._path(key))
            except Unsupported:  # of a server that compares before it puts only
                self._lease.renew()
        with suppress(FileNotFoundError):
            self._files.rm(self._path(key), recursive=True)

    def inside(self, key: str) -> Place:
        return Remote(f"{self.name}/{key}", self._options)

    @contextmanager
    def lock(self) -> Iterator[None]:
        self._lease = self._leased(_LEASE, Lease.wait, self._path(ROOT))
        try:
            yield
        finally:
            if self._lease is not None:
                self._lease.release()
            self._lease = None

    def hold(self, key: str) -> Held | None:
        lease = self._leased(f"{key}/lease", Lease.take)
        return Unlocked() if self._objects is None else lease

    def _leased(self, key: str, how: Callable[..., Lease | None], *more: str) -> Lease | None:
        """A lease, where the file system has what it needs."""
        if self._objects is None:
            return None
        with self._written(key):
            try:
                return how(self._objects, self._path(key), self.name, *more)
            except Unsupported:
                self._objects = None
        return None

    @contextmanager
    def _written(self, key: str) -> Iterator[None]:
        """Raise what a file system says against a file, each in kinds of its own, as BadInput."""
        try:
            yield
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(f"{self.name}/{key}: cannot be written ({first_line(error)}); check the address") from None

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}".rstrip("/")
