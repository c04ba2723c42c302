"""`shiftless segment predict` and `label-next`: a head at work on photos without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless.atomic import check_writable
from shiftless.cli import say_error
from shiftless.cli.answer import say, write_json
from shiftless.cli.command import command
from shiftless.cli.flags import Batch, Captions, Device, Dtype, Fill, Offload, Quantise, writable
from shiftless.cli.segment import ANY_HEAD, HEAD, Models, Side, Stride, segment
from shiftless.cli.segmenters import Segmenter, open_segmenter
from shiftless.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

PHOTOS = "Pictures, or folders of them."
MASKS, OVERLAYS, DOUBTS, AREAS = "masks", "overlays", "uncertainty", "areas.csv"


@command(
    segment,
    examples=(
        "shiftless segment predict photos/ --head head.safetensors --out segmented",
        "shiftless segment predict a.jpg b.jpg --head head.safetensors --masks-only",
        "shiftless segment predict photos/ --head head.safetensors --side 512 --out fine",
    ),
)
def predict(
    photos: Annotated[list[Path], typer.Argument(help=PHOTOS)],
    head: Annotated[Path, typer.Option("--head", help=ANY_HEAD)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for masks and pictures.")] = Path("segmented"),
    model: Models = [],  # noqa: B006
    masks_only: Annotated[bool, typer.Option("--masks-only", help="No overlays, uncertainty maps and page.")] = False,
    side: Side = 256,
    stride: Stride = None,
    fill: Fill = None,
    captions: Captions = None,
    batch: Batch = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Segment photos: masks as indexed PNG, overlays, maps of uncertainty, areas as CSV, and a page to look at.

    Run again, it continues where it stopped: a photo whose mask was made by the same head, or the same network, is not
    read again. Masks are of the photo's own size, and name their classes in order by the palette. A photo that cannot
    be read is listed at the end, and the exit code is then 2.
    """
    import numpy as np

    from shiftless.digest import digest_of
    from shiftless.image import open_photo
    from shiftless.progress import notice
    from shiftless.view.areas import areas_file
    from shiftless.view.segmentation import indexed_png, overlay, uncertainty_picture
    from shiftless.view.segmentation_page import LeastCertain, SegmentedPhoto, segmentation_page

    places = _places(photos)
    check_writable(out / AREAS, out / MASKS / "a.png")
    how: dict[str, Any] = {"device": device, "dtype": dtype, "offload": offload, "quantise": quantise}
    how |= {"fill": fill, "captions": captions, "batch": batch}
    segmenter = open_segmenter(head, model, photos, side=side, stride=stride, **how)
    palette, classes = np.array(_palette(segmenter)), segmenter.classes
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
    _fail(failed)


@command(
    segment,
    "label-next",
    examples=(
        "shiftless segment label-next photos/ --head head.safetensors --number 10",
        "shiftless segment label-next photos/ --head head.safetensors --diversity 0",
        "shiftless segment label-next photos/ --head head.safetensors --labelled labelled/ --json next.json --out next",
    ),
)
def label_next(
    photos: Annotated[list[Path], typer.Argument(help=PHOTOS)],
    head: Annotated[Path, typer.Option("--head", help=f"{HEAD[:-1]}, or the folder of `segment train`.")],
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many to choose.")] = 10,
    labelled: Annotated[
        Path | None, typer.Option(help="The photos that are labelled already: what resembles them waits.")
    ] = None,
    diversity: Annotated[
        float, typer.Option(min=0, max=10, help="0 takes the most uncertain, large values the most different.")
    ] = 1.0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for a page that shows the choice.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the choice here.", callback=writable)] = None,
    model: Models = [],  # noqa: B006
    side: Side = 128,
    stride: Stride = None,
    fill: Fill = None,
    captions: Captions = None,
    batch: Batch = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Choose which photos to label next: those that the head is least sure of, and that differ from each other.

    Labels are what is scarce: ten photos chosen so teach a head more than ten that resemble those labelled already.
    """
    import numpy as np

    from shiftless.data.labelled import read_labelled
    from shiftless.image import open_photo
    from shiftless.tasks.labelnext import label_next as choose
    from shiftless.view.segmentation_page import SegmentedPhoto, segmentation_page

    if out is not None:
        check_writable(out / "index.html")
    paths = list(_places(photos))
    known = [] if labelled is None else [one.photo for one in read_labelled(labelled)]
    how: dict[str, Any] = {"device": device, "dtype": dtype, "offload": offload, "quantise": quantise}
    how |= {"fill": fill, "captions": captions, "batch": batch}
    segmenter = open_segmenter(head, model, photos, side=side, stride=stride, **how)
    if not segmenter.described:
        raise BadInput(f"{head}: a network, not a head; give the file that `segment fit` wrote")
    failed: list[str] = []
    names, doubts, vectors = [], [], []
    for path, parts in segmenter.predicted(paths, failed):
        names.append(str(path))
        doubts.append(float(parts.uncertainty.mean()))
        vectors.append(parts.descriptor)
    described = [parts.descriptor for _, parts in segmenter.predicted(known)]
    chosen = choose(
        names, doubts, np.stack(vectors), number, labelled=np.stack(described) if described else None,
        labelled_names=[str(one) for one in known], diversity=diversity,
    )  # fmt: skip
    for place, one in enumerate(chosen, 1):
        typer.echo(f"{place:3d}  {one.name}  ({one.reason()})")
    write_json(json, [vars(one) | {"distance": one.distance if one.nearest else None} for one in chosen])
    if out is not None:
        shown = []
        for path, parts in segmenter.predicted([Path(one.name) for one in chosen]):
            shown.append(SegmentedPhoto(str(path), open_photo(path).array, parts.mask, parts.uncertainty).shrunk())
        title = f"{len(chosen)} photos to label next"
        say(f"written: {segmentation_page(out, shown, segmenter.classes, _palette(segmenter), title=title)}")
    _fail(failed)


def _places(photos: Sequence[Path]) -> dict[Path, Path]:
    """Where each photo's mask goes inside the folder of masks; two photos of one name are refused."""
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


def _palette(head: Segmenter) -> list[list[int]]:
    """The head's colours; a head that was saved without has those of its classes' number."""
    from shiftless.data.palette import class_colours

    colours: list[list[int]] = head.palette or class_colours(head.classes).tolist()
    return colours


def _fail(messages: Sequence[str]) -> None:
    for message in messages:
        say_error(message)
    if messages:
        raise typer.Exit(2)
