"""Album: the photos of the explorer, each known by its number; no path comes from a browser."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from shiftless.errors import BadInput, first_line
from shiftless.explore.limits import Limits
from shiftless.image import FORMATS, KINDS, Photo, list_photos, open_photo

_KEPT = 256 << 20  # bytes of decoded photos that stay in memory


@dataclass(frozen=True)
class Entry:
    """One photo: where its bytes are, and the name that it is shown by.

    name    relative to the folder that it lies in, with "/"; an uploaded photo's own, without folders
    source  a path that the user named on the command line or that lies inside such a folder, or an upload's bytes
    """

    name: str
    source: Path | bytes


class Album:
    """Photos by number, opened when they are needed; some decoded ones stay in memory.

    places  pictures, and folders of them

    A symbolic link that leads out of its folder is left out, and `left_out` says so. Raises BadInput for a place that
    is not there, or holds no picture. It may be used from several threads.

    >>> album = Album([])
    >>> len(album), album.left_out
    (0, [])
    """

    def __init__(self, places: Sequence[Path], limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.left_out: list[str] = []
        self.entries: list[Entry] = []
        self._lock = threading.RLock()
        self._open: OrderedDict[int, Photo] = OrderedDict()
        self._digests: dict[int, str] = {}
        for place in places:
            top = place.resolve()
            for path in list_photos(place):
                if place.is_dir() and not path.resolve().is_relative_to(top):
                    self.left_out.append(f"{path}: leads out of {place}, and is left out; name its own folder too")
                elif len(self.entries) >= self.limits.photos:
                    self.left_out.append(f"{path}: is beyond the {self.limits.photos} photos that are shown")
                else:
                    name = path.relative_to(place).as_posix() if place.is_dir() else path.name
                    self.entries.append(Entry(name, path))

    def __len__(self) -> int:
        return len(self.entries)

    def entry(self, number: int) -> Entry:
        """Return what is known of a photo before it is opened; raises BadInput for a number that no photo has."""
        if not 0 <= number < len(self.entries):
            raise BadInput(f"no photo has the number {number}; reload the page")
        return self.entries[number]

    def photo(self, number: int) -> Photo:
        """Open a photo, or return it from memory; raises BadInput if it cannot be read."""
        entry = self.entry(number)
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        source = entry.source
        whole = source if isinstance(source, Path) else Image.open(io.BytesIO(source), formats=FORMATS)
        photo = open_photo(whole, entry.name)  # so that no message names a path of this machine
        with self._lock:
            self._digests[number] = photo.digest
            self._open[number] = photo
            while len(self._open) > 1 and sum(one.array.nbytes for one in self._open.values()) > _KEPT:
                self._open.popitem(last=False)
        return photo

    def digest(self, number: int) -> str:
        """Return the digest of a photo's pixels, opening it if nobody has."""
        self.entry(number)
        with self._lock:
            known = self._digests.get(number)
        return known or self.photo(number).digest

    def sort(self, numbers: Sequence[int]) -> tuple[tuple[int, ...], dict[int, str]]:
        """Return the photos among these that can be read, and of each other one why it cannot.

        Raises BadInput if none can be read.
        """
        good, bad = [], {}
        for number in numbers:
            try:
                self.digest(number)
                good.append(number)
            except BadInput as error:
                bad[number] = str(error)
        if not good:
            raise BadInput(next(iter(bad.values()), "no photo is chosen; choose at least one"))
        return tuple(good), bad

    def add(self, name: str, content: bytes) -> int:
        """Add an uploaded photo and return its number; one with the same pixels as a photo of the album is that one.

        Raises BadInput, naming the photo, for bytes that are no picture and for more than the limits allow.
        """
        limits = self.limits
        name = PurePosixPath(name.replace("\\", "/")).name.strip()[:120] or "photo"
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                pixels = image.width * image.height
        except Exception:  # broken headers make Pillow raise nearly anything
            raise BadInput(f"{name}: not a picture that can be read; give {KINDS}") from None
        if pixels > limits.upload_pixels:
            raise BadInput(f"{name}: {pixels:,} pixels, and {limits.upload_pixels:,} are allowed; give a smaller copy")
        try:
            photo = open_photo(Image.open(io.BytesIO(content), formats=FORMATS), name)
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(f"{name}: the picture is damaged ({first_line(error)}); give a whole file") from None
        with self._lock:
            for number, digest in self._digests.items():
                if digest == photo.digest:
                    return number
            if len(self.entries) >= limits.photos:
                raise BadInput(f"{name}: {limits.photos} photos are here already, which is the most")
            held = sum(len(one.source) for one in self.entries if isinstance(one.source, bytes))
            if held + len(content) > limits.uploads_bytes:
                raise BadInput(f"{name}: uploads would take over {limits.uploads_bytes >> 20} MB; put it in a folder")
            number = len(self.entries)
            self.entries.append(Entry(name, bytes(content)))
            self._digests[number] = photo.digest
            self._open[number] = photo
        return number

    def mask_names(self) -> list[str]:
        """Return the name of each photo's mask, without a folder's way out: a/b.jpg -> a/b.png; none comes twice."""
        names: list[str] = []
        taken: set[str] = set()
        for entry in list(self.entries):
            base, name, n = PurePosixPath(entry.name).with_suffix(""), "", 1
            while not name or name in taken:
                name, n = f"{base}{'' if n == 1 else f'-{n}'}.png", n + 1
            taken.add(name)
            names.append(name)
        return names


def picture_bytes(photo: Photo, side: int) -> tuple[bytes, str]:
    """Encode a photo for a browser, its longer side at most `side` pixels: the bytes, and their media type.

    A picture of up to 1 MP at its own size is a PNG, so that every pixel is exact; others are JPEG.

    >>> import numpy as np
    >>> picture_bytes(open_photo(np.zeros((20, 30, 3), np.uint8)), 4096)[1]
    'image/png'
    """
    image = Image.fromarray(photo.array)
    exact = max(image.size) <= side and image.width * image.height <= 1_000_000
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    if exact:
        image.save(out, "PNG", compress_level=1)
        return out.getvalue(), "image/png"
    image.save(out, "JPEG", quality=93, subsampling=0)
    return out.getvalue(), "image/jpeg"
