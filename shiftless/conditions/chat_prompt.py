"""Prompts of models whose text encoder is a language model that chats: a message, in a template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from shiftless.conditions.condition import Condition
from shiftless.conditions.prompt import text_of_token
from shiftless.conditions.t5 import piece_words
from shiftless.errors import BadInput

_PLACE = "\x00"  # stands for the prompt, in order to find where the template puts it


def encode_with_chat(
    tokenizer: Any,
    encoder: Any,
    prompt: str,
    tokens: int,
    layers: Sequence[int],
    options: Mapping[str, Any],
    system: str = "",
) -> Condition:
    """Encode one prompt as the message of a user: embeds 1 T (layers D), the hidden states of some layers side by side.

    tokens   the least T: shorter prompts are padded to it, and longer ones are taken whole
    layers   which hidden states: 0 is the embedding of the tokens
    options  of the tokenizer's chat template
    system   a message that stands before it, in the form of models that are told pictures too

    The words are those of the prompt; the template's own have none.
    """
    text, start = _rendered(tokenizer, prompt, options, system)
    made = _tokenized(tokenizer, text, tokens)
    hidden = _hidden_states(encoder, made)
    embeds = torch.cat([hidden[layer] for layer in layers], -1)
    return Condition(embeds, (_words(tokenizer, made, start, start + len(prompt)),))


def encode_in_template(
    tokenizer: Any, encoder: Any, prompt: str, template: str, dropped: int, multiple: int, most: int
) -> Condition:
    """Encode one prompt in a template: embeds 1 T D, and `extra["mask"]` 1 T, 1 for a token and 0 for padding.

    template  with "{}" for the prompt                dropped  how many tokens of its beginning have no embeddings
    multiple  what T is rounded up to a multiple of   most     the most tokens that are taken

    The last hidden state; that of padding is 0. The words are those of the prompt. Raises BadInput for a prompt that
    is longer than `most`.
    """
    start, text = template.index("{}"), template.replace("{}", prompt, 1)
    return _masked(tokenizer, encoder, text, (start, start + len(prompt)), -1, dropped, multiple, most)


def encode_masked_chat(
    tokenizer: Any, encoder: Any, prompt: str, options: Mapping[str, Any], *, layer: int, multiple: int, most: int
) -> Condition:
    """Encode one prompt as the message of a user: embeds 1 T D, and `extra["mask"]` 1 T, 1 for a token, 0 for padding.

    options  of the tokenizer's chat template    layer  which hidden state: 0 is the embedding of the tokens
    multiple  what T is rounded up to a multiple of    most  the most tokens that are taken

    That of padding is 0. Raises BadInput for a prompt that is longer than `most`.
    """
    text, start = _rendered(tokenizer, prompt, options, "")
    return _masked(tokenizer, encoder, text, (start, start + len(prompt)), layer, 0, multiple, most)


def _masked(
    tokenizer: Any,
    encoder: Any,
    text: str,
    place: tuple[int, int],
    layer: int,
    dropped: int,
    multiple: int,
    most: int,
) -> Condition:
    """One hidden state of a text in which the prompt lies in a place, without the first tokens, padded and masked."""
    count = len(tokenizer(text)["input_ids"]) - dropped
    if count > most:
        raise BadInput(
            f"the model takes {most} tokens of text, and the prompt and its template have {count}; shorten it"
        )
    made = _tokenized(tokenizer, text, dropped + -(-count // multiple) * multiple, padding_side="right")
    mask = made["attention_mask"][:, dropped:].to(encoder.device)
    embeds = _hidden_states(encoder, made)[layer][:, dropped:] * mask[..., None]
    return Condition(embeds, (_words(tokenizer, made, *place)[dropped:],), {"mask": mask})


def _tokenized(tokenizer: Any, text: str, tokens: int, **options: Any) -> Any:
    """The tokens of a text that holds its special ones, padded to at least so many, on the tokenizer's own side."""
    options |= {"padding": "max_length", "max_length": tokens, "truncation": False, "add_special_tokens": False}
    return tokenizer(text, return_offsets_mapping=True, return_tensors="pt", **options)


def _hidden_states(encoder: Any, made: Any) -> Any:
    ids, mask = (made[name].to(encoder.device) for name in ("input_ids", "attention_mask"))
    return encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states


def _words(tokenizer: Any, made: Any, start: int, end: int) -> tuple[str, ...]:
    """The text of every token that lies between two places of the text, "" for others."""
    pieces = []
    for token, (first, last) in zip(
        tokenizer.convert_ids_to_tokens(made["input_ids"][0].tolist()), made["offset_mapping"][0]
    ):
        piece = text_of_token(token) if first < last and first < end and last > start else ""
        pieces.append("\u2581" * (piece[:1].isspace()) + piece.strip() if piece else "<none>")
    return piece_words(pieces, ["<none>"])


def _rendered(tokenizer: Any, prompt: str, options: Mapping[str, Any], system: str) -> tuple[str, int]:
    """The text that the encoder is given, and where the prompt begins in it."""

    def messages(content: str) -> list[dict[str, Any]]:
        if not system:
            return [{"role": "user", "content": content}]
        told = (("system", system), ("user", content))
        return [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in told]

    with_prompt, with_place = (
        tokenizer.apply_chat_template(messages(content), tokenize=False, **options) for content in (prompt, _PLACE)
    )
    return with_prompt, max(with_place.find(_PLACE), 0)
