"""Prompts are filled for each photo: by the caller, by a function, or by a captioner that sees the photo only."""

from __future__ import annotations

import numpy as np
import pytest

import shiftless
from shiftless import BadInput, Recipe
from shiftless.image import open_photo
from shiftless.reading import stream
from shiftless.reading.words import prompts_of

PHOTOS = [open_photo(np.full((64, 64, 3), value, np.uint8), name) for value, name in ((10, "dark"), (240, "light"))]


class Brightness:
    """A captioner that says what it sees."""

    name = "brightness"
    fingerprint = "brightness-1"

    def __init__(self):
        self.recorded = []

    def caption(self, photos):
        self.recorded += [photo.name for photo in photos]
        return ["a bright picture" if photo.array.mean() > 128 else "a dim picture" for photo in photos]


@pytest.fixture
def model(monkeypatch, tmp_path):
    monkeypatch.setenv("SHIFTLESS_CACHE", str(tmp_path))
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    model._captioners[""] = Brightness()
    return model


def test_one_value_for_all_or_one_a_photo(model):
    recipe = Recipe(prompt="a {category}")
    assert prompts_of(model, PHOTOS, recipe, {"category": "cow"}) == ["a cow", "a cow"]
    assert prompts_of(model, PHOTOS, recipe, lambda photo: {"category": photo.name}) == ["a dark", "a light"]
    assert prompts_of(model, PHOTOS, Recipe(prompt="plain {}"), None) == ["plain {}", "plain {}"]


def test_auto_asks_the_captioner_once_for_each_photo(model):
    recipes = [Recipe(prompt="auto"), Recipe(prompt="{caption}, high quality")]
    result = shiftless.extract(model, PHOTOS, recipes)
    assert [maps.prompt for bucket in result for maps in bucket] == [
        "a dim picture", "a dim picture, high quality", "a bright picture", "a bright picture, high quality",
    ]  # fmt: skip
    assert sorted(model.captioner("").recorded) == ["dark", "light"]


def test_a_caption_that_is_given_is_not_asked_for(model):
    assert prompts_of(model, PHOTOS, Recipe(prompt="auto"), {"caption": "a horse"}) == ["a horse", "a horse"]
    assert model.captioner("").recorded == []


def test_a_field_without_a_value_is_told(model):
    with pytest.raises(BadInput, match=r"dark: the prompt 'a \{category\}' asks for \{category\}; give it a value"):
        prompts_of(model, PHOTOS, Recipe(prompt="a {category}"), None)


def test_a_stream_goes_on_without_the_photo_that_has_no_words(model):
    skipped = []
    given = {"dark": {}, "light": {"category": "cow"}}
    recipe = Recipe(prompt="a {category}")
    result = list(stream(model, PHOTOS, recipe, fill=lambda photo: given[photo.name], skipped=skipped))
    assert [maps.name for maps in result] == ["light"]
    assert len(skipped) == 1
    assert skipped[0].startswith("dark: ")
