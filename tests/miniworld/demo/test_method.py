"""The chapters on the method say what was counted, and are left out where there is nothing to tell."""

from __future__ import annotations

import json

import numpy as np
import pytest

from miniworld.demo.chapters import Plan
from miniworld.demo.method import _summary, comparison, gains, takes_comparison, takes_steering
from miniworld.demo.subjects import Subject, cast
from miniworld.tables import correspondence
from miniworld.tables.attention import EVEN, Measured
from miniworld.tables.correspondence import GAIN
from shiftless.backbones.registry import load
from shiftless.bench.table import Row, Table
from shiftless.image import open_photo
from shiftless.recipe import Recipe

ROWS = [
    Row("baseline, convolutional", "PCK@0.1 bbox", 0.3, (0.25, 0.35)),
    Row("GATE without output convolution", "PCK@0.1 bbox", 0.4, (0.35, 0.45)),
    Row("GATE without output convolution", GAIN, 0.1, (0.05, 0.15)),
    Row("+ LoRA, convolutional", GAIN, 0.01, (-0.01, 0.03)),
    Row("+ LoRA, convolutional", "PCK@0.1 bbox, embroidery", 0.2, (0.1, 0.3)),
    Row("+ LoRA, convolutional", f"{GAIN}, embroidery", -0.1, (-0.2, -0.05)),
]


@pytest.fixture(scope="module")
def twin():
    return load("twin:sd15", dtype="fp32")


def plan(tmp_path, model, subjects=None) -> Plan:
    return Plan(tmp_path, model, Recipe(taps=("up1",)), subjects or cast()[:1], True)


def test_steering_needs_the_world_and_a_technique(tmp_path, twin):
    assert takes_steering(plan(tmp_path, twin))
    photo = open_photo(np.zeros((64, 64, 3), np.uint8))
    yours = [Subject(photo, "yours", "", np.ones((64, 64), bool))]
    assert not takes_steering(plan(tmp_path, twin, yours))
    bare = load("twin:sd15", dtype="fp32")
    bare._own_controls = {}
    assert not takes_steering(plan(tmp_path, bare))


def test_the_comparison_needs_heads(tmp_path, twin, monkeypatch):
    assert not takes_comparison(plan(tmp_path, twin))
    monkeypatch.setattr(correspondence, "shipped_heads", lambda model: {"GATE": ["a head"]})
    assert takes_comparison(plan(tmp_path, twin))


def test_the_comparison_shows_every_test_set_with_gate_in_front(tmp_path, twin, monkeypatch):
    options_used = {}

    def run(model, **options):
        options_used.update(options)
        return Table(
            "mini-correspondence", "mini", ROWS, "here", ["photo: left out, as parts are not at hand: x", "9 s"]
        )

    monkeypatch.setattr(correspondence, "run", run)
    chapter = comparison(plan(tmp_path, twin))
    assert options_used["quick"]
    assert options_used["looks"] == ("photo",)
    assert [bars.title for bars in chapter.bars] == ["PCK@0.1 bbox", "PCK@0.1 bbox, embroidery"]
    assert chapter.bars[0].rows[1] == ("GATE without output convolution", 0.4, 0.35, 0.45, True)
    assert not chapter.bars[0].rows[0][-1]
    assert chapter.after[-1].startswith("photo: left out")
    assert json.loads((tmp_path / "correspondence.json").read_text())["bench"] == "mini-correspondence"


def test_only_gains_that_exclude_zero_are_called_sure():
    photo, embroidery = gains(Table("b", "m", ROWS, "here"))
    assert "on photo pairs" in photo
    assert photo.endswith("GATE without output convolution +0.10 [+0.05, +0.15].")
    assert "on embroidery pairs" in embroidery
    assert embroidery.endswith(": none.")


def test_the_sentence_names_what_changed_beyond_doubt_and_nothing_else():
    even, base = np.full((9, 4), 0.25), np.full((9, 4), 0.2)
    less, noise = base - [0, 0, 0, 0.05], base + np.outer([1, -1, 1, -1, 1, -1, 1, -1, 0], [0, 0, 0, 0.1])
    text = _summary(Measured({EVEN: even, "baseline": base, "fine prompt": less, "ControlNet": noise}, []))
    assert "fine prompt -5.00 [-5.00, -5.00]" in text
    assert "ControlNet" not in text
    assert "20.0% of it lies on the horse, which takes up 25.0%" in text
    assert "does not locate the horse" in text
    assert "no clear change" in _summary(Measured({EVEN: even, "baseline": base, "ControlNet": noise}, []))
