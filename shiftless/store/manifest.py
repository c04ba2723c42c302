"""Manifest: what a store has published, the zarr.json at its root, which is replaced as a whole at each commit.

It holds the metadata of every array ("consolidated metadata", as zarr-python calls it), so that one file says how many
photos each array has. The zarr.json of a single group or array is a copy; one that is behind shows less, never half.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.store.group import ZARR_DTYPES, Group, check_name, tap_attributes
from shiftless.store.place import ROOT, Place
from shiftless.store.row import COLUMNS, ROWS

NAME = ROOT
VERSION = 1
Document = dict[str, Any]
_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
_SUM = {"name": "crc32c"}


@dataclass
class Published:
    """A group, the name that it lies under, and how many of its rows are published."""

    group: Group
    name: str
    rows: int


@dataclass
class Manifest:
    """What a store holds; an empty one has no group.

    commit  how many times something was published
    groups  by their keys, in the order in which they came
    """

    commit: int = 0
    groups: dict[str, Published] = field(default_factory=dict)

    @classmethod
    def read(cls, place: Place) -> Manifest:
        """Read what is published at a place; raises FileNotFoundError, or BadInput for another or a damaged store."""
        try:
            root = json.loads(place.read(NAME))
            about = root["attributes"]["shiftless"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadInput(f"{place.name}: {_not_ours(place)}") from None
        metadata = root.get("consolidated_metadata", {}).get("metadata", {})
        if about.get("version") != VERSION:
            raise BadInput(f"{place.name}: written by another version of shiftless; read it with that one")
        if about.get("digest") != digest_of(metadata):
            raise BadInput(f"{place.name}: its {NAME} is damaged; rebuild it: shiftless store repair {place.name}")
        return cls(int(about["commit"]), dict(_groups(metadata, place.name)))

    @classmethod
    def opened(cls, place: Place) -> Manifest:
        """Read what is published at a place where a store must be; raises BadInput if there is none."""
        try:
            return cls.read(place)
        except FileNotFoundError:
            reason = _not_ours(place) if _used(place) else "no such store; shiftless extract --out NAME.zarr writes one"
            raise BadInput(f"{place.name}: {reason}") from None

    @classmethod
    def of(cls, place: Place) -> Manifest:
        """Read what is published at a place, an empty manifest if nothing is."""
        try:
            return cls.read(place)
        except FileNotFoundError:
            if _used(place):
                raise BadInput(f"{place.name}: {_not_ours(place)}") from None
            return cls()

    @classmethod
    def rebuilt(cls, place: Place) -> Manifest:
        """Put a manifest together from the copies beside the arrays, for a store whose own is lost or damaged."""
        metadata: Document = {}
        for name in place.names():
            for key in (name, *(f"{name}/{inner}" for inner in place.names(name))):
                try:
                    metadata[key] = json.loads(place.read(f"{key}/{NAME}"))
                except (FileNotFoundError, ValueError):
                    continue
        found: dict[str, Published] = {}
        for name in [key for key in metadata if "/" not in key]:
            whole = {key: value for key, value in metadata.items() if key.split("/")[0] == name}
            try:
                found |= dict(_groups(whole, place.name))
            except BadInput:
                continue
        return cls(1, found)

    def name_for(self, group: Group) -> str:
        """Return the name that a new group gets: its usual one, unless another group has that."""
        usual = group.usual_name
        taken = {published.name for published in self.groups.values()}
        return usual if usual not in taken else f"{usual}-{group.key[:8]}"

    def publish(self, place: Place) -> None:
        """Put the manifest in its place: the one step by which everything that was written becomes visible."""
        self.commit += 1
        metadata = {key: value for one in self.groups.values() for key, value in documents(one)}
        for value in metadata.values():
            if value["node_type"] == "group":
                value["consolidated_metadata"] = _inline({})
        about = {"kind": "features", "version": VERSION, "commit": self.commit, "digest": digest_of(metadata)}
        root = {**_group({"shiftless": about}), "consolidated_metadata": _inline(metadata)}
        place.write(NAME, [_bytes(root)])

    def copy_out(self, place: Place) -> list[str]:
        """Bring the copies beside the arrays up to date; return the keys of those that were behind."""
        behind = []
        for one in self.groups.values():
            for key, value in documents(one):
                content = _bytes(value)
                try:
                    same = place.read(f"{key}/{NAME}") == content
                except FileNotFoundError:
                    same = False
                if not same:
                    behind.append(f"{key}/{NAME}")
                    place.write(behind[-1], [content])
        return behind


def documents(one: Published) -> Iterator[tuple[str, Document]]:
    """Yield the key and the Zarr metadata of a published group and of each of its arrays."""
    group = one.group
    yield one.name, _group({"shiftless": group.attributes()})
    for tap, node, shape, dtype in zip(group.taps, group.nodes, group.shapes, group.dtypes):
        each = [1, *shape]
        inner = {"chunk_shape": each, "codecs": [_LITTLE, _SUM], "index_codecs": [_LITTLE, _SUM]}
        codec = {"name": "sharding_indexed", "configuration": {**inner, "index_location": "end"}}
        dimensions = ["photo", *(f"{node}.{side}" for side in ("channel", "row", "column"))]
        fill = 0 if dtype == "uint8" else "NaN"
        about = _array(ZARR_DTYPES[dtype], [one.rows, *shape], [group.shard, *shape], [codec], dimensions, fill)
        yield f"{one.name}/{node}", {**about, "attributes": tap_attributes(tap)}
    for column, kind in COLUMNS.items():
        more, names = {"size": ([2], ["side"]), "checksum": ([len(group.taps)], ["tap"])}.get(column, ([], []))
        codecs = [{"name": "vlen-utf8", "configuration": {}} if kind == "string" else _LITTLE, _SUM]
        fill = "" if kind == "string" else 0
        yield f"{one.name}/{column}", _array(kind, [one.rows, *more], [ROWS, *more], codecs, ["photo", *names], fill)


def shard_key(one: Published, node: str, number: int) -> str:
    """Return the key of a tap's shard.

    >>> from shiftless.recipe import Recipe
    >>> from shiftless.header import Origin
    >>> shard_key(Published(Group(Recipe(), Origin(), (), (64, 64), (), (), 1), "64x64", 0), "up1", 3)
    '64x64/up1/c.3.0.0.0'
    """
    return f"{one.name}/{node}/c.{number}.0.0.0"


def column_key(one: Published, column: str, number: int) -> str:
    """Return the key of one file of a column."""
    return f"{one.name}/{column}/c.{number}" + (".0" if column in ("size", "checksum") else "")


def _groups(metadata: Document, name: str) -> Iterator[tuple[str, Published]]:
    for key, value in metadata.items():
        if "/" in key:
            continue
        try:
            check_name(key)
            group = Group.from_attributes(value["attributes"]["shiftless"])
            rows = int(metadata[f"{key}/key"]["shape"][0])
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise BadInput(f"{name}: {key} is no group of features ({reason}); shiftless store repair {name}") from None
        yield group.key, Published(group, key, rows)


def _array(dtype: str, shape: list[int], chunk: list[int], codecs: list[Any], names: list[str], fill: Any) -> Document:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": {},
        "dimension_names": names,
        "storage_transformers": [],
    }


def _group(attributes: Document) -> Document:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def _inline(metadata: Document) -> Document:
    return {"kind": "inline", "must_understand": False, "metadata": metadata}


def _bytes(document: Document) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def _used(place: Place) -> bool:
    return any(not name.startswith(".") for name in place.names())


def _not_ours(place: Place) -> str:
    return f"is there, but is no whole store of features; give another path, or: shiftless store repair {place.name}"
