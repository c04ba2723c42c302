"""Prompts of models whose text encoder is a language model that chats: a message, in the model's own template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from shiftless.conditions.condition import Condition
from shiftless.conditions.prompt import text_of_token
from shiftless.conditions.t5 import piece_words

_PLACE = "\x00"  # stands for the prompt, in order to find where the template puts it


def encode_with_chat(
    tokenizer: Any, encoder: Any, prompt: str, tokens: int, layers: Sequence[int], options: Mapping[str, Any]
) -> Condition:
    """Encode one prompt as the message of a user: embeds 1 T (layers D), the hidden states of some layers side by side.

    tokens   the least T: shorter prompts are padded to it, and longer ones are taken whole
    layers   which hidden states: 0 is the embedding of the tokens
    options  of the tokenizer's chat template

    The words are those of the prompt; the template's own have none.
    """
    text, start = _rendered(tokenizer, prompt, options)
    made = tokenizer(
        text, padding="max_length", max_length=tokens, return_offsets_mapping=True, return_tensors="pt"
    )  # fmt: skip
    ids, mask = made["input_ids"], made["attention_mask"]
    output = encoder(
        input_ids=ids.to(encoder.device),
        attention_mask=mask.to(encoder.device),
        output_hidden_states=True,
        use_cache=False,
    )
    embeds = torch.cat([output.hidden_states[layer] for layer in layers], -1)
    pieces = []
    for token, (first, last) in zip(tokenizer.convert_ids_to_tokens(ids[0].tolist()), made["offset_mapping"][0]):
        inside = first < last and first < start + len(prompt) and last > start
        piece = text_of_token(token) if inside else ""
        pieces.append("\u2581" * (piece[:1].isspace()) + piece.strip() if piece else "<none>")
    return Condition(embeds, (piece_words(pieces, ["<none>"]),))


def _rendered(tokenizer: Any, prompt: str, options: Mapping[str, Any]) -> tuple[str, int]:
    """The text that the encoder is given, and where the prompt begins in it."""
    with_prompt, with_place = (
        tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False, **options)
        for content in (prompt, _PLACE)
    )
    return with_prompt, max(with_place.find(_PLACE), 0)
