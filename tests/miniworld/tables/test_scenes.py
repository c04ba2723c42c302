"""The tables of scenes: whose pictures are drawn, that heads learn from features, and that nothing is made twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from miniworld.datasets import SEEDS
from miniworld.tables import scenes
from miniworld.tables.labelled_pictures import labelled_pictures
from miniworld.tables.scene_methods import BASELINE, METHODS, MODELS, SETTINGS, SceneMethod, readings_of
from shiftless.backbones.registry import load
from shiftless.bench.parts import COLOURS, COMMONEST
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import Confusion

SHORT = replace(SETTINGS, steps=16, side=64, every=8, lovasz=0.0, lr=5e-3)
HEAD = {"decoder": "linear", "options": {"width": 8, "hidden": 4}}
SMALL = {"sizes": (6, 2, 3), "settings": SHORT, "progress": False}


@pytest.fixture(scope="module")
def model():
    return load("mini")


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """A table of two seeds, and its folder."""
    keep = tmp_path_factory.mktemp("scenes")
    some = [SceneMethod(BASELINE, ("base0",)), SceneMethod("merged", ("base0", "base1"))]

    def right(pictures, seeds):
        return [{i: Confusion(16).add(one.mask(), one.mask()) for i, one in enumerate(pictures.test)}] * seeds

    methods = [*some, SceneMethod("impossible", ("nothing",))]
    rows = {"methods": methods, "others": {"knows it all": right}, "seeds": 2, "head": HEAD}
    return scenes.run(model, "scenes", keep, **rows, **SMALL), keep


def test_features_tell_more_than_colours(made):
    table, _ = made
    scores = {name: table.value(name, "mIoU") for name in (COMMONEST, COLOURS, BASELINE, "merged")}
    assert scores[BASELINE] > scores[COLOURS]
    assert {row.metric for row in table.rows if row.method == "merged"} == {
        "mIoU", "aAcc", "mAcc", "std over seeds", "gain over baseline",
    }  # fmt: skip
    assert table.value("knows it all", "mIoU") == 1
    gain = table.row("knows it all", "gain over baseline")
    assert gain.value == pytest.approx(1 - scores[BASELINE])
    assert gain.ci95[0] <= gain.value <= gain.ci95[1]
    assert len(table.about["iou"]["merged"]) == len(table.about["classes"]) == 16
    assert any("left out" in note and "impossible" in note for note in table.notes)


def test_what_is_kept_is_not_made_again(made, model, monkeypatch):
    table, keep = made

    def none(*args, **options):
        raise AssertionError("read, or trained, again")

    monkeypatch.setattr("shiftless.store.folder.FeatureFolder.write", none)
    monkeypatch.setattr("shiftless.training.scenes._Training.learn", none)
    again = scenes.run(model, "scenes", keep, methods=[SceneMethod(BASELINE, ("base0",))], seeds=2, head=HEAD, **SMALL)
    assert again.row(BASELINE, "mIoU") == table.row(BASELINE, "mIoU")


def test_choices_are_scored_on_validation_pictures(model, tmp_path, monkeypatch):
    asked = []
    draw = labelled_pictures

    def noted(name, split, n):
        asked.append((split, n))
        return draw(name, split, n)

    monkeypatch.setattr(scenes, "labelled_pictures", noted)
    short = {**SMALL, "sizes": (3, 2, 3), "settings": replace(SHORT, steps=2)}
    table = scenes.choose(model, "streets", tmp_path, choices=("up1+up2", "linear"), **short)
    assert asked == [("scenes train", 3), ("scenes val", 2), ("scenes test", 1)]
    assert [row.method for row in table.rows] == ["up1+up2", "linear"]
    assert table.notes[1] in ("best: up1+up2", "best: linear")
    with pytest.raises(BadInput, match="must be one of scenes, streets"):
        scenes.choose(model, "rooms", tmp_path)


@pytest.mark.parametrize(("name", "classes"), [("scenes", 16), ("streets", 19)])
def test_pictures_are_those_of_their_seeds(name, classes):
    pictures = scenes.ScenePictures.drawn(name, (2, 1, 1))
    for split, part in zip(("train", "val", "test"), pictures.parts):
        assert [one.name for one in part] == [f"{name}-{seed}" for seed in SEEDS[f"scenes {split}"][: len(part)]]
        assert len(part.classes) == classes
    masks = [one.mask() for part in pictures.parts for one in part]
    assert (255 in np.unique(masks)) is (name == "streets")


def test_every_method_takes_readings_that_exist():
    known = {*readings_of(), *MODELS}
    assert all(key in known for method in METHODS for key in method.readings)
    assert readings_of(50)["control"].start - 50 == readings_of()["control"].start - 100
