"""Folders of captions: one .txt for each photo, at the photo's relative path."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from shiftless.errors import BadInput
from shiftless.image import list_photos


def caption_files(places: Iterable[str | os.PathLike[str]], folder: Path) -> dict[str, Path]:
    """Say for each photo in some places (pictures, or folders of them) which file of a folder holds its caption.

    ph/sub/1.png of the place `ph` has sub/1.txt; a picture given by itself has its own name. Raises BadInput for
    places without photos, and where two photos would have one file.

    >>> caption_files(["nowhere"], Path("captions"))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: no such file or folder; check the path
    """
    inside: dict[str, Path] = {}
    for place in map(Path, places):
        for photo in list_photos(place):
            inside.setdefault(str(photo), photo.relative_to(place) if photo != place else Path(photo.name))
    return _files(inside, folder)


def _files(inside: dict[str, Path], folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    for photo, path in inside.items():
        file = files[photo] = folder / path.with_suffix(".txt")
        if (other := taken.setdefault(file, photo)) != photo:
            raise BadInput(f"{photo}: its caption and that of {other} would both be {file}; give them two folders")
    return files


class CaptionFolder:
    """The captions of some photos in a folder; raises BadInput if there is no such folder, and as `caption_files` does.

    photos  the paths of photos that lie under one folder: the nearest one that holds them all; or
    places  what the user gave: pictures, or folders of them

    >>> CaptionFolder("nowhere", photos=["ph/1.png"])
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: no such folder of captions; write one with shiftless caption PHOTOS --out FOLDER
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        photos: Iterable[str] = (),
        places: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            remedy = "write one with shiftless caption PHOTOS --out FOLDER"
            raise BadInput(f"{folder}: no such folder of captions; {remedy}")
        names = {photo: Path(os.path.abspath(photo)) for photo in photos}
        top = os.path.commonpath([path.parent for path in names.values()]) if names else ""
        self._files = _files({photo: path.relative_to(top) for photo, path in names.items()}, self.folder)
        self._files |= caption_files(places, self.folder)
        self._claimed = set(self._files.values())

    def file(self, photo: str) -> Path:
        """Return the path of a photo's caption, whether the file exists or not.

        Raises BadInput where the folder also has a file at a longer part of the photo's path: the captions were then
        written for a folder above the one that was given, and the file would be another photo's.
        """
        file = self._files.get(photo, self.folder / Path(Path(photo).name).with_suffix(".txt"))
        parts = Path(photo).resolve().with_suffix(".txt").parts[1:]
        for length in range(len(file.relative_to(self.folder).parts) + 1, len(parts) + 1):
            longer = self.folder.joinpath(*parts[-length:])
            if longer not in self._claimed and longer.is_file():
                raise BadInput(
                    f"{photo}: {file} and {longer} could both be its caption; give the folder of photos that "
                    "was captioned, or the folder of captions that belongs to these photos"
                )
        return file

    def read(self, photo: str) -> str:
        """Return a photo's caption; raises BadInput, naming the file, if there is none."""
        file = self.file(photo)
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise BadInput(f"{photo}: no caption at {file}; write it, or leave --captions out") from None
