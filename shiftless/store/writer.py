"""StoreWriter: writes features into a Zarr store, photo by photo; a kill loses nothing that was added."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import TracebackType

import numpy as np
import torch

from shiftless.atomic import reported
from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.image import Photo
from shiftless.progress import count
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe
from shiftless.store.claims import Claims
from shiftless.store.commit import Commit, commit_pending
from shiftless.store.contents import Keys, texts_in_file
from shiftless.store.group import SHARD_BYTES, Group, check_saved, group_of
from shiftless.store.lease import Lost
from shiftless.store.lock import take
from shiftless.store.manifest import Manifest
from shiftless.store.parts import merge_parts
from shiftless.store.pending import PENDING, DiskPending, Pending
from shiftless.store.place import Place, place_of
from shiftless.store.pool import pooled
from shiftless.store.recovery import recover
from shiftless.store.row import ROWS, Row
from shiftless.store.sample import PHOTOS, Sample
from shiftless.store.shard import Damaged, seal, seal_of
from shiftless.store.transform import NONE, Compression, Transform, learn
from shiftless.store.transforms import copy_transform, has_transform, shared_transform

_SYNC = (
    1.0  # seconds after which what was added is brought to the disk; a kill loses nothing meanwhile, a power cut may
)
_LEARN = "extract a photo into it without --engine first"
_REMOTE_SHARD = 2**26  # bytes of the largest map's shard where photos wait in main memory
_REMOTE_MOST = 2**28  # bytes of photos that wait in main memory
_TRIES = 5  # at a commit that another writer has taken the store from


class StoreWriter:
    """A Zarr store that features are written into, as `FeatureFolder` writes them into a folder of files.

    target  a path or an fsspec URL that ends in .zarr
    dtype   in which maps are saved: "fp16" or "fp32"
    pool    how many cells along each side are averaged into one before saving
    shard   how many photos lie in one file of an array; by default as many as make about 256 MB of the largest map
    compress "none", "int8", "pca:K" or "pq:M" (`shiftless.store.transform`), by a transform that is learned from the
            first 64 photos and kept in the store for every further one
    beside  a store whose photos count as there, and whose transforms are taken: the one that this one is a part of

    A photo becomes visible to readers with those that fill a shard with it, or when the writer is closed; until then
    it waits on disk, and a writer that is killed leaves it to the next one; where the store is on no disk, it waits in
    main memory. Several writers may write to one store on one disk or on S3; other targets of fsspec take one writer.

    Raises BadInput for a target that is something else, another dtype, a pool below 1, and a store that holds these
    readings by another compression.

    >>> import tempfile, numpy as np
    >>> from shiftless.backbones.registry import load
    >>> from shiftless.image import open_photo
    >>> from shiftless.reading import extract
    >>> model, recipes, photo = load("twin:sd15"), [Recipe()], open_photo(np.zeros((64, 64, 3), np.uint8), "a.png")
    >>> with tempfile.TemporaryDirectory() as folder, StoreWriter(f"{folder}/a.zarr", model, recipes) as writer:
    ...     writer.claim(photo), writer.write(extract(model, photo, recipes)), writer.claim(photo)
    (True, None, False)
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        model: Backbone,
        recipes: Sequence[Recipe],
        *,
        fill: Fill | None = None,
        dtype: str = "fp16",
        pool: int = 1,
        shard: int | None = None,
        compress: str = NONE,
        options: dict[str, str] | None = None,
        beside: Place | None = None,
    ) -> None:
        check_saved(dtype)
        if shard is not None and shard < 1:
            raise BadInput(f"shard={shard}: give a whole number from 1 up, of photos in one file")
        self.compression = Compression.parse(compress)
        self.compress = str(self.compression)
        how = dtype if self.compress == NONE else f"{dtype} {self.compress}"
        self._claims = Claims(model, recipes, fill, how, pool)
        self.place: Place = place_of(target, options)
        self.model, self.recipes, self.dtype, self.pool, self.shard = model, list(recipes), dtype, pool, shard
        self.widened = 0  # maps that were saved in fp32 because they hold values beyond the range of dtype
        self._manifest = Manifest.of(self.place)
        self._keys, self._beside = Keys(self.place, None if beside is None else Keys.of(beside)), beside
        self._keys.update(self._manifest)
        self._check_compression()
        self._sample = Sample(self.place, self.recipes, self.compression)
        self._by: list[tuple[Transform, str]] | None = None  # for each recipe, once they are known
        self._claimed: dict[str, list[str]] = {}  # a key that is being read -> the groups where it is put
        self._found: dict[str, list[str]] = {}  # photo -> the groups that hold its readings
        self._pending: dict[tuple[str, ...], Pending] = {}  # by the keys of the groups
        self._room: dict[tuple[str, ...], int] = {}  # photos that fill the last shard of the groups
        self._lock: int | None = None
        self._name = secrets.token_hex(6)
        self._count = 0
        self._synced = time.monotonic()
        self._failed = False

    def recover(self) -> list[str]:
        """Publish the photos that writers left that were killed; return a line that says so, if there are any."""
        added = 0
        if self.place.path is not None and self.place.names(PENDING):
            with self.place.lock():
                added += recover(Commit(self.place, self._keys))
        added += merge_parts(self.place)
        self._manifest = Manifest.of(self.place)
        self._keys.update(self._manifest)
        lines = [f"{count(added, 'reading')} published that an earlier run had left"] if added else []
        taken = 0
        for small, keys in self._sample.left(self.model.fingerprint, self.pool):
            if any(key not in self._keys and key not in self._claimed for key in keys):
                self._claimed |= dict.fromkeys(keys, self._found.setdefault(small[0].name, []))
                self._take_in(small, keys)
                taken += 1
        lines += [f"{count(taken, 'photo')} taken over that an earlier run had left, to be compressed"] if taken else []
        return lines

    def claim(self, photo: Photo) -> bool:
        """Whether a photo must still be read: some reading of it is not there, nor being read.

        A photo of the same content is the same photo, whatever its name. Raises BadInput as `FeatureFolder` does.
        """
        keys = self._claims.keys(photo)
        if missing := [key for key in keys if key not in self._keys]:
            if all(key in self._claimed for key in missing) or not self._claims.take(photo):
                self._found[photo.name] = self._claimed.get(missing[0], [])
                return False
            self._found[photo.name] = []
            self._claimed |= dict.fromkeys(missing, self._found[photo.name])
            return True
        self._found[photo.name] = [group for group in map(self._keys.group, keys) if group]
        return False

    def holds(self, photo: Photo) -> bool:
        """Whether every reading of a photo is published; nothing is claimed."""
        return all(key in self._keys for key in self._claims.keys(photo))

    def has_transforms(self, photo: Photo) -> bool:
        """Whether a photo's readings need none to be learned: there is no compression, or the store keeps theirs."""
        if self.compress == NONE:
            return True
        made = zip(self._claims.origins(photo), self.recipes)
        return all(has_transform(self.place, origin, recipe, self.compress) for origin, recipe in made)

    def hold(self) -> None:
        """Take the model and its adapters to stay as they are from here on, which makes claims fast."""
        self._claims.hold()

    def write(self, bucket: Sequence[FeatureMaps]) -> None:
        """Add a claimed photo's features; raises BadInput if the store cannot be written.

        What it was really made from decides under which key. After an error nothing more may be written.
        """
        small = [pooled(maps, self.pool) for maps in bucket]
        try:
            self._take_in(small, self._claims.read(small))
        except BaseException:
            self._failed = True
            raise
        self._claims.release(small[0].name, small[0].origin.photo)

    def _take_in(self, small: Sequence[FeatureMaps], keys: Sequence[str]) -> None:
        """Add a photo to the store, or to the sample if a transform must be learned first."""
        if self.compress == NONE:
            self._put(small, keys, [None] * len(small))
            return
        if self._by is None:
            for maps in small:
                for tap, value in maps.items():
                    self.compression.check(tap, int(value.shape[1]))
            groups = self._sample.groups(small)
            if self._beside is not None:
                for group in groups:
                    copy_transform(self._beside, self.place, group)
            found = [shared_transform(self.place, group, None) for group in groups]
            self._by = None if None in found else [one for one in found if one is not None]
            if self._by is None and self._beside is not None:
                raise BadInput(f"{self._beside.name}: has no transform for --compress {self.compress}; {_LEARN}")
        if self._by is not None:
            self._put(small, keys, self._by)
            return
        self._sample.add(small, keys)
        if time.monotonic() - self._synced > _SYNC:
            self._sync()
        if len(self._sample) >= PHOTOS:
            self._learn()

    def _learn(self) -> None:
        """Learn the transforms from the sample, and add its photos; another writer's transforms are taken."""
        first, _ = next(self._sample.photos())
        with self.place.lock():
            made = (
                shared_transform(self.place, group, partial(self._learned, k))
                for k, group in enumerate(self._sample.groups(first))
            )
            self._by = [one for one in made if one is not None]
        for small, keys in self._sample.photos():
            self._put(small, keys, self._by)
        self._sync()
        self._sample.remove()

    def _learned(self, k: int) -> Transform:
        return learn(self.compression, self._sample.cells(k))

    def _check_compression(self) -> None:
        recipes, made = {recipe.key() for recipe in self.recipes}, (self.model.fingerprint, self.pool)
        for one in self._manifest.groups.values():
            origin = one.group.origin
            mine = one.group.recipe.key() in recipes and (origin.fingerprint, origin.pool) == made
            if mine and one.group.compress != self.compress:
                raise BadInput(
                    f"{self.place.name}: holds these readings with --compress {one.group.compress}, and two transforms "
                    f"do not mix; give that, or another --out for {self.compress}"
                )

    def _put(
        self, small: Sequence[FeatureMaps], keys: Sequence[str], by: Sequence[tuple[Transform, str] | None]
    ) -> None:
        """Add a photo's maps, compressed by the transforms if there are any, to the pending photos of its groups."""
        most = SHARD_BYTES if self.place.path else _REMOTE_SHARD
        how = self.dtype, self.shard, most
        made = [group_of(maps, recipe, *how, one) for maps, recipe, one in zip(small, self.recipes, by)]
        shard = min(group.shard for group, _ in made)
        groups = [replace(group, shard=shard) for group, _ in made]
        chunks = [[_sealed(value) for value in values] for _, values in made]
        rows = [
            Row(key, m.name, m.origin.photo, m.frame.original, m.prompt, m.words, tuple(map(seal_of, part)))
            for key, m, part in zip(keys, small, chunks)
        ]
        self.widened += sum(dtype == "fp32" != self.dtype for group in groups for dtype in group.dtypes)
        family = tuple(group.key for group in groups)
        if family not in self._pending:
            known = [self._manifest.groups.get(key) for key in family]
            groups = [group if one is None else one.group for group, one in zip(groups, known)]
            free = [g.shard - (one.rows % g.shard if one else 0) for g, one in zip(groups, known)]
            self._room[family] = min(free)
            self._pending[family] = self._new(groups)
        pending = self._pending[family]
        pending.add(rows, chunks)
        self._found.setdefault(small[0].name, []).extend(family)
        if len(pending.photos) >= self._room[family]:
            self._publish([family])
        elif self.place.path is None and sum(one.bytes for one in self._pending.values()) > _REMOTE_MOST:
            self._publish(list(self._pending))
        elif time.monotonic() - self._synced > _SYNC:
            self._sync()

    def publish(self) -> None:
        """Make visible what was added so far, also where it does not fill a shard; raises BadInput."""
        self._publish(list(self._pending))

    @property
    def files(self) -> dict[str, list[str]]:
        """For every photo queried the names of the groups that hold its readings, as far as they are published."""
        groups = self._manifest.groups
        return {name: [groups[key].name for key in keys if key in groups] for name, keys in self._found.items()}

    def bytes_there(self, photos: set[str]) -> int:
        """Return how many bytes of these photos' features, by this model and these recipes, the store holds."""
        recipes, made = {recipe.key() for recipe in self.recipes}, (self.model.fingerprint, self.pool)
        total = 0
        for one in self._manifest.groups.values():
            origin = one.group.origin
            if one.group.recipe.key() not in recipes or (origin.fingerprint, origin.pool) != made:
                continue
            for number in range(-(-one.rows // ROWS)):
                with suppress(Damaged):
                    names = texts_in_file(self.place, one, "photo", number)
                    total += sum(name in photos for name in names) * one.group.bytes_each
        return total

    def close(self, interrupted: bool = False) -> None:
        """Publish what was added; raises BadInput if the store cannot be written.

        interrupted  a sample on disk is then left to the next writer, in place of learning from too few photos
        """
        try:
            if not self._failed and len(self._sample) and not (interrupted and self.place.path):
                self._learn()
            if not self._failed:
                self._publish(list(self._pending))
                if self._manifest.groups:
                    with suppress(Lost), self.place.lock():  # the copies of all that is shown, whoever published it
                        Manifest.of(self.place).copy_out(self.place)
        finally:
            self._sample.close()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
        if not self._failed:
            self.place.delete(f"{PENDING}/{self._name}")

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:  # an interrupt, or a photo's error: what was added is published all the same
            with suppress(BadInput):
                self.close(interrupted=True)

    def _publish(self, families: Sequence[tuple[str, ...]]) -> None:
        if not families:
            return
        chosen = [self._pending[family] for family in families]
        for pending in chosen:
            pending.sync()
        for left in reversed(range(_TRIES)):
            try:
                self._manifest = self._commit(chosen)
                break
            except Lost:  # what was put so far is shown nowhere; what was published is found by its keys
                if not left:
                    raise
        for family, pending in zip(families, chosen):
            del self._pending[family]
            pending.remove()

    def _commit(self, chosen: Sequence[Pending]) -> Manifest:
        """Publish pending photos behind all that other writers have published; return what is shown then."""
        with self.place.lock():
            commit = Commit(self.place, self._keys)
            for pending in chosen:
                commit_pending(commit, pending)
            commit.publish()
        return commit.manifest

    def _sync(self) -> None:
        self._sample.sync()
        for pending in self._pending.values():
            pending.sync()
        self._synced = time.monotonic()

    def _new(self, groups: Sequence[Group]) -> Pending:
        if self.place.path is None:
            return Pending(groups)
        own = self.place.path / PENDING / self._name
        if self._lock is None:
            with self.place.lock(), reported(own):  # the lock keeps another process from taking it for a dead one's
                own.mkdir(parents=True, exist_ok=True)
                self._lock = take(own)
        self._count += 1
        return DiskPending(own / str(self._count), groups)


def _sealed(value: torch.Tensor) -> bytes:
    """A map's bytes as a chunk of Zarr: little-endian, with their checksum."""
    array = value.numpy()
    return seal(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
