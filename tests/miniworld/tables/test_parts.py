"""The tables of parts: what is drawn, which rows are there, and that labels are learned from."""

from __future__ import annotations

import pytest

from miniworld.datasets import SEEDS
from miniworld.tables.labelled_pictures import labelled_pictures
from miniworld.tables.part_methods import BASELINE, METHODS, PartMethod, readings_of
from miniworld.tables.parts import class_table, run
from shiftless.backbones.registry import load
from shiftless.bench.parts import COLOURS, COMMONEST

SMALL = {"members": 2, "layers": (32, 16), "hidden": 8, "patience": 5}


@pytest.fixture(scope="module")
def table():
    some = [PartMethod(BASELINE, ("base0",)), PartMethod("merged", ("base0", "base1"), ("maps",)), METHODS[0]]
    none = PartMethod("impossible", models=("nothing",))
    return run(load("mini"), n=(4, 3), splits=2, methods=[*some, none], progress=False, fitting=SMALL)


def test_features_tell_more_than_colours_and_those_more_than_places(table):
    scores = {name: table.value(name, "mIoU") for name in (COMMONEST, COLOURS, BASELINE, "merged")}
    assert scores[BASELINE] > scores[COLOURS] > scores[COMMONEST]
    assert scores["merged"] > scores[COLOURS]


def test_gains_are_of_the_means_and_each_class_has_its_iou(table):
    gain = table.value("merged", f"gain over {BASELINE}")
    assert gain == pytest.approx(table.value("merged", "mIoU") - table.value(BASELINE, "mIoU"))
    assert len(table.about["classes"]) == 21
    assert {len(values) for values in table.about["iou"].values()} == {21}
    assert class_table(table).row_count > 10


def test_what_is_not_at_hand_is_named(table):
    assert any("left out" in note and "impossible" in note for note in table.notes)


@pytest.mark.parametrize(("name", "classes", "unscored"), [("parts", 21, ()), ("rooms", 29, (0,))])
def test_pictures_are_those_of_their_seeds(name, classes, unscored):
    some = labelled_pictures(name, "parts", 2)
    assert [one.name for one in some] == [f"{name}-{SEEDS['parts'].start + i}" for i in range(2)]
    assert (len(some.classes), some.unscored) == (classes, unscored)
    assert all(one.mask().max() < classes for one in some)


def test_every_method_takes_readings_that_exist():
    for name in ("parts", "rooms"):
        known = readings_of(name)
        assert all(key in known for m in METHODS for key in (*m.readings, *m.joined))
        assert [recipe.joined for key, recipe in known.items()] == [key == "maps" for key in known]
