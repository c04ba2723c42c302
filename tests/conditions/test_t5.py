"""T5's tokens and the words that they spell."""

from __future__ import annotations

import pytest

from shiftless.backbones.random_parts import t5_tokenizer
from shiftless.conditions.t5 import piece_words
from shiftless.taps.attention import word_columns


@pytest.mark.parametrize(
    ("prompt", "word", "spelled"),
    [
        ("a horse.", "horse", "horse "),
        ("a horse, running", "horse", "horse "),
        ("a horse's leg", "horse", "horse "),
        ("a cow and a cow-bell", "bell", "bell "),
        ("(a cow)", "cow", "cow "),
        ("two cows", "two cows", "two cows "),
        ("horse 21", "2", "2 "),
    ],
)
def test_a_word_is_found_beside_signs_as_in_clips_tokens(prompt, word, spelled):
    tokenizer = t5_tokenizer()
    words = piece_words(tokenizer.convert_ids_to_tokens(tokenizer(prompt)["input_ids"]), tokenizer.all_special_tokens)
    assert "".join(words[column] for column in word_columns(words, word)) == spelled


def test_pieces_as_t5_itself_cuts_them():
    pieces = ["▁A", "▁", "gir", "affe", "'", "s", "▁neck", ",", "▁tall", ".", "</s>", "<pad>"]
    words = piece_words(pieces, ["</s>", "<pad>"])
    assert word_columns(words, "giraffe") == [2, 3]
    assert word_columns(words, "neck") == [6]
    assert word_columns(words, "neck, tall") == [6, 7, 8]
