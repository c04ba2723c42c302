"""Templates fill what looks like a field, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiftless.conditions.template import fields_of, fill
from shiftless.errors import BadInput


@given(st.text(max_size=40), st.text(max_size=20))
def test_a_value_is_put_in_as_it_is(text, value):
    prompt = text.replace("{", "").replace("}", "") + "{category}"
    assert fill(prompt, {"category": value}) == prompt.replace("{category}", value)


@given(st.text(max_size=60).filter(lambda text: text != "auto"))
def test_a_prompt_without_fields_stays(text):
    if not fields_of(text):
        assert fill(text, {}) == text


def test_a_value_is_not_filled_again():
    assert fill("{a} {b}", {"a": "{b}", "b": "x"}) == "{b} x"


def test_auto_is_a_caption():
    assert fill("auto", {"caption": "a cow"}) == "a cow"
    assert fields_of("automatic") == ()


def test_a_missing_value_is_named():
    with pytest.raises(BadInput, match=r"a\.jpg: the prompt 'a \{b\}' asks for \{b\}"):
        fill("a {b}", {"c": "d"}, "a.jpg")
