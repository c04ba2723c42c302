"""Group: photos that were read in one way and whose maps have the same shapes, a Zarr group with one array a tap."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.header import SAVED, Origin, check_map, from_header, stored, to_header
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.store.key import LENGTH, key_of
from shiftless.store.row import COLUMNS, Row
from shiftless.store.transform import NONE, Compression, Transform
from shiftless.taps.names import Tap

ZARR_DTYPES = {"fp16": "float16", "fp32": "float32", "uint8": "uint8"}
"""What arrays of maps may hold; zarr-python has no bfloat16, and whole numbers are those of a transform."""
SAVED_IN = ("fp16", "fp32")
_NAMES = {**{dtype: name for name, dtype in SAVED.items()}, torch.uint8: "uint8"}
_BYTES = {"fp16": 2, "fp32": 4, "uint8": 1}
SHARD_BYTES = 2**28
"""About what a shard of the largest map takes; a larger file is no faster to read."""
_SHARD_ROWS = 1024
_UNSAFE = re.compile(r"[^\w.+=@-]+")  # in the name of a folder
_FIELDS = ("recipe", "taps", "origin")


@dataclass(frozen=True)
class Group:
    """What the photos of one Zarr group have in common.

    recipe  how they were read
    origin  what they were made from, without the photo
    taps    the maps' places in the model, in order
    fed     (h, w) in pixels at which the model saw them
    shapes  for each tap C H W of a photo's map on disk
    dtypes  for each tap "fp16", "fp32" or "uint8", of the values on disk
    shard   how many photos lie in one file
    compress, transform  how maps were compressed, and the digest of the transform that decodes them; "none" and ""
            where they were not

    >>> group = Group(Recipe(), Origin(model="sd15"), (Tap("up1", 8, 16, ""),), (64, 96), ((8, 4, 6),), ("fp16",), 32)
    >>> group.bytes_each, group.usual_name
    (384, '96x64')
    """

    recipe: Recipe
    origin: Origin
    taps: tuple[Tap, ...]
    fed: tuple[int, int]
    shapes: tuple[tuple[int, int, int], ...]
    dtypes: tuple[str, ...]
    shard: int
    compress: str = NONE
    transform: str = ""

    @property
    def reading(self) -> str:
        """Digest of how the photos were read: by which recipe, with what contents, at whatever size."""
        return digest_of(key_of(replace(self.origin, photo=""), self.recipe, (0, 0), "", ""), self.recipe.prompt)

    @property
    def key(self) -> str:
        """Digest of all but `shard` and names: photos of two groups with one key belong into one."""
        made = key_of(replace(self.origin, photo=""), self.recipe, self.fed, "", "")
        parts = [made, self.recipe.prompt, [t.name for t in self.taps], self.shapes, self.dtypes]
        parts += [self.compress, self.transform] if self.compress != NONE else []
        return digest_of(*parts)[:LENGTH]

    @property
    def nodes(self) -> tuple[str, ...]:
        """For each tap the name of its array: the tap's own, but for characters that a file name cannot have."""
        return tuple(_UNSAFE.sub("_", tap.name) for tap in self.taps)

    @property
    def usual_name(self) -> str:
        """What the group is called where the name is free: width x height as fed, after the recipe's label."""
        label = _UNSAFE.sub("_", self.recipe.label).strip("._")
        h, w = self.fed
        return f"{label}-{w}x{h}" if label else f"{w}x{h}"

    @property
    def bytes_each(self) -> int:
        """Bytes of one photo's maps."""
        return sum(map(self.bytes_of, range(len(self.taps))))

    def bytes_of(self, tap: int) -> int:
        """Return the bytes of one photo's map of a tap."""
        c, h, w = self.shapes[tap]
        return c * h * w * _BYTES[self.dtypes[tap]]

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the Zarr group, as plain values."""
        header = to_header(
            {tap.name: tap for tap in self.taps}, Frame(self.fed, self.fed), self.recipe, "", (), "", self.origin
        )
        about: dict[str, Any] = {name: json.loads(header[name]) for name in _FIELDS[1:]}
        about |= {"kind": "group", "key": self.key, "recipe": header["recipe"], "fed": list(self.fed)}
        about |= {"shapes": self.shapes, "dtypes": self.dtypes, "shard": self.shard}
        return about | ({"compress": self.compress, "transform": self.transform} if self.compress != NONE else {})

    @classmethod
    def from_attributes(cls, about: Mapping[str, Any]) -> Group:
        """Read what `attributes` gave; raises ValueError, or BadInput, for anything else."""
        header = {"recipe": about["recipe"], "taps": json.dumps(about["taps"]), "origin": json.dumps(about["origin"])}
        header |= {"frame": json.dumps([about["fed"]] * 2), "name": "", "words": "[]", "prompt": ""}
        parsed = from_header(header)
        shapes = tuple((int(c), int(h), int(w)) for c, h, w in about["shapes"])
        dtypes, taps, shard = tuple(about["dtypes"]), tuple(parsed["taps"].values()), int(about["shard"])
        wrong = set(dtypes) - set(ZARR_DTYPES) or min(min(shape) for shape in shapes) < 1 or shard < 1
        if wrong or not len(shapes) == len(dtypes) == len(taps):
            raise ValueError("its taps, shapes and dtypes do not fit each other")
        compress = str(Compression.parse(about.get("compress", NONE)))
        by = compress, str(about.get("transform", ""))
        return cls(parsed["recipe"], parsed["origin"], taps, parsed["frame"].fed, shapes, dtypes, shard, *by)

    def maps(self, row: Row, values: Mapping[str, torch.Tensor]) -> FeatureMaps:
        """Return a photo's features, as `FeatureMaps.open` gives them."""
        frame, origin = Frame(row.size, self.fed), replace(self.origin, photo=row.digest)
        taps = {tap.name: tap for tap in self.taps}
        checked = {name: check_map(tap, values[name]) for name, tap in taps.items()}
        return FeatureMaps(checked, taps, frame, self.recipe, row.photo, row.words, row.prompt, origin)


