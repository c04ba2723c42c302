"""Where the transforms of a compressed store are: one file a reading, which every writer to the store shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.header import Origin
from shiftless.recipe import Recipe
from shiftless.store.group import Group
from shiftless.store.key import LENGTH
from shiftless.store.manifest import Manifest
from shiftless.store.place import Place
from shiftless.store.shard import Damaged
from shiftless.store.transform import NONE, Transform, digest_of_transform

TRANSFORMS = ".shiftless/transforms"


def transform_key(group: Group) -> str:
    """Return the key of the file that a group's transform lies in: of its reading and compression, not its size."""
    return f"{TRANSFORMS}/{digest_of(group.reading, group.compress)[:LENGTH]}.safetensors"


def copy_transform(source: Place, target: Place, group: Group) -> None:
    """Give a store the transform of a group's reading that another one keeps, if it does and the store has none."""
    key = transform_key(group)
    if not _there(target, key) and _there(source, key):
        with target.lock():
            target.write(key, [source.read(key)])


def has_transform(place: Place, origin: Origin, recipe: Recipe, compress: str) -> bool:
    """Whether a store keeps the transform of what a recipe reads, of whatever size, before anything was read."""
    return _there(place, transform_key(Group(recipe, replace(origin, photo=""), (), (0, 0), (), (), 1, compress)))


def _there(place: Place, key: str) -> bool:
    try:
        place.read(key)
    except FileNotFoundError:
        return False
    return True


def transform_of(place: Place, group: Group) -> Transform | None:
    """Return a group's transform, None for one that is not compressed; raises Damaged if it is lost or another one."""
    if group.compress == NONE:
        return None
    key = transform_key(group)
    try:
        content = place.read(key)
        if digest_of_transform(content) == group.transform:
            return Transform.from_bytes(content)
    except (FileNotFoundError, ValueError):
        pass
    raise Damaged(f"{key}, without which its maps cannot be decoded, is lost or damaged")


def shared_transform(
    place: Place, group: Group, learned: Callable[[], Transform] | None
) -> tuple[Transform, str] | None:
    """Return the transform of a group's reading and its digest; where there is none yet, it is learned and kept.

    group    as it is before it has a transform
    learned  gives the transform; None says to look only. The caller then holds the store's lock

    Raises BadInput for a file that is damaged.
    """
    key = transform_key(group)
    try:
        content = place.read(key)
    except FileNotFoundError:
        if learned is None:
            return None
        content = learned().to_bytes()
        place.write(key, [content])
    try:
        return Transform.from_bytes(content), digest_of_transform(content)
    except ValueError as error:
        raise BadInput(f"{place.name}: {key} {error}; {_REMEDY}") from None


def check_transforms(place: Place, manifest: Manifest) -> None:
    """Raise BadInput if the transform of a group is lost or damaged."""
    for one in manifest.groups.values():
        try:
            transform_of(place, one.group)
        except Damaged as error:
            raise BadInput(f"{place.name}: {one.name}: {error}; {_REMEDY}") from None


def check_mixed(stores: Iterable[tuple[str, Manifest]]) -> None:
    """Raise BadInput if stores hold one reading by two transforms, whose maps are not comparable.

    stores  of each its name and what it shows
    """
    known: dict[str, tuple[str, str, str]] = {}
    for name, manifest in stores:
        for one in manifest.groups.values():
            by = one.group.compress, one.group.transform
            other, *how = known.setdefault(one.group.reading, (name, *by))
            if tuple(how) != by:
                raise BadInput(
                    f"{other} and {name}: hold one reading by two transforms ({' '.join(how)}; {' '.join(by)}), which "
                    "do not mix; let the second store begin as a copy of the first one"
                )


_REMEDY = "copy that file from another copy of the store, or extract the photos again into another store"
