"""Sample: the first photos of a compressed store, from which its transforms are learned.

Until they are learned, photos wait as they were read, in float32, on disk under .shiftless/samples in the store; a
writer that is killed leaves them to the next one, as it leaves pending photos.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from shiftless.atomic import reported
from shiftless.features import FeatureMaps
from shiftless.recipe import Recipe
from shiftless.store.group import Group, group_of
from shiftless.store.lock import take
from shiftless.store.pending import DiskPending, Pending
from shiftless.store.place import Place
from shiftless.store.row import Row
from shiftless.store.shard import seal, seal_of
from shiftless.store.transform import Compression

SAMPLES = ".shiftless/samples"
PHOTOS = 64
"""How many photos a transform is learned from, unless a run ends before."""
CELLS = 256
"""How many cells of each map, at most."""
Photo = tuple[list[FeatureMaps], list[str]]
"""The readings of a photo, and their keys."""


class Sample:
    """Photos that wait for a transform, on disk where the store is on disk, else in memory.

    recipes  by which each photo is read

    >>> from shiftless.store.place import place_of
    >>> len(Sample(place_of("memory://none.zarr"), [Recipe()], Compression("int8")))
    0
    """

    def __init__(self, place: Place, recipes: Sequence[Recipe], compression: Compression) -> None:
        self.place, self.recipes, self.compression = place, list(recipes), compression
        self._families: dict[tuple[str, ...], Pending] = {}  # by the keys of the groups
        self._name = secrets.token_hex(6)
        self._lock: int | None = None

    def __len__(self) -> int:
        return sum(len(pending.photos) for pending in self._families.values())

    def groups(self, small: Sequence[FeatureMaps]) -> list[Group]:
        """Return the groups of a photo's readings as they were read."""
        return [group for group, _ in self._made(small)]

    def add(self, small: Sequence[FeatureMaps], keys: Sequence[str]) -> None:
        """Keep a photo; raises BadInput if it cannot be written."""
        made = self._made(small)
        groups = [group for group, _ in made]
        chunks = [[seal(np.ascontiguousarray(v.numpy(), "<f4").tobytes()) for v in values] for _, values in made]
        rows = [
            Row(key, m.name, m.origin.photo, m.frame.original, m.prompt, m.words, tuple(map(seal_of, part)))
            for key, m, part in zip(keys, small, chunks)
        ]
        family = tuple(group.key for group in groups)
        if family not in self._families:
            self._families[family] = self._new(groups)
        self._families[family].add(rows, chunks)

    def sync(self) -> None:
        """Make what was added outlast a power cut."""
        for pending in self._families.values():
            pending.sync()

    def photos(self) -> Iterator[Photo]:
        """Yield the photos as they were added."""
        for pending in self._families.values():
            yield from _photos(pending)

    def cells(self, k: int) -> dict[str, np.ndarray]:
        """Return some cells of the k-th reading of every photo, N C for each tap: the same for the same photos."""
        chosen: dict[str, list[np.ndarray]] = {}
        for small, _ in sorted(self.photos(), key=lambda photo: photo[1]):
            seed = int(small[k].origin.photo[:8] or "0", 16)
            for tap, value in small[k].items():
                cells = value[0].flatten(1).T.numpy()
                some = np.random.default_rng(seed).permutation(len(cells))[:CELLS]
                chosen.setdefault(tap, []).append(cells[some])
        return {tap: np.concatenate(cells) for tap, cells in chosen.items()}

    def left(self, fingerprint: str, pool: int) -> Iterator[Photo]:
        """Yield the photos of these recipes that killed writers left; each part is removed once it was taken over."""
        top = self.place.path
        for name in self.place.names(SAMPLES) if top is not None else ():
            assert top is not None
            folder = top / SAMPLES / name
            held = None if name == self._name else take(folder)
            if held is None:  # of a writer that lives
                continue
            for part in sorted(folder.iterdir()):
                pending = DiskPending.load(part)
                if pending is None or self._mine(pending.groups, fingerprint, pool):
                    yield from _photos(pending) if pending is not None else ()
                    self.sync()
                    shutil.rmtree(part, ignore_errors=True)
            if not any(folder.iterdir()):
                folder.rmdir()
            os.close(held)

    def remove(self) -> None:
        """Forget the photos, which are in the store."""
        for pending in self._families.values():
            pending.remove()
        self._families.clear()
        self.close()
        self.place.delete(f"{SAMPLES}/{self._name}")

    def close(self) -> None:
        """Let go of the photos, which stay on disk for the next writer."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _made(self, small: Sequence[FeatureMaps]) -> list[tuple[Group, list[torch.Tensor]]]:
        """The groups of a photo's readings as they were read, without a transform, and their maps in float32."""
        made = [group_of(maps, recipe, "fp32", 1) for maps, recipe in zip(small, self.recipes)]
        return [(replace(group, compress=str(self.compression)), values) for group, values in made]

    def _mine(self, groups: Sequence[Group], fingerprint: str, pool: int) -> bool:
        ours = [(recipe.key(), fingerprint, pool, str(self.compression)) for recipe in self.recipes]
        return ours == [(g.recipe.key(), g.origin.fingerprint, g.origin.pool, g.compress) for g in groups]

    def _new(self, groups: Sequence[Group]) -> Pending:
        if self.place.path is None:
            return Pending(groups)
        own: Path = self.place.path / SAMPLES / self._name
        if self._lock is None:
            with self.place.lock(), reported(own):  # the lock keeps another process from taking it for a dead one's
                own.mkdir(parents=True, exist_ok=True)
                self._lock = take(own)
        return DiskPending(own / str(len(self._families)), groups)


def _photos(pending: Pending) -> Iterator[Photo]:
    for i, rows in enumerate(pending.photos):
        small = []
        for k, (group, row) in enumerate(zip(pending.groups, rows)):
            values = {}
            for tap, (about, shape) in enumerate(zip(group.taps, group.shapes)):
                data = np.frombuffer(memoryview(pending.chunk(k, i, tap))[:-4], "<f4").reshape(1, *shape)
                values[about.name] = torch.from_numpy(data.astype(np.float32))
            small.append(group.maps(row, values))
        yield small, [row.key for row in rows]
