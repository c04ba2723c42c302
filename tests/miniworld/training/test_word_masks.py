"""Where words are: on what they name, in every world."""

from __future__ import annotations

import numpy as np

from miniworld.datasets import drawer
from miniworld.training.word_masks import word_masks
from miniworld.world.bedroom.classes import CLASS as ROOM
from miniworld.world.picture import KINDS, SCENE_CLASSES, draw
from miniworld.world.street.classes import CLASS as STREET


def test_a_rider_and_the_horse_below() -> None:
    picture = draw(4, kind="horse", rider=True)
    masks = word_masks(picture, "creatures")
    assert np.array_equal(masks["horse"], picture.scene == SCENE_CLASSES.index("animal"))
    assert np.array_equal(masks["person"], picture.scene == SCENE_CLASSES.index("person"))
    assert not (masks["head"] & masks["tail"]).any()
    assert "person" not in word_masks(draw(4, kind="horse", rider=False), "creatures")


def test_the_head_is_ahead_and_so_are_the_front_legs() -> None:
    told = 0
    for seed in range(60):
        picture = draw(seed, kind=KINDS[seed % len(KINDS)])
        masks = word_masks(picture, "creatures")
        assert not (masks.get("front", False) & masks.get("hind", np.bool_(False))).any()
        ahead = 1 if picture.facing == "right" else -1
        for front, back in (("head", "tail"), ("front", "hind")):
            if front in masks and back in masks:
                told += 1
                where = [np.nonzero(masks[word])[1].mean() for word in (front, back)]
                assert ahead * (where[0] - where[1]) > 0, (seed, front)
    assert told > 90


def test_vehicles_have_no_parts() -> None:
    assert set(word_masks(draw(2, kind="car"), "creatures")) == {"car"}


def test_rooms_and_streets_by_their_classes() -> None:
    room, street = drawer("bedrooms")(5), drawer("streets")(5)
    bed = [ROOM[name] for name in ("bed", "footboard", "headboard", "side_rail")]
    assert np.array_equal(word_masks(room, "bedrooms")["bed"], np.isin(room.labels, bed))
    masks = word_masks(street, "streets")
    assert np.array_equal(masks["road"], street.labels == STREET["road"])
    assert all(mask.any() for mask in masks.values())
