"""The table's rows are complete, distinct and fair."""

from __future__ import annotations

import shiftless
from miniworld.tables.methods import METHODS, NAMES, TIMESTEP, readings_of
from miniworld.world.picture import KINDS, VEHICLES
from shiftless.backbones.registry import taps
from shiftless.taps.names import select


def test_every_method_names_readings_that_there_are():
    readings = readings_of("photo")
    names = [m.name for m in METHODS]
    assert len(set(names)) == len(names)
    for method in METHODS:
        assert method.against in names
        for name in (*method.readings, *method.attention):
            key, _, part = name.partition("/")
            taps = [tap for tap in readings[key].taps if (".map." in tap) == (part == "maps")]
            assert taps, name
    used = {name.partition("/")[0] for m in METHODS for name in (*m.readings, *m.attention)}
    assert used == set(readings)


def test_readings_differ_in_what_they_say_and_share_the_rest():
    readings = readings_of("embroidery", dift_timestep=300)
    assert len({recipe.key() for recipe in readings.values()}) == len(readings)
    assert readings["dift"].timestep == 300
    for key, recipe in readings.items():
        assert select(recipe.taps, taps("mini"), "mini")
        if not key.startswith(("dift", "hyper")):
            assert recipe.timestep == TIMESTEP
            assert recipe.ensemble == 1
        assert not recipe.lora or recipe.lora[0].startswith("embroidery-")
    assert readings_of("photo")["base0"] == readings["base0"]


def test_the_prompt_of_all_kinds_names_every_kind_in_one_window():
    for kind in (*KINDS, *VEHICLES):
        assert f" {kind}" in NAMES
    model = shiftless.load("mini")
    assert model.encode_prompt([NAMES]).embeds.shape[1] == 77
