"""Conditional objects: on S3 an object is put only where the one that is there is the one that was seen, or none is.

A put says `If-Match: ETAG`, or `If-None-Match: *`; the server compares and puts in one step, and refuses with 412 where
another writer was faster (Amazon S3 user guide, "Conditional writes"). s3fs passes on what botocore knows, and leaves
out the rest without a word: botocore knows both from 1.36 on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409")
_UNKNOWN = ("NotImplemented", "501")
_BOTOCORE = (1, 36)


class Conflict(Exception):
    """Another writer has put the object, or has removed it, since it was seen."""


class Unsupported(Exception):
    """The server cannot compare before it puts, or before it deletes."""


@dataclass(frozen=True)
class Seen:
    """An object as it was seen, or that there was none.

    etag    changes with its content; None where there was none
    holder  what `put` was given
    age     seconds since it was put, by the server's clock
    now     seconds since 1970 by that clock, None where the server did not say
    """

    etag: str | None
    holder: str = ""
    age: float = 0.0
    now: float | None = None


class Objects:
    """The objects of a file system of s3fs."""

    def __init__(self, files: Any) -> None:
        self._files = files

    @classmethod
    def of(cls, files: Any) -> Objects | None:
        """Return the objects of a file system; None for one that is not of s3fs, or whose botocore knows no conditions.

        >>> import fsspec
        >>> Objects.of(fsspec.filesystem("memory")) is None
        True
        """
        names = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
        if "s3" not in names or not hasattr(files, "call_s3"):
            return None
        from botocore import __version__ as version

        return cls(files) if tuple(map(int, version.split(".")[:2])) >= _BOTOCORE else None

    def seen(self, path: str) -> Seen:
        """Look at an object, without its content."""
        try:
            about = self._call("head_object", path)
        except FileNotFoundError as error:
            return Seen(None, now=_date(_answer(error)))
        now, put = _date(about), about["LastModified"].timestamp()
        return Seen(about["ETag"], about.get("Metadata", {}).get("holder", ""), (now or time.time()) - put, now)

    def put(self, path: str, content: bytes, etag: str | None, holder: str = "") -> Seen:
        """Put an object in one piece (5 GB at most), and return it as it is then.

        etag    of the one that is there; None says that there is none
        holder  a text that is kept with it

        Raises Conflict where another one is there, or none, and Unsupported where the server cannot compare.
        """
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        kept = {"Metadata": {"holder": holder}} if holder else {}
        about = self._change("put_object", path, Body=content, **condition, **kept)
        return Seen(about["ETag"], holder, now=_date(about))

    def delete(self, path: str, etag: str) -> None:
        """Remove an object; raises Conflict where another one is there, or none, and Unsupported as `put` does."""
        self._change("delete_object", path, IfMatch=etag)

    def content(self, path: str) -> bytes:
        """Return what an object holds; raises FileNotFoundError."""
        content: bytes = self._files.cat_file(path)
        return content

    def _change(self, method: str, path: str, **more: Any) -> Any:
        try:
            return self._call(method, path, **more)
        except Exception as error:
            code = _answer(error).get("Error", {}).get("Code", "")
            if code in _CONFLICTS:
                raise Conflict(path) from None
            if code in _UNKNOWN:
                raise Unsupported(path) from None
            raise
        finally:
            self._files.invalidate_cache(path)

    def _call(self, method: str, path: str, **more: Any) -> Any:
        bucket, key, _ = self._files.split_path(path)
        return self._files.call_s3(method, Bucket=bucket, Key=key, **more)


def _answer(error: Exception) -> dict[str, Any]:
    """S3's answer that an error of s3fs was made from, an empty one for any other error."""
    answer = getattr(error.__cause__ or error, "response", None)
    return answer if isinstance(answer, dict) else {}


def _date(answer: dict[str, Any]) -> float | None:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date).timestamp() if date else None
