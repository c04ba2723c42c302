"""Pairs and streams of pictures."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest

from miniworld import datasets
from miniworld.datasets import (
    HELD_OUT,
    SEEDS,
    SPLIT_SIZES,
    WORLDS,
    Pair,
    contact_sheet,
    drawer,
    pair,
    pairs,
    photos,
)
from miniworld.demo import subjects
from miniworld.tables import attention
from miniworld.training.caption_proof import caption_accuracy
from miniworld.training.oracle_proof import prove_oracle
from miniworld.training.pictures import SHARD, TURNS, draw_shard, unseen
from miniworld.training.proof import SAMPLED
from miniworld.training.tokenizer import LENGTH, new_tokenizer
from miniworld.world import picture
from miniworld.world.picture import KINDS, VEHICLES, draw, keypoint_names
from shiftless.errors import BadInput

ALL = KINDS + VEHICLES


@pytest.fixture(scope="module")
def some() -> list[Pair]:
    return pairs("test", 4 * len(ALL))


def test_no_seed_is_in_two_ranges() -> None:
    ranges = sorted(SEEDS.items(), key=lambda item: item[1].start)
    for (name, one), (other, following) in pairwise(ranges):
        assert one.start < one.stop <= following.start, f"{name} and {other} overlap"
    assert {"model", "loras", "oracle", "train", "val", "test", "prove"} <= set(SEEDS)
    assert SEEDS["test"].stop == HELD_OUT


@pytest.fixture
def drawn(monkeypatch) -> list[int]:
    """The seeds that are drawn, wherever `draw` was imported, as tiny pictures."""
    drawn: list[int] = []

    def noted(seed: int, **how: object) -> object:
        drawn.append(seed)
        return draw(seed, **{**how, "size": 32})

    for module in (datasets, picture, subjects, attention):
        monkeypatch.setattr(module, "draw", noted)
    return drawn


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("train", lambda: pair("train", 3)),
        ("val", lambda: pair("val", 3)),
        ("test", lambda: pair("test", 3)),
        ("attention", lambda: attention.riders(2)),
        ("crowd", lambda: list(subjects.crowd(2))),
        ("prove", lambda: list(unseen(2))),
        ("prove", lambda: list(unseen(2, first=SAMPLED))),
        ("prove", lambda: caption_accuracy(Silent(), 2)),
        ("oracle proof", lambda: prove_oracle(Blind(), 2)),
    ],
)
def test_whoever_draws_keeps_to_its_own_seeds(drawn, name, use) -> None:
    with suppress(Stopped):
        use()
    assert drawn
    assert set(drawn) <= set(SEEDS[name][: 10**6])


def test_shards_take_turns_between_the_worlds(tmp_path) -> None:
    for turn, world in enumerate(TURNS):
        name = draw_shard(str(tmp_path), turn * SHARD, 1, 32)
        about = json.loads((tmp_path / f"{name}.json").read_text())
        assert [one["world"] for one in about] == [world]
        image = np.load(tmp_path / f"{name}.npy")[0]
        how = {"lively": True, "marked": True} if world == "creatures" else {}
        assert np.array_equal(image, drawer(world)(turn * SHARD, size=32, **how).image)
    assert set(TURNS) == set(WORLDS)
    with pytest.raises(BadInput, match="world 'attic' is unknown: use one of creatures, bedrooms, streets"):
        drawer("attic")


def test_every_word_of_every_world_is_one_token() -> None:
    tokenizer = new_tokenizer()
    for world in WORLDS:
        for _, about in unseen(20, world=world, size=32):
            text = about["captions"][2]
            words = re.findall(r"[a-z]+|,|'", text)
            assert len(tokenizer(text, truncation=False).input_ids) == len(words) + 2 <= LENGTH, text


def test_the_cast_of_the_demo_is_shown_and_never_measured(drawn, monkeypatch) -> None:
    monkeypatch.setattr(subjects, "draw", lambda seed, **how: drawn.append(seed) or draw(seed, **how))
    subjects.cast()
    assert set(drawn) <= set(SEEDS["shown"])


class Stopped(Exception):
    """Ends a measurement once its pictures are drawn."""


class Silent:
    def caption(self, photos: object) -> list[str]:
        raise Stopped


class Blind:
    def look(self, images: object) -> object:
        raise Stopped


def test_pairs_are_of_one_kind_and_differ_otherwise(some: list[Pair]) -> None:
    for p in some:
        assert p.source.kind == p.target.kind
        assert not np.array_equal(p.source.image, p.target.image)
        key = "colour" if p.source.kind == "boat" else "scene"
        assert p.source.attributes[key] != p.target.attributes[key]


def test_points_are_visible_in_both(some: list[Pair]) -> None:
    for p in some:
        names = keypoint_names(p.source.kind)
        assert len(p.names) == len(p.source_points) == len(p.target_points) >= 4
        for name, a, b in zip(p.names, p.source_points, p.target_points):
            k = names.index(name)
            assert p.source.visible[k]
            assert p.target.visible[k]
            assert np.array_equal(a, p.source.keypoints[k])
            assert np.array_equal(b, p.target.keypoints[k])


def test_kinds_are_balanced_and_half_the_pairs_are_flipped(some: list[Pair]) -> None:
    kinds = [p.source.kind for p in some]
    assert {kinds.count(kind) for kind in ALL} == {4}
    flipped = np.mean([p.source.facing != p.target.facing for p in some])
    assert 0.4 < flipped < 0.6
    assert SPLIT_SIZES["test"] == 360
    assert SPLIT_SIZES["test"] % len(ALL) == 0


def test_a_pair_does_not_depend_on_its_list(some: list[Pair]) -> None:
    again = pair("test", 7)
    assert np.array_equal(again.source.image, some[7].source.image)
    assert np.array_equal(again.target.image, some[7].target.image)


def test_a_look_keeps_the_points() -> None:
    plain, drawn = pair("val", 3), pair("val", 3, look="pencil")
    assert plain.names == drawn.names
    assert np.array_equal(plain.target_points, drawn.target_points)
    assert not np.array_equal(plain.target.image, drawn.target.image)


def test_photos_follow_the_seeds() -> None:
    got = list(photos(HELD_OUT, 3, look="nightvision"))
    assert len(got) == 3
    assert np.array_equal(got[2].image, draw(HELD_OUT + 2, look="nightvision").image)


def test_contact_sheet_holds_the_pictures() -> None:
    two = list(photos(0, 2))
    sheet = np.asarray(contact_sheet(two, columns=2))
    assert np.array_equal(sheet[:, :128], two[0].image)
    assert np.array_equal(sheet[:, -128:], two[1].image)


def test_bad_requests() -> None:
    with pytest.raises(BadInput, match="train, val, test"):
        pairs("dev")
    with pytest.raises(BadInput, match="1 or more"):
        pairs("val", 0)
    with pytest.raises(BadInput, match="use 0 to"):
        pair("val", -1)
    with pytest.raises(BadInput, match="at least one"):
        contact_sheet([], columns=3)
