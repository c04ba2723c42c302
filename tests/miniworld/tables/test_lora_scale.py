"""The LoRAs' strength: the one that finds most points on validation pairs, and the command that says so."""

from __future__ import annotations

import pytest

import shiftless
from miniworld.tables import lora_scale
from miniworld.tables.lora_scale import most_hits, run
from miniworld.tables.pairs import mini_pairs
from shiftless.bench.pairs import Scores


def test_the_strength_with_most_points_is_taken_and_the_smallest_of_equals():
    assert most_hits({1.0: 8, 0.6: 9, 0.2: 7}) == 0.6
    assert most_hits({1.0: 9, 0.6: 9, 0.2: 7}) == 0.6


def test_points_of_all_looks_count_together(monkeypatch):
    """By hand: 0.4 finds 3 + 1 points, 0.8 finds 1 + 4, so 0.8 is picked although it is worse on photos."""
    import numpy as np

    requested = []
    hits = iter([{"0.4": 3, "0.8": 1}, {"0.4": 1, "0.8": 4}])  # of photos, then of embroidery

    def evaluate(pairs, read, choices):
        requested.append(pairs[0].id)
        one = next(hits)
        return {name: Scores(np.array([one[name]]), np.array([one[name]]), np.array([5])) for name in choices}

    monkeypatch.setattr(lora_scale, "evaluate", evaluate)
    table = run(shiftless.load("twin:sd15"), scales=(0.4, 0.8), n=1, progress=False)
    assert table.value("LoRA x0.8", "PCK@0.1 bbox, embroidery") == 0.8
    assert (
        "most points found in all looks together: at 0.8; not clearly fewer (paired, over pairs): at 0.8;"
        in (table.notes[1])
    )
    assert requested == [mini_pairs("val", 1)[0].id] * 2  # never test pairs


def test_a_strength_of_zero_is_the_model_itself():
    mini = shiftless.load("mini", device="cpu")
    table = run(mini, looks=("embroidery",), scales=(0.0, 1.0), n=2, progress=False)
    base = shiftless.Recipe(timestep=300, taps=("up0",), prompt="a photo")
    plain = lora_scale.evaluate(mini_pairs("val", 2, "embroidery"), lora_scale.reader(mini, [base]), {"x": (0, None)})
    assert table.value("LoRA x0", "PCK@0.1 bbox, embroidery") == pytest.approx(
        plain["x"].bbox.sum() / plain["x"].totals.sum()
    )
