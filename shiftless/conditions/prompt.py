"""Prompts: text of any length -> embeddings and the words behind each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from shiftless.conditions.condition import Condition
from shiftless.conditions.learned_tokenizer import LearnedTokenizer, encode
from shiftless.errors import BadInput

MOST_TOKENS = 65536
"""A window's length at most; a tokenizer without a limit says 10**30, and a window is padded to its length."""


def token_windows(tokenizer: Any, prompt: str) -> list[list[int]]:
    """Split a prompt into windows of the text encoder's length, each with its own start and end tokens.

    A prompt that fits gives one window, exactly what the tokenizer's own padding gives. A longer one is cut
    at word ends where possible, so that no word is split between windows. Raises BadInput for a tokenizer whose
    texts have no room for a word.
    """
    room = tokenizer.model_max_length - 2
    if not 1 <= room <= MOST_TOKENS:
        raise BadInput(f"the tokenizer's model_max_length is {room + 2}; it must be from 3 to {MOST_TOKENS}, mostly 77")
    ids = tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    windows: list[list[int]] = []
    while ids or not windows:
        cut = min(room, len(ids))
        if cut < len(ids):
            ends = [i + 1 for i in range(cut) if pieces[i].endswith("</w>")]
            cut = ends[-1] if ends else cut
        body = ids[:cut]
        ids, pieces = ids[cut:], pieces[cut:]
        padding = [tokenizer.pad_token_id] * (room - len(body))
        windows.append([tokenizer.bos_token_id, *body, tokenizer.eos_token_id, *padding])
    return windows


def token_words(tokenizer: Any, windows: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """Return the text of every token, "" for special ones; the last token of a word ends with a space.

    Each vector of a learned word is written as the whole word.
    A token that holds a part of a character only is written as its bytes: "<0xC3>", "<0xA9> " are the two of "é".
    """
    words: list[str] = []
    learned = tokenizer.spelled if isinstance(tokenizer, LearnedTokenizer) else {}
    for window in windows:
        ended = False  # some tokenizers pad with an ordinary token, so padding is known by its place
        for position, token in enumerate(tokenizer.convert_ids_to_tokens(list(window))):
            number = window[position]
            special = position == 0 or ended or number == tokenizer.eos_token_id
            ended = ended or number == tokenizer.eos_token_id
            words.append("" if special else f"{learned[number]} " if number in learned else text_of_token(token))
    return tuple(words)


def byte_alphabet() -> list[str]:
    """Return the character that a byte-level vocabulary (GPT-2's, CLIP's) writes for each of the 256 bytes.

    Printable bytes stand for themselves, the others for the characters from 256 on.

    >>> byte_alphabet()[ord("a")], byte_alphabet()[ord(" ")]
    ('a', 'Ġ')
    """
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


_BYTES = {letter: byte for byte, letter in enumerate(byte_alphabet())}


def text_of_token(token: str) -> str:
    """The text of one token of a byte-level vocabulary; any other token as it is."""
    body, end = (token.removesuffix("</w>"), " ") if token.endswith("</w>") else (token, "")
    if any(letter not in _BYTES for letter in body):
        return body + end
    content = bytes(_BYTES[letter] for letter in body)
    try:
        return content.decode() + end
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in content) + end


def encode_with_two_clips(tokenizers: Sequence[Any], encoders: Sequence[Any], prompt: str) -> Condition:
    """Encode one prompt with SDXL's two CLIP text encoders: embeds 1 T (D1 + D2), and "text_embeds" 1 P.

    Each encoder's last hidden state but one, before any final norm, side by side (Podell et al. 2023, section 2.1);
    "text_embeds" is the second one's projected end token. Of a long prompt it is that of the first window.
    """
    windows = [token_windows(tokenizer, prompt) for tokenizer in tokenizers]
    if len({(len(one), len(one[0])) for one in windows}) > 1:
        raise BadInput("the model's two tokenizers split a prompt differently; fetch or save the model again")
    outputs = [
        encode(tokenizer, encoder, one, output_hidden_states=True)
        for tokenizer, encoder, one in zip(tokenizers, encoders, windows, strict=True)
    ]
    hidden = torch.cat([output.hidden_states[-2] for output in outputs], -1)
    words = (token_words(tokenizers[0], windows[0]),)
    return Condition(hidden.reshape(1, -1, hidden.shape[-1]), words, {"text_embeds": outputs[-1].text_embeds[:1]})


def encode_with_clip(tokenizer: Any, encoder: Any, prompt: str) -> Condition:
    """Encode one prompt with a CLIP text encoder: embeds 1 T D with T = 77 for each window.

    The last hidden state after the final layer norm, without classifier-free guidance, as DIFT, GDF and GATE do.
    Windows of a long prompt are encoded apart and joined, so that nothing of the prompt is lost.
    """
    windows = token_windows(tokenizer, prompt)
    hidden = encode(tokenizer, encoder, windows).last_hidden_state
    return Condition(hidden.reshape(1, -1, hidden.shape[-1]), (token_words(tokenizer, windows),))
