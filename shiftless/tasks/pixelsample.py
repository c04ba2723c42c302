"""PixelSample: labelled pixels of photos with their features, for training a pixel classifier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch

from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.header import Origin
from shiftless.tasks.pixelgroups import PixelGroups

UNLABELLED = 255
"""The value of a mask where nobody labelled."""
SMALLEST_REGION = 20
"""A class with fewer pixels than this in a photo is not learned from that photo (as published)."""
MOST_BYTES = 2 << 30
"""How much memory a sample takes at most, by default."""


class LabelledBuckets(NamedTuple):
    """A labelled photo as its reader gives it.

    buckets  one for each model that reads it
    mask     H W uint8 at any resolution: classes, and UNLABELLED; it spans the whole photo
    name     for messages
    """

    buckets: Sequence[Sequence[FeatureMaps]]
    mask: np.ndarray
    name: str


@dataclass(frozen=True, eq=False)
class PixelSample:
    """N pixels of some photos: their features, in groups N K C, and what they show.

    features  a tensor N K C for each group, on the CPU
    labels    N int64
    photos    N int64: which photo each pixel is of
    origins   of each model's features
    names     of the photos

    >>> len(PixelSample(PixelGroups(()), (), torch.tensor([0, 1]), torch.tensor([0, 0])))
    2
    """

    groups: PixelGroups
    features: tuple[torch.Tensor, ...]
    labels: torch.Tensor
    photos: torch.Tensor
    origins: tuple[Origin, ...] = ()
    names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def gather(
        cls,
        labelled: Iterable[LabelledBuckets],
        photos: int,
        *,
        groups: PixelGroups | None = None,
        normalise: bool = False,
        per_photo: int = 4096,
        most_bytes: int = MOST_BYTES,
        balance: float = 0.5,
        smallest: int = SMALLEST_REGION,
        dtype: torch.dtype = torch.bfloat16,
        seed: int = 0,
    ) -> PixelSample:
        """Draw pixels of labelled photos as they come from a reader, one photo in memory at a time.

        photos      how many photos come; they share the memory
        groups      as another sample has them; else those of the first photo, with `normalise`
        per_photo   pixels drawn of each photo; fewer, but at least 64, where all would take more than `most_bytes`
        balance     0 draws pixels as they are; 1 draws the same number of each class of a photo; between them, classes
                    are drawn by a power of their size, so that a small part is not lost
        smallest    classes with fewer labelled pixels than this in a photo are not learned from it
        dtype       in which features are kept

        A photo's pixels depend on the seed and its name, not on the others. Raises BadInput for photos without a
        labelled pixel, of another layout or other models, and when fewer than two classes are left.
        """
        kept: list[_Rows] = []
        labels: list[np.ndarray] = []
        names: list[str] = []
        skipped: list[str] = []
        origins: tuple[Origin, ...] = ()
        for buckets, mask, name in labelled:
            groups = groups or PixelGroups.of(buckets, normalise=normalise)
            origins = _same_models(origins, buckets, name)
            size = dtype.itemsize * sum(k * c for k, c in groups.groups)
            most = min(per_photo, max(64, most_bytes // (max(1, photos) * size)))
            rng = np.random.default_rng([seed, int(digest_of(name)[:12], 16)])
            chosen, left_out = draw_pixels(mask, most, rng, balance, smallest)
            skipped += [f"{name}: class {label} has {n} pixels" for label, n in left_out]
            if not len(chosen):
                raise BadInput(f"{name}: no class has {smallest} labelled pixels or more; label it, or leave it out")
            h, w = mask.shape
            units = np.stack([(chosen % w + 0.5) / w, (chosen // w + 0.5) / h], 1)
            read = groups.at(buckets, torch.as_tensor(units, dtype=torch.float32))
            kept = kept or [_Rows(most * max(1, photos), one.shape[1:], dtype) for one in read]
            for rows, one in zip(kept, read):
                rows.add(one)
            labels.append(mask.ravel()[chosen].astype(np.int64))
            names.append(name)
        if groups is None:
            raise BadInput("no labelled photo was given; give at least one")
        joined = torch.from_numpy(np.concatenate(labels))
        if len(joined.unique()) < 2:
            raise BadInput(f"every labelled pixel is of class {int(joined[0])}; label at least two classes")
        of = torch.from_numpy(np.repeat(np.arange(len(labels)), [len(one) for one in labels]))
        features = tuple(rows.whole() for rows in kept)
        return cls(groups, features, joined, of, origins, tuple(names), tuple(skipped))

    def __len__(self) -> int:
        return len(self.labels)

    def bytes(self) -> int:
        """Return how much memory the features take."""
        return sum(one.numel() * one.element_size() for one in self.features)

    def of_photos(self, which: Sequence[int]) -> PixelSample:
        """Return the pixels of some of the photos, by their places."""
        rows = torch.isin(self.photos, torch.tensor(list(which))).nonzero()[:, 0]
        features = tuple(one[rows] for one in self.features)
        return PixelSample(self.groups, features, self.labels[rows], self.photos[rows], self.origins, self.names)


class _Rows:
    """Rows that are added to a tensor that has room for them from the start, so that they are never held twice."""

    def __init__(self, room: int, shape: Sequence[int], dtype: torch.dtype) -> None:
        self.tensor, self.count = torch.empty((room, *shape), dtype=dtype), 0

    def add(self, rows: torch.Tensor) -> None:
        end = self.count + len(rows)
        if end > len(self.tensor):  # more photos came than were announced
            more = torch.empty((end - self.count, *self.tensor.shape[1:]), dtype=self.tensor.dtype)
            self.tensor = torch.cat([self.whole(), more])
        self.tensor[self.count : end] = rows
        self.count = end

    def whole(self) -> torch.Tensor:
        return self.tensor[: self.count]


def draw_pixels(
    mask: np.ndarray, most: int, rng: np.random.Generator, balance: float = 0.5, smallest: int = SMALLEST_REGION
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Choose labelled pixels of a mask H W: (their flat indices in order, (class, pixels) of classes left out).

    >>> mask = np.array([[0] * 90 + [1] * 10])
    >>> drawn = [draw_pixels(mask, 20, np.random.default_rng(0), balance, 1)[0] for balance in (0, 1)]
    >>> [np.bincount(mask[0, rows]).tolist() for rows in drawn]  # as they are, and the same number of each class
    [[18, 2], [10, 10]]
    """
    flat = mask.ravel()
    sizes = np.bincount(flat, minlength=UNLABELLED + 1)[:UNLABELLED]
    there = np.flatnonzero(sizes)
    left_out = [(int(label), int(sizes[label])) for label in there if sizes[label] < smallest]
    there = there[sizes[there] >= smallest]
    shares = _shares(sizes[there], most, balance)
    chosen = [rng.choice(np.flatnonzero(flat == label), n, replace=False) for label, n in zip(there, shares) if n]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64), left_out


