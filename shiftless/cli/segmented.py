"""What segments photos without labels writes: masks, overlays, maps of uncertainty, areas and a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from shiftless.atomic import check_writable
from shiftless.cli import say_error
from shiftless.cli.answer import say
from shiftless.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

    from shiftless.tasks.parts import Parts

PHOTOS = "Pictures, or folders of them."
MASKS, OVERLAYS, DOUBTS, AREAS = "masks", "overlays", "uncertainty", "areas.csv"
SegmentedOut = Annotated[Path, typer.Option("--out", "-o", help="Folder for masks and pictures.")]
MasksOnly = Annotated[bool, typer.Option("--masks-only", help="No overlays, uncertainty maps and page.")]


class Predicts(Protocol):
    """What says what every pixel of photos shows; a `shiftless.cli.segmenters.Segmenter` is one."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, class 0 first."""

    @property
    def palette(self) -> list[list[int]] | None:
        """Their colours; None takes those of their number."""

    @property
    def mark(self) -> str:
        """Tells its masks from those of others."""

    def predicted(self, photos: Sequence[Any], skipped: list[str] | None = None) -> Iterator[tuple[Any, Parts]]:
        """Yield each photo's path and parts."""


def places_in(photos: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Return where each photo's mask goes inside the folder of masks; raises BadInput unless `out` can be written."""
    places = places_of(photos)
    check_writable(out / AREAS, out / MASKS / "a.png")
    return places


def write_segmented(segmenter: Predicts, places: Mapping[Path, Path], out: Path, *, masks_only: bool) -> None:
    """Segment the photos whose masks are not there yet, write what is asked for, and say what was written.

    Photos that cannot be read are listed at the end; the exit code is then 2.
    """
    import numpy as np

    from shiftless.digest import digest_of
    from shiftless.image import open_photo
    from shiftless.progress import notice
    from shiftless.view.areas import areas_file
    from shiftless.view.segmentation import indexed_png, overlay, uncertainty_picture
    from shiftless.view.segmentation_page import LeastCertain, SegmentedPhoto, segmentation_page

    palette, classes = np.array(palette_of(segmenter)), segmenter.classes
    failed: list[str] = []
    unread: list[Path] = []
    marks: dict[Path, str] = {}
    for path in places:
        try:
            marks[path] = digest_of(segmenter.mark, open_photo(path).digest)
        except BadInput as error:
            failed.append(str(error))
            continue
        if _mark_of(out / MASKS / places[path]) != marks[path]:
            unread.append(path)
    least = LeastCertain()
    for path, parts in segmenter.predicted(unread):
        mask = out / MASKS / places[path]
        if not masks_only:
            photo = open_photo(path).array
            _picture(out / OVERLAYS / places[path], overlay(photo, parts.mask, palette))
            _picture(out / DOUBTS / places[path], uncertainty_picture(photo, parts.uncertainty))
            least.add(SegmentedPhoto(str(path), photo, parts.mask, parts.uncertainty))
        indexed_png(parts.mask, palette, mask, {"shiftless": marks[path]})  # last: what it stands for is there
    areas = np.zeros(len(classes), np.int64)
    with areas_file(out / AREAS, classes) as add:
        for path in marks:
            counts = np.bincount(_mask_at(out / MASKS / places[path]).ravel(), minlength=256)[: len(classes)]
            add(str(path), counts)
            areas += counts
    already = len(marks) - len(unread)
    notice(f"{len(unread)} segmented into {out}" + (f", {already} were there already" if already else ""))
    if least.photos:
        page = segmentation_page(out, least.photos, classes, palette, total=len(marks), areas=areas)
        say(f"written: {page}")
    say(f"written: {out / AREAS}")
    fail(failed)


def places_of(photos: Sequence[Path]) -> dict[Path, Path]:
    """Return where each photo's mask goes inside the folder of masks; two photos of one name are refused."""
    from shiftless.image import list_photos

    places: dict[Path, Path] = {}
    taken: dict[Path, Path] = {}
    for place in photos:
        for path in list_photos(place):
            inside = path.relative_to(place) if place.is_dir() else Path(path.name)
            target = inside.with_suffix(".png")
            if target in taken and taken[target] != path:
                raise BadInput(f"{path} and {taken[target]}: both masks would be {target}; segment them one by one")
            taken[target] = path
            places[path] = target
    return places


def _mark_of(mask: Path) -> str:
    """What a mask was made from, as its file says; "" if it is not here, or not ours."""
    from PIL import Image

    try:
        with Image.open(mask, formats=("PNG",)) as opened:
            return str(opened.info.get("shiftless", ""))
    except (OSError, ValueError, SyntaxError):
        return ""


def _mask_at(path: Path) -> np.ndarray:
    import numpy as np
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as opened:
        return np.array(opened)


def _picture(path: Path, pixels: np.ndarray) -> None:
    """Write a picture as JPEG in the place of a mask's name."""
    import io

    from PIL import Image

    from shiftless.atomic import write_atomic

    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, "JPEG", quality=92)
    write_atomic(path.with_suffix(".jpg"), whole.getvalue())


def palette_of(head: Predicts) -> list[list[int]]:
    """Return the colours of a segmenter's classes; one without colours has those of their number."""
    from shiftless.data.palette import class_colours

    colours: list[list[int]] = head.palette or class_colours(head.classes).tolist()
    return colours


def fail(messages: Sequence[str]) -> None:
    """Say what is wrong with some photos, if anything, and end with exit code 2."""
    for message in messages:
        say_error(message)
    if messages:
        raise typer.Exit(2)
