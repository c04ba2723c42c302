from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from shiftless.backbones.registry import load
from shiftless.bench import spair
from shiftless.presets import preset
from shiftless.recipe import Recipe

_SPEC = importlib.util.spec_from_file_location("spair_layout", Path(__file__).parents[1] / "data" / "test_spair.py")
assert _SPEC is not None
assert _SPEC.loader is not None
_LAYOUT = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_LAYOUT)


def test_bench_spair_from_the_published_layout_to_the_table(tmp_path):
    folder = _LAYOUT.small_spair(tmp_path, "val")
    recipe = Recipe(timestep=50, taps=("up1",), label="mine")
    table = spair.run(load("twin:sd15", size=64), folder, recipe, split="val", per_category=2, progress=False)
    assert table.bench == "spair val"
    assert [row.method.partition(":")[0] for row in table.rows[:24:8]] == ["trivial", "untrained", "baseline"]
    assert table.rows[16].method == "baseline: mine"
    assert table.value("baseline: mine", "PCK@0.05 bbox") <= table.value("baseline: mine", "PCK@0.1 bbox")
    kinds = [row for row in table.rows[24:] if row.metric == "PCK@0.1 img"]
    assert len(kinds) == 2
    mean = sum(row.value for row in kinds) / 2  # both kinds have as many points
    assert mean == pytest.approx(table.value("baseline: mine", "PCK@0.1 img"))
    resolved = table.to_dict()["recipe"]  # with what it did not say
    assert (resolved["label"], resolved["timestep"], resolved["ensemble"], resolved["fit"]) == ("mine", 50, 1, "aspect")
    assert table.notes[0].startswith("4 pairs, 8 points")


def test_with_flip_every_category_has_a_second_row(tmp_path):
    folder = _LAYOUT.small_spair(tmp_path, "val")
    model, recipe = load("twin:sd15", size=64), Recipe(timestep=50, taps=("up1",), label="mine")
    options = {"split": "val", "per_category": 1, "controls": False, "progress": False}
    plain, flipped = (spair.run(model, folder, recipe, flip=flip, **options) for flip in (False, True))
    kinds = [row.method for row in flipped.rows if row.metric == "PCK@0.1 img" and "pair)" in row.method]
    assert len(kinds) == 4
    assert [kind.replace(" with flip", "") for kind in kinds[1::2]] == kinds[::2]
    assert "PCK@0.05 bbox" in {row.metric for row in flipped.rows if row.method == "baseline with flip: mine"}
    assert [row for row in flipped.rows if "flip" not in row.method] == plain.rows
    assert "denoiser calls beside" in " ".join(flipped.notes)


def test_a_preset_that_was_published_stands_beside_its_number_and_a_changed_one_does_not(tmp_path):
    folder = _LAYOUT.small_spair(tmp_path, "val")
    recipe = preset("gate-spair-baseline").recipes[0].but(taps=("up1",))
    model = load("twin:sd15", size=64)
    changed = spair.run(model, folder, recipe, split="val", per_category=1, controls=False, progress=False)
    assert not any("published" in note for note in changed.notes)
    rows = spair.published(preset("gate-spair-baseline").recipes[0])
    assert {row["metric"]: row["value"] for row in rows} == {"PCK@0.1 img": 0.6115, "PCK@0.1 bbox": 0.5166}
