"""Settings are chosen by their scores, on pictures that no table scores."""

from miniworld.datasets import SEEDS
from miniworld.tables import part_choices
from miniworld.tables.part_choices import candidates, choose
from shiftless.backbones.registry import load


def test_the_best_reading_is_named_and_fits_are_tried_on_it(monkeypatch):
    small = {"TIMESTEPS": (100,), "TAPS": (("up0",), ("up0", "up1")), "SIZES": {"parts": (3, 2)}, "SPLITS": 1}
    small |= {"FITTING": {"members": 2, "layers": (16, 8), "patience": 5}, "SAMPLE": {"per_photo": 128}}
    small |= {"FITS": {"raw channels": ({}, {"standardise": False})}}
    for name, value in small.items():
        monkeypatch.setattr(part_choices, name, value)
    drawn = []
    draw = part_choices.labelled_pictures
    monkeypatch.setattr(part_choices, "labelled_pictures", lambda *a: drawn.append(a[:2]) or draw(*a))
    table = choose(load("mini"), "parts", progress=False)
    assert drawn == [("parts", "parts choice")]
    scores = {row.method: row.value for row in table.rows}
    readings = {what: scores[what] for what in ("t=100 up0", "t=100 up0+up1")}
    best = max(readings, key=readings.get)
    assert f"best of mini: {best}" in table.notes
    assert f"{best}, raw channels" in scores


def test_candidates_are_told_apart_by_their_names():
    tried = candidates("rooms")
    assert len({(key, recipe) for key, recipe in tried.values()}) == len(tried)
    assert not set(SEEDS["parts"]) & set(SEEDS["parts choice"])
