"""`shiftless search`: where in the photos of a store is this part."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless.atomic import check_writable
from shiftless.cli import app
from shiftless.cli.answer import note_what_it_is_for, say, show, write_json
from shiftless.cli.command import command
from shiftless.cli.flags import MODEL, Captions, Device, Fill, Offload, Quantise, filler, writable
from shiftless.cli.read import BOX, POINT, numbers_of
from shiftless.errors import BadInput

if TYPE_CHECKING:
    from shiftless.image import Photo
    from shiftless.searching import Hit
    from shiftless.store.featurestore import FeatureStore
    from shiftless.view.hits import ShownHit


@command(
    app,
    panel="Read photos",
    examples=(
        "shiftless search features.zarr --photo query.jpg --at 120,80",
        "shiftless search features.zarr --photo query.jpg --region 90,40,160,110 --top 30 --out ears",
        "shiftless search features.zarr --photo query.jpg --at 120,80 --per-photo 3 --json ears.json",
    ),
)
def search(
    store: Annotated[str, typer.Argument(help="A store that `shiftless extract --out NAME.zarr` wrote, or its URL.")],
    photo: Annotated[Path, typer.Option("--photo", "-p", help="The photo that shows the part.")],
    at: Annotated[str | None, typer.Option(help="The part: a point as X,Y in the photo's own pixels.")] = None,
    region: Annotated[
        str | None, typer.Option(help="The part: a box as X0,Y0,X1,Y1, whose mean feature is sought.")
    ] = None,
    top: Annotated[int, typer.Option("--top", "-n", min=1, help="How many hits.")] = 12,
    per_photo: Annotated[int, typer.Option(min=1, help="How many of them one photo may have.")] = 1,
    itself: Annotated[bool, typer.Option("--itself", help="Search the photo itself too, where it is there.")] = False,
    flip: Annotated[
        bool,
        typer.Option("--flip", help="Seek the part of the mirrored photo too, for things that face opposite ways."),
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the page of hits.")] = Path("search"),
    taps: Annotated[
        str | None, typer.Option(help="Which maps are compared, comma-separated.", show_default="all of the store")
    ] = None,
    group: Annotated[list[str], typer.Option(help="A group to search; repeat for more.", show_default="all")] = [],  # noqa: B006
    refine: Annotated[str, typer.Option(help="soft (moved by a soft-argmax over neighbours), or cell.")] = "soft",
    engine: Annotated[
        str, typer.Option(help="torch reads the store as it compares; faiss builds an index in memory first.")
    ] = "torch",
    model: Annotated[str | None, typer.Option("--model", "-m", help=MODEL, show_default="the store's own")] = None,
    fill: Fill = None,
    captions: Captions = None,
    device: Device = "auto",
    dtype: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16.", show_default="the store's own")] = None,
    offload: Offload = "",
    quantise: Quantise = "",
    json: Annotated[Path | None, typer.Option("--json", help="Write the hits here as JSON.", callback=writable)] = None,
) -> None:
    """Find where a part of a photo is in all photos of a store; original pixels in, original pixels out.

    The photo is read with the very recipe of the store, by the model that the store was read with. Every cell of every
    photo is compared, and each photo has one hit, its best place. A store of several recipes is searched by
    one of them: choose its groups with --group (`shiftless store info` lists them).
    """
    from rich.table import Table

    from shiftless.backbones.registry import load
    from shiftless.image import mirror, open_photo
    from shiftless.progress import Progress, count, notice
    from shiftless.reading import extract
    from shiftless.searching import SearchIndex
    from shiftless.store.featurestore import FeatureStore
    from shiftless.store.pool import pooled
    from shiftless.view.hits import search_page

    point = None if at is None else numbers_of("--at", at, POINT)
    box = None if region is None else numbers_of("--region", region, BOX)
    if (point is None) == (box is None):
        raise BadInput("say which part is sought: give one of --at X,Y and --region X0,Y0,X1,Y1")
    check_writable(out / "index.html")
    query = open_photo(photo)
    kept = FeatureStore(store, groups=group or None)
    (recipe, origin) = (kept.recipes[0], kept.origins[0])
    values = filler([recipe], fill, captions, [photo])
    backbone = load(
        model or origin.model, device=device, dtype=dtype or origin.dtype or "auto", offload=offload, quantise=quantise
    )
    if backbone.fingerprint != origin.fingerprint:
        raise BadInput(
            f"{store}: was read with other weights ({origin.model}, {origin.fingerprint[:8]}) than those of "
            f"{model or origin.model} ({backbone.fingerprint[:8]}); give the model that it was read with as --model"
        )
    note_what_it_is_for(backbone)
    sought = [query, *([mirror(query)] if flip else [])]
    maps, *turned = [pooled(one, origin.pool) for one in extract(backbone, sought, recipe, fill=values)]
    chosen = None if taps is None else [tap.strip() for tap in taps.split(",") if tap.strip()]
    begun = time.monotonic()
    with Progress(f"searching {count(len(kept), 'photo')} of {store}", len(kept), "photo") as step:
        index = SearchIndex(kept, taps=chosen, engine=engine, keep=engine != "torch", progress=step)
        how: dict[str, Any] = {"top": top, "per_photo": per_photo, "refine": refine}
        how |= {"without": "" if itself else query.digest, "mirrored": turned[0] if flip else None}
        hits = index.search(maps, at=point, region=box, **how)
    notice(f"{count(len(kept), 'photo')} searched in {time.monotonic() - begun:.2f} s")
    part = f"({', '.join(f'{v:g}' for v in point or box or ())})"
    table = Table(title=f"{photo.name} {part} in {store}", caption=maps.describe())
    for column in ("", "photo", "x", "y", "cosine"):
        table.add_column(column, justify="left" if column == "photo" else "right", overflow="fold")
    for i, hit in enumerate(hits, 1):
        table.add_row(str(i), hit.photo, *(f"{v:.1f}" for v in hit.point), f"{hit.score:.3f}")
    show(table, 100)
    lead = f"{part} of {photo.name}, sought in {count(len(kept), 'photo')} of {store}"
    if hits:
        shown = [_shown(hit) for hit in hits]
        say(f"page: {search_page(out, query, shown, at=point, region=box, lead=lead, foot=recipe.to_toml())}")
    write_json(json, _plain(kept, query, point, box, hits))


def _shown(hit: Hit) -> ShownHit:
    """A hit with its photo, if the file is there and has the content that was read."""
    from shiftless.image import open_photo
    from shiftless.view.hits import ShownHit

    try:
        photo = open_photo(hit.photo)
    except BadInput:
        photo = None
    same = photo if photo is not None and photo.digest == hit.digest else None
    return ShownHit(hit.photo, same, hit.point, hit.score)


def _plain(
    store: FeatureStore, query: Photo, point: tuple[float, ...] | None, box: tuple[float, ...] | None, hits: list[Hit]
) -> dict[str, Any]:
    about = {"store": store.name, "photos": len(store), "photo": query.name, "at": point, "region": box}
    rows = [{"photo": hit.photo, "digest": hit.digest, "point": list(hit.point), "cosine": hit.score} for hit in hits]
    return {**about, "model": store.origins[0].model, "recipe": store.recipes[0].to_dict(), "hits": rows}
