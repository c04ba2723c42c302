"""`shiftless segment words`: classes that are named in words, without a label or any training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless.cli.command import command
from shiftless.cli.flags import Device
from shiftless.cli.segment import segment
from shiftless.cli.segmented import PHOTOS, MasksOnly, SegmentedOut, places_in, write_segmented
from shiftless.errors import BadInput

if TYPE_CHECKING:
    from shiftless.segmenting import Untrained
    from shiftless.tasks.parts import Parts

CLASSES = "The classes' names, as sky,road,car; or a file: classes.json, or classes.txt with a name a line."
CLIP = "Of maskclip: the folder of a CLIP in transformers' layout, with its tokenizer."
LEAST = "Of maskclip: drop classes that no cell shows with this probability (prompt denoising)."
Classes = Annotated[str, typer.Option(help=CLASSES)]


@command(
    segment,
    examples=(
        "shiftless segment words photos/ --classes sky,road,car,tree --clip clip-vit-base-patch16",
        "shiftless segment words street.jpg --classes classes.txt --clip clip-vit-base-patch16 --least 0.5 --out words",
    ),
)
def words(
    photos: Annotated[list[Path], typer.Argument(help=PHOTOS)],
    classes: Classes,
    clip: Annotated[Path, typer.Option(help=CLIP)],
    out: SegmentedOut = Path("segmented"),
    masks_only: MasksOnly = False,
    smooth: Annotated[bool, typer.Option("--smooth", help="Of maskclip: smooth by the similarity of keys.")] = False,
    least: Annotated[float, typer.Option(min=0, max=0.999, help=LEAST)] = 0.0,
    device: Device = "auto",
) -> None:
    """Segment photos into classes that are given by their names alone: no labels, no training.

    A CLIP says of every cell which name fits it best (MaskCLIP). Masks and pictures are those of `segment predict`.
    """
    from shiftless.backbones.clip_folder import open_clip
    from shiftless.segmenting import MaskClip

    names = names_in(classes)
    places = places_in(photos, out)
    method = MaskClip(open_clip(clip, device), names, smooth=smooth, least=least)
    write_segmented(ByMethod(method), places, out, masks_only=masks_only)


def names_in(classes: str) -> list[str]:
    """Return the names that --classes gives: those of a file, or those between commas."""
    from shiftless.data.classlist import class_list
    from shiftless.data.jsonfile import parse_json

    path = Path(classes)
    if path.suffix not in (".json", ".txt"):
        return [name.strip() for name in classes.split(",")]
    if path.suffix == ".txt":
        try:
            lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: cannot be read ({error}); give UTF-8 text, a name a line") from None
        return list(class_list([line.strip() for line in lines], str(path)).names)
    document = parse_json(path)
    return list(class_list(document.get("classes") if isinstance(document, dict) else document, str(path)).names)


class ByMethod:
    """What segments without labels, as `write_segmented` takes it."""

    palette: list[list[int]] | None = None

    def __init__(self, method: Untrained) -> None:
        self.method, self.classes, self.mark = method, method.classes, method.mark

    def predicted(self, photos: Sequence[Any], skipped: list[str] | None = None) -> Iterator[tuple[Any, Parts]]:
        """Yield each photo's path and parts."""
        by_name = {str(path): path for path in photos}
        for parts in self.method.segmented([*by_name], skipped=skipped, progress=bool(photos)):
            yield by_name[parts.name], parts
