"""Pseudo-labels: pictures that a pixel ensemble labels, without those that it is least certain of."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from shiftless.atomic import write_atomic
from shiftless.digest import digest_of, digest_of_tensors
from shiftless.errors import BadInput
from shiftless.image import EXTENSIONS, open_photo
from shiftless.progress import Progress
from shiftless.reading.together import Reader, stream_together
from shiftless.reading.words import Fill, values_of
from shiftless.tasks.parts import Parts
from shiftless.tasks.pixels import PixelEnsemble

IMAGES, MASKS, CLASSES = "images", "masks", "classes.json"
_MARK, _UNCERTAINTY = "shiftless", "uncertainty"  # what a mask's file says of itself
_WHITE = (255, 255, 255)


class PictureStore:
    """Numbered pictures and their masks in a folder, of which some are the set and the others are left out.

    FOLDER/set/images/000000.png, FOLDER/set/masks/000000.png, FOLDER/set/classes.json: what `read_labelled` opens
    FOLDER/left_out/images, FOLDER/left_out/masks: the same, of pictures that are not in the set

    Every file is written whole, and a picture moves with its mask, so that a run which is killed goes on from what is
    there.

    >>> PictureStore(Path("rooms.run")).pictures()
    {}
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.set, self.left_out = folder, folder / "set", folder / "left_out"

    def pictures(self) -> dict[str, Path]:
        """Return the pictures that are there, by name, whether in the set or not."""
        return self._files(IMAGES, EXTENSIONS)

    def masks(self) -> dict[str, Path]:
        """Return the masks that are there."""
        return self._files(MASKS, (".png",))

    def _files(self, kind: str, endings: tuple[str, ...]) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for place in (self.left_out / kind, self.set / kind):
            for path in place.iterdir() if place.is_dir() else ():
                if path.suffix.lower() in endings and not path.name.startswith("."):
                    found[path.stem] = path
        return dict(sorted(found.items()))

    def add(self, number: int, source: Any) -> str:
        """Keep a picture under its number, unless it is there already, and return its name.

        A file is copied as it is; anything else that `open_photo` takes becomes a PNG. Raises BadInput for what is no
        picture.
        """
        name = name_of(number)
        there = self.pictures_named(name)
        photo = open_photo(source)
        if isinstance(source, str | os.PathLike):
            content, ending = Path(source).read_bytes(), Path(source).suffix.lower()
            ending = ending if ending in EXTENSIONS else ".png"
            same = there is not None and there.suffix == ending and there.read_bytes() == content
        else:
            content, ending = _png(photo.array), ".png"
            same = there is not None and _digest_of(there) == photo.digest
        if not same:
            if there is not None:
                there.unlink()
            write_atomic(self.set / IMAGES / f"{name}{ending}", content)
        return name

    def pictures_named(self, name: str) -> Path | None:
        """Return the picture of a name, or None."""
        places = [place / IMAGES / f"{name}{end}" for place in (self.set, self.left_out) for end in EXTENSIONS]
        return next((path for path in places if path.is_file()), None)

    def choose(self, chosen: Iterable[str]) -> None:
        """Let the pictures of these names, and their masks, be the set; the others are left out."""
        chosen = set(chosen)
        for kind, files in ((IMAGES, self.pictures()), (MASKS, self.masks())):
            for name, path in files.items():
                place = (self.set if name in chosen else self.left_out) / kind / path.name
                if place != path:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, place)


class PseudoLabel(NamedTuple):
    """A picture with the mask that an ensemble gave it, as a network is trained on it.

    photo        its file                        where  the mask's file
    uncertainty  the mean over its pixels, nats  mark   what picture and mask are, as a digest
    """

    name: str
    photo: Path
    where: Path
    uncertainty: float
    mark: str

    def mask(self) -> np.ndarray:
        """Return the class of each pixel, H W uint8; raises BadInput if the file cannot be read."""
        try:
            with Image.open(self.where, formats=("PNG",)) as image:
                return np.array(image)
        except Exception as error:  # a damaged file makes Pillow raise nearly anything
            raise BadInput(f"{self.where}: cannot be read ({type(error).__name__}); delete it and run again") from None


@dataclass(frozen=True, eq=False)
class PseudoLabels(Sequence[PseudoLabel]):
    """The pictures of a set with their masks, in order.

    folder   what `read_labelled` opens
    kept     the pictures of the set
    dropped  those that were too uncertain
    classes  L names                       palette  L colours, or None

    >>> len(PseudoLabels(Path("rooms.run/set"), (), (), ("background", "bed")))
    0
    """

    folder: Path
    kept: tuple[PseudoLabel, ...]
    dropped: tuple[PseudoLabel, ...]
    classes: tuple[str, ...]
    palette: list[list[int]] | None = None

    def __len__(self) -> int:
        return len(self.kept)

    @overload
    def __getitem__(self, index: int) -> PseudoLabel: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[PseudoLabel, ...]: ...
    def __getitem__(self, index: int | slice) -> PseudoLabel | tuple[PseudoLabel, ...]:
        return self.kept[index]

    @property
    def identity(self) -> str:
        """The digest of the pictures and masks of the set."""
        return digest_of([(one.name, one.mark) for one in self.kept])


