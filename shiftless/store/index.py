"""index.jsonl: one line for each file of a folder of features, intact after a kill and rebuilt from the files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shiftless.atomic import write_atomic
from shiftless.errors import BadInput
from shiftless.header import Origin, from_header, text_dtype
from shiftless.recipe import Recipe
from shiftless.store.lock import locked
from shiftless.taps.names import Tap

NAME = "index.jsonl"
Row = dict[str, Any]


def row_of(path: Path) -> Row:
    """Return a file's line, from its header alone; raises BadInput if it is no whole file of features."""
    from safetensors import safe_open

    try:
        with safe_open(path, "np") as file:
            about = from_header(file.metadata() or {})
            slices = {name: file.get_slice(name) for name in about["taps"]}
            maps = {name: (list(part.get_shape())[1:], text_dtype(part.get_dtype())) for name, part in slices.items()}
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    except Exception as error:  # broken headers make the parsers raise nearly anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"{path}: not a whole file of features ({reason}); extract it again") from None
    origin: Origin = about["origin"]
    recipe: Recipe = about["recipe"]
    taps: dict[str, Tap] = about["taps"]
    (h, w), (fed_h, fed_w) = about["frame"].original, about["frame"].fed
    return {
        "file": path.name,
        "photo": about["name"],
        "digest": origin.photo,
        "size": [w, h],
        "fed": [fed_w, fed_h],
        "bytes": path.stat().st_size,
        "model": origin.model,
        "fingerprint": origin.fingerprint,
        "adapters": dict(origin.adapters),
        "recipe": recipe.key(),
        "prompt": about["prompt"],
        "computed": origin.dtype,
        "pool": origin.pool,
        "taps": {n: {"shape": shape, "dtype": dtype, "stride": taps[n].stride} for n, (shape, dtype) in maps.items()},
    }


class Index:
    """The index of a folder; several commands may write to one folder, each holding a lock for the time of a write."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        self._end = self._state()  # up to where this object has read or written the file
        self._others: set[bytes] = set()  # lines that another process has added since

    def rows(self) -> list[Row]:
        """Return the lines that can be read, the last one for a file and photo that stand there twice."""
        return list(self._read().values())

    def repair(self) -> list[str]:
        """Bring the index up to date with the folder; return a line for each file in it that is no file of features.

        Lines that were cut short and those of files that are gone are dropped, and files without a line get one. The
        index is written anew only if something was wrong.
        """
        if not self.folder.is_dir():
            return []
        with locked(self.folder):
            refused = self._repair()
            self._end = self._state()
        return refused

    def add(self, files: Sequence[Path]) -> list[Row]:
        """Add a line for each file, and return them; raises BadInput if the index cannot be written.

        A line that another process, which reads the same photos into this folder, has just added is not added again.
        """
        rows = [row_of(file) for file in files]
        with locked(self.folder):
            if self._cut_short():
                self._repair()
            self._others.update(self._added())
            lines = [line for line in map(_line, rows) if line not in self._others]
            try:
                with self.path.open("ab") as index:
                    index.write(b"".join(lines))
            except OSError as error:
                raise BadInput(f"{self.path}: cannot be written ({error.strerror}); free some space") from None
            self._end = self._state()
        return rows

    def _added(self) -> list[bytes]:
        """The lines behind `_end`; all of them where another process has written the file anew."""
        now, (file, end) = self._state(), self._end
        if now == self._end or not self.path.is_file():
            return []
        with self.path.open("rb") as index:
            index.seek(end if now[0] == file and now[1] > end else 0)
            return index.read().splitlines(keepends=True)

    def _state(self) -> tuple[int, int]:
        """Which file the index is, and its size."""
        try:
            about = self.path.stat()
        except OSError:  # no index yet
            return 0, 0
        return about.st_ino, about.st_size

    def _repair(self) -> list[str]:
        there = {entry.name for entry in os.scandir(self.folder) if entry.name.endswith(".safetensors")}
        there = {name for name in there if not name.startswith(".")}
        rows, refused = self._read(), []
        kept = {key: row for key, row in rows.items() if row["file"] in there}
        for name in sorted(there - {row["file"] for row in kept.values()}):
            try:
                row = row_of(self.folder / name)
            except BadInput as error:
                refused.append(str(error))
                continue
            kept[row["file"], row["photo"]] = row
        content = b"".join(map(_line, kept.values()))
        if kept != rows or self._cut_short() or self._lines() != len(kept):
            write_atomic(self.path, content)
        return refused

    def _read(self) -> dict[tuple[str, str], Row]:
        rows: dict[tuple[str, str], Row] = {}
        for line in self._content().splitlines():
            try:
                row = json.loads(line)
                rows[str(row["file"]), str(row["photo"])] = row
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        return rows

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be read ({error.strerror}); give another --out") from None

    def _lines(self) -> int:
        return len(self._content().splitlines())

    def _cut_short(self) -> bool:
        """Whether the last line has no end: its writer was killed, or the disk was full."""
        try:
            with self.path.open("rb") as index:
                index.seek(-1, os.SEEK_END)
                return index.read(1) != b"\n"
        except OSError:  # no index yet, or an empty one
            return False


def _line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
