"""`shiftless segment words` and `clusters`: photos segmented without a label or any training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless.cli.command import command
from shiftless.cli.flags import MODEL, Batch, Device, Dtype, Model, Offload, Quantise
from shiftless.cli.segment import segment
from shiftless.cli.segmented import PHOTOS, MasksOnly, SegmentedOut, places_in, write_segmented
from shiftless.errors import BadInput

if TYPE_CHECKING:
    from shiftless.segmenting import Untrained
    from shiftless.tasks.parts import Parts

CLASSES = "The classes' names, as sky,road,car; or a file: classes.json, or classes.txt with a name a line."
CLIP = "Of maskclip and odise: the folder of a CLIP in transformers' layout, with its tokenizer."
HEAD = "Of odise: the folder that `segment train --head mask2former --clip` wrote; its CLIP must be this one."
LEAST = "Of maskclip: drop classes that no cell shows with this probability (prompt denoising)."
METHOD = (
    "maskclip (needs --clip), goca (a diffusion model's attention to the names; needs --model), or odise (masks that a "
    "trained head proposes; needs --head and --clip)."
)
NEEDS = {"maskclip": ("--clip",), "goca": ("--model",), "odise": ("--head", "--clip")}
ALPHA = "Of odise: how much CLIP counts for names that the head was trained with."
BETA = "Of odise: how much CLIP counts for other names."
TIMES = "Of goca: how often scores are refined by self-attention."
COST = "Cut a segment in two where the normalised cost is below this."
TAP = "Where features are read; by default the encoder's coarsest transformer."
Classes = Annotated[str, typer.Option(help=CLASSES)]


@command(
    segment,
    examples=(
        "shiftless segment words photos/ --classes sky,road,car,tree --clip clip-vit-base-patch16",
        "shiftless segment words street.jpg --classes classes.txt --clip clip-vit-base-patch16 --least 0.5 --out words",
        "shiftless segment words street.jpg --classes sky,road,car --method goca --model sd15",
        "shiftless segment words a.jpg --classes sky,road,tram --method odise --head net --clip clip-vit-large-patch14",
    ),
)
def words(
    photos: Annotated[list[Path], typer.Argument(help=PHOTOS)],
    classes: Classes,
    method: Annotated[str, typer.Option(help=METHOD)] = "maskclip",
    clip: Annotated[Path | None, typer.Option(help=CLIP)] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help=f"Of goca: {MODEL}")] = None,
    head: Annotated[Path | None, typer.Option(help=HEAD)] = None,
    out: SegmentedOut = Path("segmented"),
    masks_only: MasksOnly = False,
    smooth: Annotated[bool, typer.Option("--smooth", help="Of maskclip: smooth by the similarity of keys.")] = False,
    least: Annotated[float, typer.Option(min=0, max=0.999, help=LEAST)] = 0.0,
    times: Annotated[int, typer.Option(min=0, help=TIMES)] = 1,
    alpha: Annotated[float, typer.Option(min=0, max=1, help=ALPHA)] = 0.3,
    beta: Annotated[float, typer.Option(min=0, max=1, help=BETA)] = 0.7,
    batch: Batch = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Segment photos into classes that are given by their names alone.

    A CLIP says of every cell which name fits it best (MaskCLIP), or a diffusion model attends to the names in its
    prompt (GoCA); both without labels or training. Or a head that was trained on other photos, with these names or
    others, proposes masks, and it and a CLIP say which name fits each (ODISE). Masks and pictures are those of
    `segment predict`.
    """
    if method not in NEEDS:
        raise BadInput(f"--method {method}: must be one of {', '.join(NEEDS)}")
    given = {"--clip": clip, "--model": model, "--head": head}
    if {flag for flag, value in given.items() if value is not None} != set(NEEDS[method]):
        others = [flag for flag in given if flag not in NEEDS[method]]
        raise BadInput(f"--method {method}: takes {' and '.join(NEEDS[method])} and no {' or '.join(others)}")
    names = names_in(classes)
    places = places_in(photos, out)
    how: dict[str, Any] = {"device": device, "dtype": dtype, "offload": offload, "quantise": quantise}
    if head is not None:
        segmentor = _by_head(head, Path(str(clip)), names, alpha, beta, batch, how)
    elif clip is not None:
        segmentor = _by_clip(clip, device, names, smooth, least)
    else:
        segmentor = _by_model(str(model), names, times, batch, how)
    write_segmented(ByMethod(segmentor), places, out, masks_only=masks_only)


@command(
    segment,
    examples=(
        "shiftless segment clusters photos/ --model sd15",
        "shiftless segment clusters a.jpg --model sd15 --cost 0.7 --most 12 --out parts",
        "shiftless segment clusters photos/ --model sd21 --dtype fp16 --masks-only",
    ),
)
def clusters(
    photos: Annotated[list[Path], typer.Argument(help=PHOTOS)],
    model: Model = "mini",
    out: SegmentedOut = Path("segmented"),
    masks_only: MasksOnly = False,
    cost: Annotated[float, typer.Option(min=0.001, help=COST)] = 0.5,
    power: Annotated[float, typer.Option(min=0.1, help="Of the affinities between cells.")] = 10.0,
    most: Annotated[int, typer.Option(min=2, max=255, help="Segments of a photo, at most.")] = 32,
    tap: Annotated[str | None, typer.Option(help=TAP)] = None,
    batch: Batch = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Part photos into segments without names, by how alike a diffusion model's features are: no labels, no training.

    Segments are cut in two again and again, at the least normalised cost, until that is too much (DiffCut). Their
    numbers are each photo's own. Masks and pictures are those of `segment predict`; there is no uncertainty.
    """
    from shiftless.backbones.registry import load
    from shiftless.segmenting import NormalisedCuts
    from shiftless.segmenting.diffcut import diffcut_recipe

    places = places_in(photos, out)
    loaded = load(model, device=device, dtype=dtype, offload=offload, quantise=quantise)
    method = NormalisedCuts(loaded, diffcut_recipe(loaded, tap), most_cost=cost, power=power, most=most, batch=batch)
    write_segmented(ByMethod(method), places, out, masks_only=masks_only)


def _by_clip(clip: Path, device: str, names: list[str], smooth: bool, least: float) -> Untrained:
    from shiftless.backbones.clip_folder import open_clip
    from shiftless.segmenting import MaskClip

    return MaskClip(open_clip(clip, device), names, smooth=smooth, least=least)


def _by_head(
    head: Path, clip: Path, names: list[str], alpha: float, beta: float, batch: int | None, how: dict[str, Any]
) -> Untrained:
    from shiftless.backbones.clip_folder import open_clip
    from shiftless.cli.segmenters import scene_head_in, scene_reader
    from shiftless.segmenting import Odise

    trained = scene_head_in(head)
    opened = open_clip(clip, how["device"])
    reader = scene_reader(trained, head, **how)
    return Odise(trained.to(reader.model.device), reader, opened, names, alpha=alpha, beta=beta, batch=batch)


def _by_model(model: str, names: list[str], times: int, batch: int | None, how: dict[str, Any]) -> Untrained:
    from shiftless.backbones.registry import load
    from shiftless.segmenting import WordAttention

    return WordAttention(load(model, **how), names, times=times, batch=batch)


def names_in(classes: str) -> list[str]:
    """Return the names that --classes gives: those of a file, or those between commas."""
    from shiftless.data.classlist import class_document, class_list

    path = Path(classes)
    if path.suffix not in (".json", ".txt"):
        return [name.strip() for name in classes.split(",")]
    document = class_document(path)
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