def group_of(
    maps: FeatureMaps,
    recipe: Recipe,
    dtype: str,
    shard: int | None,
    most: int = SHARD_BYTES,
    by: tuple[Transform, str] | None = None,
) -> tuple[Group, list[torch.Tensor]]:
    """Return the group that a photo's features belong to, and the values to write: C H W for each tap.

    dtype  "fp16" or "fp32"; a map with values beyond its range is saved in fp32, in a group of its own
    shard  how many photos lie in one file; by default as many as make `most` bytes of the largest map
    by     a transform and its digest, for maps that are compressed

    >>> from shiftless.image import Frame
    >>> maps = FeatureMaps({"up1": torch.ones(1, 8, 4, 6)}, {"up1": Tap("up1", 8, 16, "")}, Frame((64, 96), (64, 96)))
    >>> group_of(maps, Recipe(), "fp16", None)[0].shard
    1024
    """
    check_saved(dtype)
    if by is None:
        values = [stored(maps[tap], dtype)[0] for tap in maps]
    else:
        encoded = [by[0].encode(tap, maps[tap][0]) for tap in maps]
        values = [value if value.dtype == torch.uint8 else stored(value, dtype) for value in encoded]
    shapes = tuple((int(v.shape[0]), int(v.shape[1]), int(v.shape[2])) for v in values)
    taps = tuple(maps.taps[tap] for tap in maps)
    largest = max(value.numel() * value.element_size() for value in values)
    rows = shard or min(_SHARD_ROWS, 1 << max(0, (most // largest).bit_length() - 1))
    dtypes = tuple(_NAMES[value.dtype] for value in values)
    group = Group(recipe, replace(maps.origin, photo=""), taps, maps.frame.fed, shapes, dtypes, rows)
    if by is not None:
        group = replace(group, compress=str(by[0].compression), transform=by[1])
    if len({*group.nodes, *COLUMNS}) < len(taps) + len(COLUMNS):
        raise BadInput(f"taps {', '.join(tap.name for tap in taps)}: two have one name on disk; read them apart")
    return group, values


def check_name(name: str) -> None:
    """Raise ValueError for a name that a group cannot have, such as one that leads out of the store."""
    if not name or name.startswith(".") or _UNSAFE.search(name):
        raise ValueError("its name is not one of a folder")


def check_saved(dtype: str) -> None:
    """Raise BadInput for a dtype that maps in a store cannot have.

    >>> check_saved("bf16")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: save-dtype 'bf16': Zarr has fp16 and fp32; give one of them, or --out without .zarr
    """
    if dtype not in SAVED_IN:
        raise BadInput(f"save-dtype {dtype!r}: Zarr has fp16 and fp32; give one of them, or --out without .zarr")


def tap_attributes(tap: Tap) -> dict[str, Any]:
    """Return the attributes of a tap's array: what a reader of plain Zarr may want to know."""
    about = asdict(tap)
    return {name: about[name] for name in ("name", "stride", "module")}
