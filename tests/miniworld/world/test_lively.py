"""Livelier poses: the plain world stays as it is, and what is new is told rightly."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from miniworld.training.tokenizer import LENGTH
from miniworld.world.captions import GAITS, HEADS, vocabulary
from miniworld.world.picture import KEYPOINTS, KINDS, PARTS, SCENE_CLASSES, Picture, draw

NEW = ("lie", "sit", "rear")


def _livelier(p: Picture) -> bool:
    a = p.attributes
    return a["gait"] in NEW or a["head"] != "ahead" or a["tail"] != "loose"


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [draw(seed, kind=KINDS[seed % len(KINDS)], lively=True) for seed in range(400)]


@pytest.fixture(scope="module")
def livelier(pictures: list[Picture]) -> list[Picture]:
    return [p for p in pictures if _livelier(p)]


def test_without_it_nothing_changes() -> None:
    digest = hashlib.sha256()
    for seed in range(40):
        p = draw(seed)
        assert not {"head", "tail"} & set(p.attributes)
        assert p.attributes.get("gait") not in NEW
        digest.update(p.parts.tobytes() + p.scene.tobytes() + p.visible.tobytes() + repr(p.attributes).encode())
    assert digest.hexdigest()[:16] == "f9166d5d79296602"


def test_the_others_of_a_lively_world_are_drawn_as_ever(pictures: list[Picture]) -> None:
    for seed, p in enumerate(pictures[:60]):
        plain = draw(seed, kind=p.kind)
        assert (p.facing, p.attributes["colour"]) == (plain.facing, plain.attributes["colour"])
        assert np.array_equal(p.image, plain.image) == (not _livelier(p))


def test_a_third_is_livelier_in_every_way(pictures: list[Picture], livelier: list[Picture]) -> None:
    assert 0.28 < len(livelier) / len(pictures) < 0.44
    for name, values in (("gait", NEW), ("head", HEADS), ("tail", ("raised", "lowered"))):
        for value in values:
            assert any(p.attributes[name] == value for p in livelier), value


def test_who_does_what() -> None:
    for seed in range(80):
        ridden = draw(seed, kind="horse", rider=True, lively=True).attributes
        assert ridden["gait"] not in NEW
    kinds = {"sit": {"dog", "cat"}, "rear": {"horse", "zebra"}, "lie": set(KINDS) - {"elephant"}}
    for seed in range(100):
        p = draw(seed, kind=KINDS[seed % len(KINDS)], lively=True)
        assert p.kind in kinds.get(p.attributes["gait"], KINDS)


def test_captions_say_the_pose(pictures: list[Picture]) -> None:
    words = set(vocabulary())
    for p in pictures:
        fine, a = p.captions[2], p.attributes
        assert f", {GAITS[a['gait']]}," in fine
        assert f"facing {p.facing}" in fine
        assert ("looking back" in fine) == (a["head"] == "back")
        assert ("looking at the camera" in fine) == (a["head"] == "viewer")
        assert set(fine.replace(",", "").split()) <= words


def test_the_longest_captions_still_fit_a_prompt() -> None:
    texts = [draw(seed, kind="horse", rider=True, lively=True).captions[2] for seed in range(150)]
    assert max(len(text.replace(",", " ,").split()) for text in texts) + 2 <= LENGTH


@pytest.mark.parametrize(
    ("point", "parts"),
    [
        ("nose", {"muzzle", "nostril", "head"}),
        ("mouth", {"muzzle", "head", "nostril"}),
        ("eye", {"eye", "head"}),
        ("ear", {"ear"}),
        ("poll", {"head", "neck", "forelock", "mane", "ear"}),
        ("rump", {"back", "thigh", "barrel"}),
        ("near_fore_hoof", {"hoof", "leg"}),
        ("far_fore_hoof", {"hoof", "leg"}),
        ("near_hind_hoof", {"hoof", "leg"}),
        ("near_hind_hock", {"leg", "leg protection"}),
        ("tail_tip", {"tail"}),
    ],
)
def test_keypoints_lie_on_their_parts(livelier: list[Picture], point: str, parts: set[str]) -> None:
    k = KEYPOINTS.index(point)
    legal = [PARTS.index(name) for name in parts]
    hits = []
    for p in livelier:
        if p.visible[k]:
            x, y = p.keypoints[k].astype(int)
            hits.append(np.isin(p.parts[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2], legal).any())
    assert len(hits) > 20
    assert np.mean(hits) > 0.95


def test_a_turned_head_hides_what_it_covers(livelier: list[Picture]) -> None:
    covering = [PARTS.index(name) for name in ("head", "muzzle", "ear", "eye")]
    hidden = 0
    for p in (p for p in livelier if p.attributes["head"] != "ahead"):
        for k in (KEYPOINTS.index(name) for name in ("withers", "back", "chest", "throat")):
            x, y = (p.keypoints[k] - 0.5).round().astype(int)
            window = p.parts[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if window.size and np.isin(window, covering).all():
                assert not p.visible[k]
                hidden += 1
    assert hidden > 5


def test_the_box_bounds_a_lively_animal(livelier: list[Picture]) -> None:
    animal = SCENE_CLASSES.index("animal")
    for p in livelier:
        assert np.isfinite(p.keypoints).all()
        rows, columns = np.nonzero(p.scene == animal)
        assert columns.min() >= p.box[0] - 1.5
        assert columns.max() + 1 <= p.box[2] + 1.5
        assert rows.min() >= p.box[1] - 1.5
        assert rows.max() + 1 <= p.box[3] + 1.5


def test_facing_is_the_bodys_and_a_head_that_looks_back_points_away(livelier: list[Picture]) -> None:
    at = {name: KEYPOINTS.index(name) for name in ("nose", "poll", "chest", "tail_base")}
    for p in livelier:
        x = {name: p.keypoints[k, 0] for name, k in at.items()}
        ahead = 1 if p.facing == "right" else -1
        assert (x["chest"] - x["tail_base"]) * ahead > 0
        if p.attributes["head"] == "back":
            assert (x["nose"] - x["poll"]) * ahead < 0


def test_lying_and_sitting_bodies_are_on_the_ground(livelier: list[Picture]) -> None:
    belly, rump, hoof, withers = (KEYPOINTS.index(n) for n in ("belly", "rump", "near_fore_hoof", "withers"))
    seen = 0
    for p in livelier:
        y = p.keypoints[:, 1]
        tall = y[hoof] - y[withers]
        if p.attributes["gait"] == "lie":
            assert y[hoof] - y[belly] < 0.4 * tall
            seen += 1
        if p.attributes["gait"] == "sit":
            assert y[rump] > y[withers] + 0.25 * tall
            seen += 1
        if p.attributes["gait"] == "rear":
            assert y[hoof] < y[KEYPOINTS.index("near_hind_hoof")] - 0.2 * abs(tall)
            seen += 1
    assert seen > 20
