"""Export: what a store shows, as NumPy files, as one HDF5 file, or as Parquet files."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shiftless.atomic import new_path
from shiftless.errors import BadInput
from shiftless.progress import Progress
from shiftless.store.contents import Maps, rows_of
from shiftless.store.manifest import Manifest, Published
from shiftless.store.place import Place
from shiftless.store.row import Row
from shiftless.store.shard import Damaged

TABLE = ("photo", "digest", "height", "width", "prompt")
"""The columns of the table that goes with the maps."""
_ROW_GROUP = 2**26  # bytes of a Parquet file that are read and written at once
Item = tuple[Row, list[np.ndarray]]


def export(
    place: Place,
    form: str,
    out: str | os.PathLike[str],
    groups: Sequence[str] = (),
    progress: Progress | None = None,
) -> None:
    """Write what a store shows in another form, whole or not at all.

    form      "npy": a folder with a folder for each group, and in that TAP.npy (N C H W), table.csv and recipe.toml;
              "h5": a file with a group for each group, and in that a dataset for each tap and column (needs h5py);
              "parquet": a folder with GROUP.parquet, one row a photo and each tap a tensor (needs pyarrow)
    groups    the names of those to write; all by default
    progress  counts rows

    Compressed maps are written as they are decoded, in float32. Photos that were taken out as damaged are left out.

    Raises BadInput for a store or group that is not there, a map that is damaged, a package that is missing, and an
    `out` that cannot be written.

    >>> from shiftless.store.place import place_of
    >>> export(place_of("none.zarr"), "csv", "none")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: 'csv': must be npy, h5 or parquet
    """
    if form not in WRITERS:
        raise BadInput(f"{form!r}: must be npy, h5 or parquet")
    chosen = _chosen(place, groups)
    with new_path(out) as path:
        try:
            WRITERS[form](path, place, chosen, progress)
        except Damaged as error:
            raise BadInput(f"{place.name}: {error}; repair it: shiftless store repair {place.name}") from None


def _chosen(place: Place, names: Sequence[str]) -> list[Published]:
    known = {one.name: one for one in Manifest.opened(place).groups.values()}
    if missing := [name for name in names if name not in known]:
        raise BadInput(f"{place.name}: no group {missing[0]!r}; it has {', '.join(known)}")
    return [known[name] for name in names or known]


def _to_npy(path: Path, place: Place, groups: Sequence[Published], progress: Progress | None) -> None:
    for one in groups:
        folder = path / one.name
        folder.mkdir(parents=True)
        (folder / "recipe.toml").write_text(one.group.recipe.to_toml() + "\n", encoding="utf-8")
        count = _count(place, one)
        arrays = [
            np.lib.format.open_memmap(folder / f"{node}.npy", "w+", dtype, (count, *shape))
            for node, (dtype, shape) in zip(one.group.nodes, _decoded(place, one))
        ]
        with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(TABLE)
            for i, (row, maps) in enumerate(_items(place, one, progress)):
                table.writerow(_values(row))
                for array, value in zip(arrays, maps):
                    array[i] = value
        for array in arrays:
            array.flush()


def _to_h5(path: Path, place: Place, groups: Sequence[Published], progress: Progress | None) -> None:
    try:
        import h5py
    except ImportError:
        raise BadInput('h5 needs h5py; install it with: pip install "shiftless[store]"') from None
    with h5py.File(path, "w") as file:
        for one in groups:
            group, count = file.create_group(one.name), _count(place, one)
            group.attrs["recipe"] = one.group.recipe.to_toml()
            arrays = [
                group.create_dataset(node, (count, *shape), dtype, chunks=(1, *shape))
                for node, (dtype, shape) in zip(one.group.nodes, _decoded(place, one))
            ]
            rows = []
            for i, (row, maps) in enumerate(_items(place, one, progress)):
                rows.append(_values(row))
                for array, value in zip(arrays, maps):
                    array[i] = value
            for name, column in zip(TABLE, zip(*rows)):
                kind = np.int32 if isinstance(column[0], int) else h5py.string_dtype()
                group.create_dataset(name, data=list(column), dtype=kind)


def _to_parquet(path: Path, place: Place, groups: Sequence[Published], progress: Progress | None) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise BadInput('parquet needs pyarrow; install it with: pip install "shiftless[store]"') from None
    path.mkdir()
    for one in groups:
        group = one.group
        decoded = _decoded(place, one)
        tensors = [pa.fixed_shape_tensor(pa.from_numpy_dtype(np.dtype(dtype)), shape) for dtype, shape in decoded]
        kinds = {"height": pa.int32(), "width": pa.int32()}
        fields = [pa.field(name, kinds.get(name, pa.string())) for name in TABLE]
        fields += [pa.field(tap.name, kind) for tap, kind in zip(group.taps, tensors)]
        schema = pa.schema(fields, metadata={"recipe": group.recipe.to_toml()})
        size = max(1, _ROW_GROUP // sum(np.dtype(d).itemsize * math.prod(shape) for d, shape in decoded))
        with pq.ParquetWriter(path / f"{one.name}.parquet", schema) as writer:
            batch: list[Item] = []
            for item in _items(place, one, progress):
                batch.append(item)
                if len(batch) == size:
                    writer.write_table(_table(batch, schema, pa))
                    batch = []
            if batch:
                writer.write_table(_table(batch, schema, pa))


def _table(batch: Sequence[Item], schema: Any, pa: Any) -> Any:
    """Photos as an Arrow table."""
    columns = [
        pa.array(list(values), field.type) for values, field in zip(zip(*(_values(r) for r, _ in batch)), schema)
    ]
    for tap, field in enumerate(list(schema)[len(TABLE) :]):
        flat = pa.array(np.concatenate([maps[tap].reshape(-1) for _, maps in batch]))
        storage = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(field.type.shape)))
        columns.append(pa.ExtensionArray.from_storage(field.type, storage))
    return pa.table(columns, schema=schema)


WRITERS: Mapping[str, Callable[[Path, Place, Sequence[Published], Progress | None], None]] = {
    "npy": _to_npy,
    "h5": _to_h5,
    "parquet": _to_parquet,
}


def _items(place: Place, one: Published, progress: Progress | None) -> Iterator[Item]:
    maps = Maps(place, one)
    for number, row in enumerate(rows_of(place, one)):
        if progress is not None:
            progress.advance()
        if row.key:
            yield row, [maps.array(tap, number, expected) for tap, expected in enumerate(row.checksums)]


def _count(place: Place, one: Published) -> int:
    return sum(1 for row in rows_of(place, one) if row.key)


def _values(row: Row) -> tuple[str | int, ...]:
    return row.photo, row.digest, *row.size, row.prompt


def _decoded(place: Place, one: Published) -> list[tuple[str, tuple[int, int, int]]]:
    """The dtype and shape of each tap's maps."""
    maps = Maps(place, one)
    return [maps.decoded(tap) for tap in range(len(one.group.taps))]
