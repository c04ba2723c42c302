"""Masses on masks are counted as by hand; maps are what was read; an exchange that changes nothing has no place."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from miniworld.tables import techniques
from miniworld.tables.attention import (
    EVEN,
    METRICS,
    NAMED,
    Measured,
    named_note,
    observe_attention,
    riders,
    run,
    share,
    subjects,
    word_taps,
)
from miniworld.world.labels import PARTS
from miniworld.world.picture import draw
from shiftless.backbones.registry import load
from shiftless.bench.pairs import UNTRAINED
from shiftless.errors import BadInput
from shiftless.image import open_photo
from shiftless.reading import extract
from shiftless.recipe import Recipe


@pytest.fixture(scope="module")
def twin():
    return load("twin:sd15", dtype="fp32", size=64)


def test_the_share_of_a_hand_worked_map():
    mass = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert share(mass, np.array([[False, True], [True, False]])) == 0.5
    assert share(mass, np.ones((2, 2), bool)) == 1.0
    assert share(mass, np.zeros((2, 2), bool)) == 0.0


@given(arrays(float, (3, 4), elements=st.floats(0.0, 1e6)), arrays(bool, (3, 4)))
def test_a_mask_and_the_rest_hold_everything(mass, mask):
    if mass.sum() == 0:
        with pytest.raises(BadInput, match="not zero"):
            share(mass, mask)
    else:
        assert share(mass, mask) + share(mass, ~mask) == pytest.approx(1)


@pytest.mark.parametrize(
    "mass", [np.full((2, 2), np.nan), np.full((2, 2), np.inf), np.array([[-1.0, 2.0], [0.0, 0.0]]), np.ones((3, 2))]
)
def test_what_is_no_mass_is_refused(mass):
    with pytest.raises(BadInput, match=r"mass|grid"):
        share(mass, np.ones((2, 2), bool))


def test_horse_and_rider_are_what_the_parts_say_even_behind_something():
    for picture in [*riders(4), draw(77, kind="horse", rider=True, look="embroidery")]:
        horse, rider = subjects(picture)
        assert (rider == (picture.parts == PARTS.index("person"))).all()
        animal = picture.parts > PARTS.index("person")
        assert (horse >= animal).all()
        assert horse.any()
        assert rider.any()


def test_the_maps_are_what_is_read_and_the_effect_is_the_distance_to_the_other_word(twin):
    photo = open_photo(riders(1)[0].image)
    recipe = Recipe(timestep=200, taps=("up1", "up2"), prompt="a photo of a horse")
    shares = next(observe_attention(twin, [photo], {"one": recipe}))["one"]
    groups = [tap.name for tap in twin.taps if tap.name.startswith("up.cross.map.s")]
    assert len(groups) == 3
    maps = extract(twin, photo, recipe.but(taps=tuple(f"{name}:horse" for name in groups)))
    grown = [F.interpolate(maps[name], photo.hw, mode="bilinear")[0, 0].double() for name in maps]
    expected = torch.stack([one / one.sum() for one in grown]).mean(0)
    np.testing.assert_allclose(shares.attention, expected.numpy(), rtol=1e-4)
    ours, other = (extract(twin, photo, recipe.but(prompt=f"a photo of a {word}")) for word in ("horse", "cow"))
    moved = (ours.dense() - other.dense()).norm(dim=1, keepdim=True)
    expected = F.interpolate(moved, photo.hw, mode="bilinear")[0, 0].double()
    np.testing.assert_allclose(shares.effect, (expected / expected.sum()).numpy(), rtol=1e-3)
    assert shares.attention.sum() == pytest.approx(1)
    assert list(shares.read)[:2] == ["up1", "up2"]


def test_a_word_exchanged_for_itself_acts_nowhere_in_particular(twin, monkeypatch):
    monkeypatch.setattr(techniques, "OTHER", "horse")
    picture = riders(1)[0]
    recipe = Recipe(taps=("up1",), prompt="a photo of a horse")
    shares = next(observe_attention(twin, [open_photo(picture.image)], {"one": recipe}))["one"]
    assert np.ptp(shares.effect) == 0
    assert shares.shares(picture)[2] == pytest.approx(subjects(picture)[0].mean())


def test_the_table_has_chance_a_control_every_technique_and_says_what_is_missing(twin):
    options = {"n": 2, "progress": False}
    table = run(twin, Recipe(timestep=200, taps=("up1",)), **options)
    assert table.bench == "mini-attention"
    methods = list(dict.fromkeys(row.method for row in table.rows))
    assert methods == [EVEN, UNTRAINED, "baseline: 'a photo of a horse'", "ControlNet"]
    assert [row.metric for row in table.rows[:4]] == list(METRICS)
    areas = np.array([[mask.mean() for mask in subjects(picture)] for picture in riders(2)]).mean(0)
    assert [table.value(EVEN, metric) for metric in METRICS] == pytest.approx([*areas, *areas])
    notes = "\n".join(table.notes)
    assert "without fine prompt" in notes
    assert "without LoRA" in notes
    gain = table.value("ControlNet", METRICS[2]) - table.value("baseline", METRICS[2])
    assert f"effect, horse {gain:+.3f} [" in notes
    bare = run(twin, Recipe(timestep=200, taps=("up1",)), controls=False, batch=1, **options)
    kept = [row for row in table.rows if row.method != UNTRAINED]
    assert [row.value for row in bare.rows] == pytest.approx([row.value for row in kept], rel=1e-5)


def test_looks_are_the_world_s(twin):
    with pytest.raises(BadInput, match="look 'oil' is unknown"):
        run(twin, look="oil", progress=False)


def test_gains_are_paired_and_of_the_metric_asked_for():
    even, base = np.full((3, 4), 0.25), np.array([[0.1, 0.2, 0.3, 0.4], [0.2, 0.2, 0.3, 0.5], [0.6, 0.2, 0.3, 0.6]])
    lora = base + [0.0, 0.1, 0.0, -0.2]
    measured = Measured({EVEN: even, "baseline": base, "LoRA": lora}, ["without ControlNet: why"])
    assert measured.gain("LoRA", "effect on the rider") == pytest.approx((-0.2, -0.2, -0.2))
    assert measured.gain("LoRA", "attention on the rider") == pytest.approx((0.1, 0.1, 0.1))
    table = measured.table("b", "m")
    assert table.value("LoRA", "effect on the rider") == pytest.approx(0.3)
    assert (
        "LoRA - baseline, paired: attention, horse +0.000 [+0.000, +0.000]; attention, rider +0.100" in table.notes[2]
    )
    assert table.notes[-1] == "without ControlNet: why"
    assert table.notes[3].startswith("8 gains: ")
    assert measured.gain("baseline", "effect on the rider", EVEN).clear


def test_each_word_of_a_prompt_of_both_is_counted_on_its_own_thing(twin):
    pictures = riders(2)
    note = named_note(twin, Recipe(timestep=300), pictures)
    for which, (word, thing) in enumerate((("horse", "horse"), ("person", "rider"))):
        on, there = 0.0, 0.0
        for picture in pictures:
            read = extract(twin, picture.image, Recipe(timestep=300, taps=word_taps(twin, word), prompt=NAMED))
            mask = subjects(picture)[which]
            large = [F.interpolate(one, mask.shape, mode="bilinear")[0, 0].numpy() for one in read.values()]
            on += float(np.mean([one[mask].sum() / one.sum() for one in large]))
            there += float(mask.mean())
        assert re.search(f'"{word}" {on / there:.2f} .* times the {thing}\'s area', note)
