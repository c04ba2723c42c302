"""Techniques are what the model has at hand: each changes what it is about and nothing else, and none is faked."""

from __future__ import annotations

import pytest

from miniworld.tables.methods import LORA_SCALE
from miniworld.tables.techniques import ALL, BASELINE, CONTROL, LORA, PROMPT, say_each, swap, techniques
from miniworld.world.picture import draw
from shiftless.backbones.registry import load
from shiftless.errors import BadInput
from shiftless.image import open_photo
from shiftless.recipe import Recipe


class Parrot:
    """A captioner that says the same of every photo."""

    name, fingerprint = "parrot", ""

    def caption(self, photos):
        return ["a brown horse with a rider"] * len(photos)


@pytest.fixture
def twin():
    return load("twin:sd15", dtype="fp32")


def changed(recipe, base):
    return {name for name, value in recipe._values().items() if value != base._values()[name]}


def test_each_technique_changes_its_own_fields_and_all_change_them_all(twin):
    twin._captioners[""] = Parrot()
    recipes, absent = techniques(twin, Recipe(timestep=100, taps=("up2",), seed=3, prompt="ignored"))
    assert list(recipes) == [BASELINE, PROMPT, CONTROL, ALL]
    assert [note.split(":")[0] for note in absent] == [f"without {LORA}"]
    base = recipes[BASELINE]
    assert (base.prompt, base.taps, base.seed, base.timestep) == ("a photo of a horse", ("up2",), 3, 100)
    assert changed(recipes[PROMPT], base) == {"prompt"}
    assert changed(recipes[CONTROL], base) == {"control", "start", "steps"}
    assert changed(recipes[ALL], base) == {"prompt", "control", "start", "steps"}
    assert "horse" in recipes[PROMPT].prompt
    assert (recipes[CONTROL].start, recipes[CONTROL].steps) == (140, 2)


def test_what_the_recipe_names_is_taken(twin):
    requested = Recipe(timestep=100, control="canny", control_scale=0.5, start=160, steps=3)
    control = techniques(twin, requested)[0][CONTROL]
    assert (control.control_scale, control.start, control.steps) == ((0.5,), 160, 3)
    assert not techniques(twin, requested)[0][BASELINE].control


@pytest.mark.parametrize("timestep", [998, 999])
def test_there_is_a_walk_as_long_as_there_is_room_above(twin, timestep):
    control = techniques(twin, Recipe(timestep=timestep))[0][CONTROL]
    assert control.steps is None
    assert control.start in (999, None)


@pytest.mark.parametrize("named", [{"lora": "no/such.safetensors"}, {"control": "depth"}, {"captioner": "blop"}])
def test_what_is_named_and_missing_is_an_error_not_a_gap(twin, named):
    with pytest.raises(BadInput):
        techniques(twin, Recipe(**named))


def test_a_lora_is_of_the_look(twin, monkeypatch):
    monkeypatch.setattr(twin, "loras", lambda: ["embroidery-a", "photo-a", "photo-b"])
    twin.adapted = lambda loras: load("twin:sd15").adapted(())  # the files themselves are not there
    photo = techniques(twin, Recipe(), "photo")[0][LORA]
    assert (photo.lora, photo.lora_scale) == (("photo-a",), (LORA_SCALE,))
    assert techniques(twin, Recipe(lora_scale=0.9), "photo")[0][LORA].lora_scale == (0.9,)
    assert techniques(twin, Recipe(lora="mine.safetensors"), "photo")[0][LORA].lora_scale == (1.0,)
    assert techniques(twin, Recipe(), "embroidery")[0][LORA].lora == ("embroidery-a",)
    assert LORA not in techniques(twin, Recipe(), "pencil")[0]


def test_captions_come_from_the_captioner_once_and_with_the_other_word(twin):
    twin._captioners[""] = Parrot()
    photo = open_photo(draw(1, kind="horse").image)
    recipes, _ = techniques(twin, Recipe())
    assert say_each(twin, [photo], recipes.values())(photo) == {
        "caption": "a brown horse with a rider",
        "swapped": "a brown cow with a rider",
    }
    assert say_each(twin, [photo], [recipes[BASELINE]])(photo) == {}


def test_only_whole_words_are_exchanged():
    assert swap("horses, Horse, seahorse, a horse.") == "horses, cow, seahorse, a cow."