def _shares(sizes: np.ndarray, most: int, balance: float) -> np.ndarray:
    """How many pixels of each class, of classes with so many; at least one of each, `most` in all if they have it."""
    if not len(sizes) or sizes.sum() <= most:
        return sizes
    weights = sizes ** (1 - balance)
    taken = np.zeros(len(sizes))
    free = np.ones(len(sizes), bool)
    while free.any():  # what a small class does not have is shared out over the others
        share = (most - taken[~free].sum()) * weights / weights[free].sum()
        full = free & (share >= sizes)
        taken[free] = share[free]
        taken[full] = sizes[full]
        if not full.any():
            break
        free &= ~full
    return np.maximum(1, np.round(taken)).astype(np.int64)


def _same_models(
    origins: tuple[Origin, ...], buckets: Sequence[Sequence[FeatureMaps]], name: str
) -> tuple[Origin, ...]:
    """The model of each bucket, with the adapters of all its readings."""
    here = []
    for k, bucket in enumerate(buckets):
        known = origins[k] if origins else bucket[0].origin
        for maps in bucket:
            if conflict := known.conflict(maps.origin):
                raise BadInput(f"{name}: features of {conflict}; read all photos with the same models")
            known = replace(known, adapters=tuple({**dict(known.adapters), **dict(maps.origin.adapters)}.items()))
        here.append(known)
    return tuple(here)
