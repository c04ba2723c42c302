"""BERT prompts: text -> embeddings, their mask, and the words behind each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shiftless.conditions.condition import Condition

_WITHIN = "##"  # what wordpiece writes before a token that goes on with a word


def encode_with_bert(tokenizer: Any, encoder: Any, prompt: str, tokens: int) -> Condition:
    """Encode one prompt with a BERT encoder: embeds 1 T D, and `extra["mask"]` 1 T, 1 for a token and 0 for padding.

    tokens  T: shorter prompts are padded to it, longer ones are cut
    """
    text = tokenizer(prompt, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt")
    ids, mask = text["input_ids"].to(encoder.device), text["attention_mask"].to(encoder.device)
    words = wordpiece_words(tokenizer.convert_ids_to_tokens(ids[0].tolist()), tokenizer.all_special_tokens)
    return Condition(encoder(ids, attention_mask=mask)[0], (words,), {"mask": mask})


def wordpiece_words(pieces: Sequence[str], special: Sequence[str]) -> tuple[str, ...]:
    """Return the text of every wordpiece token, "" for special ones; the last token of a word ends with a space.

    >>> wordpiece_words(["[CLS]", "a", "gir", "##affe", "[SEP]", "[PAD]"], ["[CLS]", "[SEP]", "[PAD]"])
    ('', 'a ', 'gir', 'affe ', '', '')
    """
    ends = [not after.startswith(_WITHIN) for after in (*pieces[1:], "")]
    return tuple(
        "" if piece in special else piece.removeprefix(_WITHIN) + " " * end for piece, end in zip(pieces, ends)
    )
