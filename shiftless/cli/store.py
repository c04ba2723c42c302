"""`shiftless store`: what a Zarr store of features holds, whether it is whole, and other forms of it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftless.cli import app, say_error
from shiftless.cli.answer import say, show, write_json
from shiftless.cli.command import command
from shiftless.cli.flags import writable

if TYPE_CHECKING:
    from shiftless.store.manifest import Manifest
    from shiftless.store.place import Place

store = typer.Typer(
    help="Stores of features, as `shiftless extract --out NAME.zarr` writes them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(store, name="store", rich_help_panel="Look around")

STORE = "A store: a name.zarr, or an fsspec URL."
Store = Annotated[str, typer.Argument(help=STORE)]


@command(
    store,
    examples=(
        "shiftless store info features.zarr",
        "shiftless store info features.zarr --json features.json",
        "shiftless store info s3://bucket/features.zarr",
    ),
)
def info(
    path: Store,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write what is printed here as JSON.", callback=writable)
    ] = None,
) -> None:
    """List the groups of a store: photos, maps, recipe, and the space that they take."""
    from rich.table import Table

    from shiftless.progress import count
    from shiftless.store.recovery import waiting
    from shiftless.store.size import in_bytes

    place, manifest = _opened(path)
    table = Table(title=f"{path}, commit {manifest.commit}")
    for column in ("group", "photos", "maps", "size", "model", "recipe"):
        table.add_column(column, justify="right" if column in ("photos", "size") else "left", overflow="fold")
    rows: list[dict[str, Any]] = []
    for one in manifest.groups.values():
        group = one.group
        maps = {
            tap.name: {"shape": list(shape), "dtype": dtype}
            for tap, shape, dtype in zip(group.taps, group.shapes, group.dtypes)
        }
        lines = [group.compress] if group.compress != "none" else []
        lines += [f"{name} {'x'.join(map(str, about['shape']))} {about['dtype']}" for name, about in maps.items()]
        size, recipe, model = one.rows * group.bytes_each, group.recipe.to_toml(), group.origin.model
        table.add_row(one.name, f"{one.rows:,}", "\n".join(lines), in_bytes(size), model, recipe)
        rows.append({
            "group": one.name, "photos": one.rows, "maps": maps, "bytes": size, "model": model,
            "fingerprint": group.origin.fingerprint, "adapters": dict(group.origin.adapters), "recipe": recipe,
            "fed": list(group.fed), "shard": group.shard,
            "compress": group.compress,
        })  # fmt: skip
    show(table)
    left = waiting(place.path)
    say(f"{in_bytes(sum(row['bytes'] for row in rows))} of maps")
    if left:
        say(f"{count(left, 'photo')} {_wait(left)} to be published: by the run that goes on, or shiftless store repair")
    write_json(json, {"store": path, "commit": manifest.commit, "waiting": left, "groups": rows})


@command(
    store,
    examples=(
        "shiftless store verify features.zarr",
        "shiftless store verify features.zarr --json faults.json",
        "shiftless store verify s3://bucket/features.zarr -q",
    ),
)
def verify(
    path: Store,
    json: Annotated[Path | None, typer.Option("--json", help="Write the faults here.", callback=writable)] = None,
) -> None:
    """Read every map of a store and compare it with its checksum; exit code 2 if something is damaged."""
    from shiftless.progress import Progress, count
    from shiftless.store.size import in_bytes
    from shiftless.store.verify import verify as check

    place, manifest = _opened(path)
    with Progress(f"verifying {path}", sum(one.rows for one in manifest.groups.values()), "reading") as step:
        found = check(place, manifest, step)
    for fault in found.faults:
        say_error(fault.what)
    if found.behind:
        say(f"{len(found.behind)} copies of metadata are older than {path}/zarr.json; shiftless store repair {path}")
    what = f"{count(found.photos, 'reading')}, {in_bytes(found.bytes)}"
    say(f"{what}: {count(len(found.faults), 'fault')}" if found.faults else f"{what}: whole")
    faults = [{"group": fault.group, "what": fault.what, "rows": list(fault.rows)} for fault in found.faults]
    write_json(json, {"store": path, "readings": found.photos, "faults": faults, "behind": found.behind})
    if found.faults:
        say(f"take out what is damaged, to be read again: shiftless store repair {path}")
        raise typer.Exit(2)


@command(
    store,
    examples=(
        "shiftless store repair features.zarr",
        "shiftless store repair features.zarr --json lost.json",
        "shiftless store repair /data/features.zarr -q",
    ),
)
def repair(
    path: Store,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write here what was taken out.", callback=writable)
    ] = None,
) -> None:
    """Make a store whole: publish what killed runs left, and take out what is damaged, to be read again.

    What is whole is kept. A manifest (zarr.json) that is lost is rebuilt.
    """
    from shiftless.progress import Progress, count
    from shiftless.store.place import place_of
    from shiftless.store.repair import repair as mend

    result = mend(place_of(path), lambda rows: Progress(f"verifying {path}", rows, "reading"))
    if result.rebuilt:
        say("zarr.json was rebuilt")
    if result.recovered:
        say(f"{count(result.recovered, 'reading')} published that an earlier run had left")
    if result.copies:
        say(f"{result.copies} copies of metadata written anew")
    for group, photo in result.lost:
        say(f"taken out: {photo or 'a photo whose name is lost'} of {group}")
    say(f"{count(len(result.lost), 'reading')} to extract again" if result.lost else f"{path} is whole")
    write_json(json, {"store": path, "lost": [{"group": group, "photo": photo} for group, photo in result.lost]})


@command(
    store,
    examples=(
        "shiftless store merge part-0.zarr part-1.zarr --out features.zarr",
        "shiftless store merge features.zarr --out s3://bucket/features.zarr",
        "shiftless store merge repaired.zarr --out clean.zarr",
    ),
)
def merge(
    paths: Annotated[list[str], typer.Argument(help="Stores: names, or fsspec URLs.")],
    out: Annotated[str, typer.Option("--out", "-o", help="The store that they are added to; made if it is new.")],
) -> None:
    """Add the photos of stores to one store, such as those that several machines wrote.

    Photos that are there already are left out. All become visible at once, at the end.
    """
    from shiftless.progress import Progress, count
    from shiftless.store.merge import merge as join
    from shiftless.store.merge import rows_in
    from shiftless.store.place import place_of

    sources, target = [place_of(path) for path in paths], place_of(out)
    rows = rows_in(sources)
    with Progress(f"merging {count(len(paths), 'store')} into {out}", rows, "reading") as step:
        added = join(sources, target, step)
    say(f"{count(added, 'reading')} added to {out}" + (f", {rows - added} were there already" if rows > added else ""))


@command(
    store,
    examples=(
        "shiftless store export npy features.zarr --out features",
        "shiftless store export h5 features.zarr --out features.h5",
        "shiftless store export parquet features.zarr --out tables --group 512x512",
    ),
)
def export(
    form: Annotated[str, typer.Argument(metavar="FORM", help="npy, h5 or parquet.")],
    path: Store,
    out: Annotated[Path, typer.Option("--out", "-o", help="A file for h5, a folder for npy and parquet.")],
    group: Annotated[list[str], typer.Option(help="A group to write; repeat for more.", show_default="all")] = [],  # noqa: B006
) -> None:
    """Write a store as NumPy files, as one HDF5 file, or as Parquet files with a row for each photo."""
    from shiftless.progress import Progress
    from shiftless.store.export import export as write

    place, manifest = _opened(path)
    rows = sum(one.rows for one in manifest.groups.values() if not group or one.name in group)
    with Progress(f"writing {out}", rows, "reading") if rows else nullcontext() as step:
        write(place, form, out, group, step)
    say(f"written: {out}")


def _opened(path: str) -> tuple[Place, Manifest]:
    from shiftless.store.manifest import Manifest
    from shiftless.store.place import place_of

    place = place_of(path)
    return place, Manifest.opened(place)


def _wait(number: int) -> str:
    return "waits" if number == 1 else "wait"
