"""Three disjoint splits of a user's pairs, by photo: train, validation and test."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shiftless.data.photopair import PhotoPair, photo_content
from shiftless.digest import digest_of
from shiftless.errors import BadInput

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
"""Shares of the pairs in each split, as nearly as their photos allow."""
_LEAST = 6  # photos of a group that is cut: two for each split
_LARGE = 0.2  # of its category's pairs: a group that holds more is cut, a smaller one stays whole


@dataclass(frozen=True, eq=False)
class PairSplits:
    """Pairs by split: no photo is in two of them.

    parts     "train", "val", "test" -> pairs, in the order given
    bridging  how many pairs have photos in two splits, and are in none
    """

    parts: Mapping[str, list[PhotoPair]]
    bridging: int

    def note(self) -> str:
        """Say how many pairs are in each split.

        >>> PairSplits({"train": [], "val": [], "test": []}, 2).note()
        'split by photo: 0 train, 0 val and 0 test pairs share no photo; 2 pairs between splits are left out'
        """
        train, val, test = (len(self.parts[name]) for name in SHARES)
        return (
            f"split by photo: {train} train, {val} val and {test} test pairs share no photo; "
            f"{self.bridging} pairs between splits are left out"
        )


def split_pairs(pairs: Sequence[PhotoPair], where: str = "these pairs", seed: int = 0) -> PairSplits:
    """Part pairs into train, val and test so that no photo is in two of them; the same photos give the same splits.

    where  what messages call the pairs
    seed   of the order in which photos are dealt out

    A photo is known by its content, so a copy under another name is the same photo. Photos that pairs connect are a
    group. A group goes to one split whole, unless it holds more than a fifth of its category's pairs and has six photos
    or more: such a group is cut, a quarter of its photos validate, a quarter test, and its pairs between splits are
    left out.

    Raises BadInput where a split would be empty.

    >>> import numpy as np
    >>> from shiftless.image import open_photo
    >>> photos = [open_photo(np.full((8, 8, 3), i, np.uint8)) for i in range(20)]
    >>> points, size, box = np.ones((1, 2)), (8, 8), (0, 0, 4, 4)
    >>> two = zip(photos[::2], photos[1::2])
    >>> split_pairs([PhotoPair(a, b, points, points, size, size, box, "x", "") for a, b in two]).note()
    'split by photo: 6 train, 2 val and 2 test pairs share no photo; 0 pairs between splits are left out'
    """
    ends = [(photo_content(pair.source), photo_content(pair.target)) for pair in pairs]
    of = _dealt(ends, [pair.category for pair in pairs], seed)
    parts: dict[str, list[PhotoPair]] = {name: [] for name in SHARES}
    bridging = 0
    for pair, (a, b) in zip(pairs, ends):
        if of[a] == of[b]:
            parts[of[a]].append(pair)
        else:
            bridging += 1
    if not all(parts.values()):
        raise BadInput(
            f"{where}: {len(of)} photos in {len(pairs)} pairs are too few for train, val and test pairs that share no "
            f"photo ({', '.join(str(len(part)) for part in parts.values())} pairs); add pairs of other photos"
        )
    return PairSplits(parts, bridging)


def _dealt(ends: Sequence[tuple[str, str]], categories: Sequence[str], seed: int) -> dict[str, str]:
    """Photo -> split."""
    neighbours: dict[str, set[str]] = {}
    for a, b in ends:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    order = sorted(neighbours, key=lambda photo: digest_of(seed, photo))
    rank = {photo: i for i, photo in enumerate(order)}
    group: dict[str, int] = {}
    groups: list[list[str]] = []
    for photo in order:
        if photo not in group:
            groups.append(_walked(photo, neighbours, rank))
            group |= dict.fromkeys(groups[-1], len(groups) - 1)
    sizes = Counter(group[a] for a, _ in ends)
    category = {group[a]: kind for (a, _), kind in zip(ends, categories)}
    totals = Counter(categories)
    of: dict[str, str] = {}
    whole = []
    for i, photos in enumerate(groups):
        if len(photos) >= _LEAST and sizes[i] > _LARGE * totals[category[i]]:
            held = max(2, (len(photos) + 2) // 4)
            names = ["train"] * (len(photos) - 2 * held) + ["val"] * held + ["test"] * held
            of |= dict(zip(photos, names))
        else:
            whole.append(i)
    counts = Counter(of[a] for a, b in ends if a in of and of[a] == of[b])
    for i in whole:
        name = min(SHARES, key=lambda name: (counts[name] > 0, counts[name] / SHARES[name]))
        of |= dict.fromkeys(groups[i], name)
        counts[name] += sizes[i]
    return of


def _walked(first: str, neighbours: Mapping[str, set[str]], rank: Mapping[str, int]) -> list[str]:
    """The photos that pairs connect with the first, nearest first, so that any first few of them are connected."""
    reached, waiting = {first: None}, deque([first])
    while waiting:
        for photo in sorted(neighbours[waiting.popleft()] - reached.keys(), key=rank.__getitem__):
            reached[photo] = None
            waiting.append(photo)
    return list(reached)
