"""Splits by photo: none in two of them, the same each time, and nothing lost that need not be."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftless.data.photopair import PhotoPair
from shiftless.data.splits import SHARES, split_pairs
from shiftless.errors import BadInput
from shiftless.image import Photo, open_photo

PHOTOS = [open_photo(np.full((8, 8, 3), i, np.uint8), f"p{i}") for i in range(120)]


def pair(a: Photo | str, b: Photo | str, category: str = "cat") -> PhotoPair:
    one = np.ones((1, 2))
    return PhotoPair(a, b, one, one, (8, 8), (8, 8), (0, 0, 4, 4), category, f"{a}{b}")


def photos_of(pairs: list[PhotoPair]) -> set[str]:
    return {photo.digest for pair in pairs for photo in (pair.source, pair.target)}


def counts(pairs: list[PhotoPair], seed: int = 0) -> list[int]:
    result = split_pairs(pairs, seed=seed)
    return [*(len(result.parts[name]) for name in SHARES), result.bridging]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=80), st.integers(0, 3))
def test_no_photo_is_in_two_splits_and_every_pair_is_counted(numbers, seed):
    pairs = [pair(PHOTOS[a], PHOTOS[b], "cat" if a % 2 else "dog") for a, b in numbers]
    try:
        result = split_pairs(pairs, seed=seed)
    except BadInput:
        return
    parts = list(result.parts.values())
    assert sum(map(len, parts)) + result.bridging == len(pairs)
    assert sum(len(photos_of(part)) for part in parts) == len(set().union(*map(photos_of, parts)))


def test_pairs_of_their_own_photos_are_all_kept():
    assert counts([pair(PHOTOS[2 * i], PHOTOS[2 * i + 1]) for i in range(50)]) == [30, 10, 10, 0]
    assert counts([pair(PHOTOS[2 * i], PHOTOS[2 * i + 1]) for i in range(3)]) == [1, 1, 1, 0]


def test_a_group_is_cut_within_its_category():
    """PF-WILLOW's form: ten photos of a kind, all in pairs with each other: four train, three validate, three test."""
    kinds = [PHOTOS[10 * k : 10 * k + 10] for k in range(4)]
    pairs = [pair(a, b, f"kind {k}") for k, photos in enumerate(kinds) for a, b in permutations(photos, 2)]
    assert counts(pairs) == [4 * 12, 4 * 6, 4 * 6, 4 * (90 - 24)]
    result = split_pairs(pairs)
    assert all({p.category for p in part} == {f"kind {k}" for k in range(4)} for part in result.parts.values())
    assert "48 train, 24 val and 24 test pairs share no photo; 264 pairs" in result.note()


def test_a_chain_is_cut_in_two_places():
    assert counts([pair(PHOTOS[i], PHOTOS[i + 1]) for i in range(99)])[3] <= 4


def test_the_split_depends_on_contents_and_seed_and_on_nothing_else(tmp_path):
    pairs = [pair(PHOTOS[2 * i], PHOTOS[2 * i + 1]) for i in range(50)]
    first = split_pairs(pairs).parts
    again = split_pairs(pairs[::-1]).parts
    assert photos_of(first["test"]) == photos_of(again["test"])
    assert photos_of(first["test"]) != photos_of(split_pairs(pairs, seed=1).parts["test"])
    files = [tmp_path / f"{i}.png" for i in range(12)]
    for i, file in enumerate(files):
        file.write_bytes(bytes([i // 2]))  # every content twice, under two names
    twins = [pair(str(files[i]), str(files[(i + 3) % 12])) for i in range(0, 12, 2)]
    parts = split_pairs([*twins, *(pair(PHOTOS[2 * i], PHOTOS[2 * i + 1], "dog") for i in range(9))]).parts
    where = {}
    for name, part in parts.items():
        for p in part:
            for photo in (p.source, p.target):
                if isinstance(photo, str):
                    where.setdefault(int(photo.split("/")[-1].split(".")[0]) // 2, set()).add(name)
    assert where
    assert all(len(names) == 1 for names in where.values())


def test_too_few_photos_are_one_clear_line():
    with pytest.raises(BadInput, match=r"^pets: 4 photos in 2 pairs are too few .* \(1, 1, 0 pairs\); add pairs"):
        split_pairs([pair(PHOTOS[0], PHOTOS[1]), pair(PHOTOS[2], PHOTOS[3])], "pets")
    star = [pair(PHOTOS[0], PHOTOS[i]) for i in range(1, 20)]
    with pytest.raises(BadInput, match="too few"):
        split_pairs(star)
