"""Gemma prompts: text behind an instruction -> embeddings, their mask, and the words behind each token."""

from __future__ import annotations

from typing import Any

import torch

from shiftless.conditions.condition import Condition
from shiftless.conditions.t5 import piece_words
from shiftless.errors import BadInput


def encode_with_gemma(tokenizer: Any, encoder: Any, prompt: str, tokens: int, instruction: str = "") -> Condition:
    """Encode one prompt as Sana does: embeds 1 T D, and `extra["mask"]` 1 T, 1 for a token and 0 for padding.

    tokens       the least T: shorter prompts are padded to it, and longer ones are taken whole
    instruction  what the language model reads before the prompt; of its tokens the first and the last are kept

    The prompt is read in lower case. The last hidden state, as diffusers' SanaPipeline takes it.
    """
    before = len(tokenizer(instruction)["input_ids"]) if instruction else 2
    text = instruction + prompt.lower().strip()
    length = max(before + tokens - 2, len(tokenizer(text)["input_ids"]))
    pads: dict[str, Any] = {"padding": "max_length", "max_length": length, "padding_side": "right"}
    read = tokenizer(text, truncation=False, return_tensors="pt", return_offsets_mapping=True, **pads)
    ids, mask = read["input_ids"].to(encoder.device), read["attention_mask"].to(encoder.device)
    kept = torch.tensor([0, *range(before - 1, length)], device=ids.device)
    hidden = encoder(ids, attention_mask=mask)[0][:, kept]
    ends = read["offset_mapping"][0, kept.cpu(), 1].tolist()  # 0 for special tokens
    pieces = tokenizer.convert_ids_to_tokens(ids[0, kept].tolist())
    own = [piece if end > len(instruction) else "" for piece, end in zip(pieces, ends)]
    return Condition(hidden, (piece_words(own, [""]),), {"mask": mask[:, kept]})


def encode_behind(tokenizer: Any, encoder: Any, prompt: str, tokens: int, instruction: str = "") -> Condition:
    """Encode one prompt as Lumina 2 does: embeds 1 T D, and `extra["mask"]` 1 T, 1 for a token and 0 for padding.

    tokens       T, to which shorter prompts are padded
    instruction  what the language model reads before the prompt; it is a part of the embeddings, without words

    The last hidden state but one, as diffusers' Lumina2Pipeline takes it. Raises BadInput for a longer prompt.
    """
    text = instruction + prompt
    count = len(tokenizer(text)["input_ids"])
    if count > tokens:
        raise BadInput(
            f"the model takes {tokens} tokens of text, and the prompt and its instruction have {count}; shorten it"
        )
    pads: dict[str, Any] = {"padding": "max_length", "max_length": tokens, "padding_side": "right"}
    read = tokenizer(text, return_tensors="pt", return_offsets_mapping=True, **pads)
    ids, mask = read["input_ids"].to(encoder.device), read["attention_mask"].to(encoder.device)
    hidden = encoder(ids, attention_mask=mask, output_hidden_states=True).hidden_states[-2]
    ends = read["offset_mapping"][0, :, 1].tolist()  # 0 for special tokens
    pieces = tokenizer.convert_ids_to_tokens(ids[0].tolist())
    own = [piece if end > len(instruction) else "" for piece, end in zip(pieces, ends)]
    return Condition(hidden, (piece_words(own, [""]),), {"mask": mask})
