from __future__ import annotations

import importlib.util
from pathlib import Path

from shiftless.backbones.registry import load
from shiftless.bench import spair
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
    assert [row.method.partition(":")[0] for row in table.rows[::4]] == ["trivial", "untrained", "baseline"]
    assert table.rows[-1].method == "baseline: mine"
    assert table.notes[0].startswith("4 pairs, 8 points")
