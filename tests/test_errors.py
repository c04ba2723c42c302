"""A refusal is one line that a terminal can show, whatever a hostile file puts into it."""

from __future__ import annotations

import pickle

from shiftless.errors import MOST, BadInput


def test_a_message_stays_as_it_is():
    text = "Bücher/ä b.jpg: 日本 is too small; give a larger one"
    assert str(BadInput(text)) == text
    assert str(pickle.loads(pickle.dumps(BadInput(text)))) == text


def test_lines_are_joined_and_control_codes_are_written_out():
    assert str(BadInput("a\nb\r\nc")) == "a b c"
    assert str(BadInput("\x1b[31mred\x07\0")) == r"\x1b[31mred\x07\x00"
    assert str(BadInput("\udcff.jpg: no such file")).encode() == rb"\udcff.jpg: no such file"


def test_a_long_message_keeps_its_beginning_and_its_end():
    text = str(BadInput("a.json: 'width' is " + "x" * 5000 + "; give a whole number"))
    assert len(text) == MOST
    assert text.startswith("a.json: 'width' is xxx")
    assert text.endswith("; give a whole number")
