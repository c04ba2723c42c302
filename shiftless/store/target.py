"""The two things that features are written into: a folder of files, or a Zarr store."""

from __future__ import annotations

from typing import Any

from shiftless.errors import BadInput
from shiftless.store.folder import FeatureFolder
from shiftless.store.group import check_saved
from shiftless.store.place import is_store, place_of
from shiftless.store.shard import seal
from shiftless.store.transform import NONE, Compression
from shiftless.store.writer import StoreWriter


def target_of(out: str, *given: Any, **more: Any) -> FeatureFolder | StoreWriter:
    """Return where features are written, by its name: a store if it ends in .zarr, else a folder of files.

    Further arguments are those of the two; `check_target` says what is refused.

    >>> from shiftless import Recipe, load
    >>> model = load("twin:sd15")
    >>> [type(target_of(out, model, [Recipe()])).__name__ for out in ("nowhere", "nowhere.zarr")]
    ['FeatureFolder', 'StoreWriter']
    """
    if is_store(out):
        return StoreWriter(out, *given, **more)
    for name in ("shard", "compress"):
        more.pop(name, None)
    return FeatureFolder(out, *given, **more)


def check_target(out: str, dtype: str, shard: int | None, compress: str = NONE) -> None:
    """Raise BadInput, before a model is loaded, for a target that cannot be what its name and these options say.

    >>> check_target("features", "bf16", None)
    >>> check_target("features", "fp16", 8)
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: --shard is for a store; features is a folder of a file a photo: give a name.zarr
    """
    if is_store(out):
        check_saved(dtype)
        if Compression.parse(compress).in_bytes and dtype != "fp16":
            raise BadInput(f"--save-dtype {dtype} with --compress {compress}: bytes are saved; leave one of them out")
        place_of(out)
        seal(b"")  # the package for checksums is there
    elif "://" in out:
        raise BadInput(f"{out}: the name of a store ends in .zarr; give such a name")
    elif Compression.parse(compress).method != NONE:
        raise BadInput(f"--compress is for a store; {out} is a folder of a file a photo: give a name.zarr")
    elif shard is not None:
        raise BadInput(f"--shard is for a store; {out} is a folder of a file a photo: give a name.zarr")
