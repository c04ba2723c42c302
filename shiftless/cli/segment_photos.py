"""`shiftless segment predict` and `label-next`: a head at work on photos without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shiftless.atomic import check_writable
from shiftless.cli.answer import say, write_json
from shiftless.cli.command import command
from shiftless.cli.flags import Batch, Captions, Device, Dtype, Fill, Offload, Quantise, writable
from shiftless.cli.segment import ANY_HEAD, HEAD, Models, Side, Stride, segment
from shiftless.cli.segmented import (
    PHOTOS,
    MasksOnly,
    SegmentedOut,
    fail,
    palette_of,
    places_in,
    places_of,
    write_segmented,
)
from shiftless.cli.segmenters import open_segmenter
from shiftless.errors import BadInput


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
    out: SegmentedOut = Path("segmented"),
    model: Models = [],  # noqa: B006
    masks_only: MasksOnly = False,
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
    places = places_in(photos, out)
    how: dict[str, Any] = {"device": device, "dtype": dtype, "offload": offload, "quantise": quantise}
    how |= {"fill": fill, "captions": captions, "batch": batch}
    segmenter = open_segmenter(head, model, photos, side=side, stride=stride, **how)
    write_segmented(segmenter, places, out, masks_only=masks_only)


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
    paths = list(places_of(photos))
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
        say(f"written: {segmentation_page(out, shown, segmenter.classes, palette_of(segmenter), title=title)}")
    fail(failed)