def name_of(number: int) -> str:
    """Return the name of a numbered picture.

    >>> name_of(12)
    '000012'
    """
    return f"{number:06d}"


def most_certain(uncertainties: Sequence[float], drop: float = 0.1) -> list[int]:
    """Return which pictures are left, in order, when the share `drop` of the most uncertain ones is dropped.

    The number dropped is rounded down; of equally uncertain ones, the later is dropped first. Raises BadInput unless
    the share is at least 0 and below 1.
    Source: Zhang et al., CVPR 2021 (DatasetGAN), and Baranchuk et al., ICLR 2022 (DatasetDDPM): 10%.

    >>> most_certain([0.3, 0.1, 0.5, 0.5, 0.2], drop=0.4)
    [0, 1, 4]
    """
    if not 0 <= drop < 1:
        raise BadInput(f"drop={drop:g}: give the share of pictures to drop, at least 0 and below 1")
    left = len(uncertainties) - int(drop * len(uncertainties) + 1e-9)
    return sorted(sorted(range(len(uncertainties)), key=lambda i: (uncertainties[i], i))[:left])


def pseudo_label(
    store: PictureStore,
    names: Sequence[str],
    readers: Sequence[Reader],
    head: PixelEnsemble,
    *,
    drop: float = 0.1,
    side: int | None = 256,
    fill: Fill | None = None,
    batch: int | None = None,
    progress: bool | Progress = False,
) -> PseudoLabels:
    """Label the stored pictures of these names by an ensemble, and let the set be those that it is most certain of.

    readers  the models that the head reads with, in its order
    drop     the share of pictures with the highest mean uncertainty, which are left out
    side     cells along the longer side of the grid that pixels are classified on, as `PixelEnsemble.predict` takes it

    A mask says what picture, head and settings it was made of: a picture whose mask is right already is not read again.
    Raises BadInput where no picture is left, and whatever reading does.
    """
    made_by = digest_of(digest_of_tensors(head.state_dict()), head.settings, [r.to_dict() for r in head.recipes], side)
    pictures, masks = store.pictures(), store.masks()
    marks: dict[str, str] = {}
    for name in names:
        photo = open_photo(pictures[name])
        marks[name] = digest_of(made_by, photo.digest, dict(values_of(photo, fill)))
    missing = [name for name in names if name not in masks or _said(masks[name])[0] != marks[name]]
    reading: dict[str, Any] = {"fill": fill, "batch": batch, "progress": progress}
    for name, parts in _labelled(missing, pictures, readers, head, side, **reading):
        place = masks.get(name, store.set / MASKS / f"{name}.png")
        write_atomic(place, _mask_png(parts, head.palette, marks[name]))
    masks = store.masks()
    doubts = [_said(masks[name])[1] for name in names]
    chosen = {names[i] for i in most_certain(doubts, drop)}
    if not chosen:
        raise BadInput(f"{store.folder}: no picture to learn from; give at least one")
    store.choose(chosen)
    about = {"classes": list(head.classes)} | ({} if head.palette is None else {"palette": head.palette})
    write_atomic(store.set / CLASSES, (json.dumps(about, ensure_ascii=False, indent=1) + "\n").encode())
    pictures, masks = store.pictures(), store.masks()
    rows = [PseudoLabel(name, pictures[name], masks[name], d, marks[name]) for name, d in zip(names, doubts)]
    kept, dropped = (tuple(row for row in rows if (row.name in chosen) is there) for there in (True, False))
    return PseudoLabels(store.set, kept, dropped, head.classes, head.palette)


def _labelled(
    names: Sequence[str],
    pictures: dict[str, Path],
    readers: Sequence[Reader],
    head: PixelEnsemble,
    side: int | None,
    **reading: Any,
) -> Iterator[tuple[str, Parts]]:
    if names:
        paths = [pictures[name] for name in names]
        for name, buckets in zip(names, stream_together(readers, paths, title="to label", **reading), strict=True):
            yield name, head.predict(buckets, side=side)


def _mask_png(parts: Parts, palette: Sequence[Sequence[int]] | None, mark: str) -> bytes:
    """A mask as an indexed PNG, or a grey one where nobody gave colours, that says what it was made of."""
    picture = Image.fromarray(np.ascontiguousarray(parts.mask))
    if palette is not None:
        table = np.full((256, 3), _WHITE, np.uint8)
        table[: len(palette)] = palette
        picture.putpalette(table.tobytes())
    said = PngInfo()
    said.add_text(_MARK, mark)
    said.add_text(_UNCERTAINTY, repr(float(parts.uncertainty.astype(np.float64).mean())))
    return _png(picture, pnginfo=said)


def _said(mask: Path) -> tuple[str, float]:
    """What a mask's file says of itself: its mark, "" if it is not ours, and the mean uncertainty."""
    try:
        with Image.open(mask, formats=("PNG",)) as opened:
            return str(opened.info[_MARK]), float(opened.info[_UNCERTAINTY])
    except Exception:  # a damaged file makes Pillow raise nearly anything, and is made again
        return "", float("inf")


def _png(picture: Image.Image | np.ndarray, **options: Any) -> bytes:
    whole = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(whole, "PNG", **options)
    return whole.getvalue()


def _digest_of(path: Path) -> str:
    try:
        return open_photo(path).digest
    except BadInput:
        return ""
