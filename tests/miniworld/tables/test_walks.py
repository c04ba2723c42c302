"""Walks: named by what they are, scored against the reading that is not steered."""

from __future__ import annotations

import pytest

import shiftless
from miniworld.tables.walks import BASELINE, run, ways
from shiftless import Recipe


def test_ways_are_walks_to_the_same_timestep():
    recipes = ways(Recipe(timestep=200, prompt="a photo", start=900), above=(20, 40), steps=(1, 5, None))
    assert recipes[BASELINE] == Recipe(timestep=200, prompt="a photo")
    assert [(r.start, r.steps) for r in list(recipes.values())[2:]] == [
        (220, 1), (220, 5), (220, None), (240, 1), (240, 5), (240, None),
    ]  # fmt: skip
    assert all(r.control == ("canny",) and r.timestep == 200 for name, r in recipes.items() if name != BASELINE)


def test_a_table_of_walks(monkeypatch):
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    monkeypatch.setattr("miniworld.tables.walks.ways", lambda recipe: ways(recipe, (20,), (1,)))
    table = run(model, Recipe(timestep=100, taps=("up0",)), n=2, progress=False)
    names = [row.method for row in table.rows if row.metric == "PCK@0.1 bbox"]
    assert names == [BASELINE, "read at once", "from t + 20 in 1 step"]
    gain = table.value("read at once", "PCK@0.1 bbox") - table.value(BASELINE, "PCK@0.1 bbox")
    assert table.value("read at once", "gain, paired") == pytest.approx(gain)
    assert "time against the baseline" in " ".join(table.notes)
