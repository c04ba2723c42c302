"""T5 prompts: text of any length -> embeddings, their mask, and the words behind each token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from shiftless.conditions.condition import Condition
from shiftless.taps.attention import word_parts

_SPACE = "\u2581"  # what sentencepiece writes for the space before a word


def encode_with_t5(tokenizer: Any, encoder: Any, prompt: str, tokens: int, *, masked: bool = True) -> Condition:
    """Encode one prompt with a T5 encoder: embeds 1 T D, and `extra["mask"]` 1 T, 1 for a token and 0 for padding.

    tokens  the least T: shorter prompts are padded to it, and longer ones are taken whole
    masked  whether words look past padding; SD3 and Flux were trained with embeddings in which they do not

    The last hidden state, as diffusers' pipelines take it.
    """
    text = tokenizer(prompt, padding="max_length", max_length=tokens, truncation=False, return_tensors="pt")
    ids, mask = text["input_ids"], text["attention_mask"]
    hidden = encoder(ids.to(encoder.device), attention_mask=mask.to(encoder.device) if masked else None)[0]
    words = piece_words(tokenizer.convert_ids_to_tokens(ids[0].tolist()), tokenizer.all_special_tokens)
    return Condition(hidden, (words,), {"mask": mask.to(encoder.device)})


def piece_words(pieces: Sequence[str], special: Sequence[str]) -> tuple[str, ...]:
    """Return the text of every sentencepiece token, "" for special ones; the last token of a word ends with a space.

    A comma or a full stop is a word of its own, as it is for CLIP's tokenizers.

    >>> piece_words(["\u2581a", "\u2581gir", "affe", ".", "</s>", "<pad>"], ["</s>", "<pad>"])
    ('a ', 'gir', 'affe ', '. ', '', '')
    """
    words: list[str] = []
    spelled = ""  # of the word that stands between two spaces, so far
    for i, piece in enumerate(pieces):
        text = "" if piece in special else piece.replace(_SPACE, "")
        spelled = text if piece.startswith(_SPACE) else spelled + text
        after = pieces[i + 1] if i + 1 < len(pieces) else ""
        ends = not after or after in special or after.startswith(_SPACE)
        if text and not ends and not (_is_byte(piece) and _is_byte(after)):
            ahead = "".join(takewhile(_is_byte, pieces[i + 1 :])) or after  # the bytes of a character belong together
            ends = len(word_parts(spelled + ahead)) > len(word_parts(spelled))
        words.append("" if piece in special else text + " " * ends)
    return tuple(words)


def _is_byte(piece: str) -> bool:
    """Whether a piece is a part of a character, written as its bytes."""
    return piece.startswith("<0x")
