"""Marks: painted where the caption says, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from miniworld.training.tokenizer import LENGTH, new_tokenizer
from miniworld.world.captions import vocabulary
from miniworld.world.labels import LABEL
from miniworld.world.marks import PARTS, SHARE, mark_colours
from miniworld.world.picture import KINDS, Picture, draw
from miniworld.world.picture import PARTS as PART_CLASSES


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [draw(seed, kind=KINDS[seed % len(KINDS)], lively=True, marked=True) for seed in range(200)]


def test_without_marks_nothing_changes() -> None:
    for seed in range(12):
        assert "marks" not in draw(seed).attributes


def test_the_share_and_every_part(pictures: list[Picture]) -> None:
    marked = [p for p in pictures if p.attributes["marks"]]
    assert SHARE - 0.1 < len(marked) / len(pictures) < SHARE + 0.1
    assert {part for p in marked for part in p.attributes["marks"]} == set(PARTS)


def test_the_caption_names_each_mark_and_no_mark_has_the_coats_colour(pictures: list[Picture]) -> None:
    tokenizer, words = new_tokenizer(), set(vocabulary())
    for p in pictures:
        a = p.attributes
        for part, shade in a["marks"].items():
            assert f"{shade} {part}" in p.captions[2]
            assert shade not in (a["colour"], a["second"])
        assert set(p.captions[2].replace(",", "").split()) <= words
        assert len(tokenizer(p.captions[2], truncation=False).input_ids) <= LENGTH


def test_only_the_marked_part_is_painted_anew() -> None:
    changed = 0
    for seed in range(40):
        plain, marked = draw(seed, kind="dog", scene="snow"), draw(seed, kind="dog", scene="snow", marked=True)
        assert np.array_equal(plain.parts, marked.parts)
        assert np.array_equal(plain.keypoints, marked.keypoints)
        if list(marked.attributes["marks"]) != ["head"]:
            continue
        changed += 1
        off = np.abs(plain.image.astype(int) - marked.image).sum(2) > 24
        near = marked.parts == PART_CLASSES.index("head")
        assert off[near].mean() > 0.5
        body = np.isin(marked.parts, [PART_CLASSES.index(name) for name in ("thigh", "barrel", "tail")])
        assert off[body].mean() < 0.05
    assert changed


def test_vehicles_bear_no_marks() -> None:
    assert "marks" not in draw(3, kind="car", marked=True).attributes


def test_far_legs_are_darker() -> None:
    colours = dict(mark_colours(np.random.default_rng(0), {"front legs": "white"}))
    assert set(colours) == {LABEL["nf_leg"], LABEL["ff_leg"]}
    assert (colours[LABEL["ff_leg"]] < colours[LABEL["nf_leg"]]).all()
