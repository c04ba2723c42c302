"""The configurations of mini-audit: many enough, each different, and halves that nobody could bend afterwards."""

from __future__ import annotations

from miniworld.tables.configurations import TECHNIQUES, TIMESTEPS, configuration, configurations, halves


def test_there_are_enough_and_no_two_are_alike():
    for look in ("photo", "embroidery"):
        every = configurations(look)
        assert len(every) == len(set(every.values())) == len(TIMESTEPS) * len(TECHNIQUES) >= 24


def test_the_halves_are_equal_apart_and_fixed():
    keys = list(configurations("photo"))
    choosing, held_out = halves(keys)
    assert choosing | held_out == set(keys)
    assert not choosing & held_out
    assert len(choosing) == len(held_out)
    assert (choosing, held_out) == halves(keys[::-1])
    # as they were before anything was measured
    assert sorted(t for t, name in held_out if name == "plain") == [50, 350, 500]


def test_each_technique_is_what_it_says():
    assert configuration("plain", 200, "photo").prompt == "a photo"
    assert configuration("edges x0.5", 200, "photo").control_scale == (0.5,)
    assert configuration("LoRA x1", 200, "embroidery").lora == ("embroidery-a",)
    everything = configuration("captions, edges and LoRA", 200, "photo")
    assert (everything.prompt, everything.control, everything.lora) == ("auto", ("canny",), ("photo-a",))
