"""Prompts of models that take two things from a CLIP text encoder: its hidden states, and one vector for the text."""

from __future__ import annotations

from typing import Any

import torch

from shiftless.conditions.condition import Condition
from shiftless.conditions.prompt import token_windows, token_words


def encode_with_pooled_clip(tokenizer: Any, encoder: Any, prompt: str) -> Condition:
    """Encode one prompt with a CLIP text encoder: embeds 1 T D with T = 77 a window, and `extra["pooled"]` 1 P.

    The hidden states are those before the last layer, without a norm, as SDXL and SD3 take them. The pooled vector is
    the projected one for a CLIPTextModelWithProjection, and that of the end token for a CLIPTextModel; a prompt of
    several windows has that of its first.
    """
    windows = token_windows(tokenizer, prompt)
    output = encoder(input_ids=torch.tensor(windows, device=encoder.device), output_hidden_states=True)
    pooled = output.text_embeds if hasattr(output, "text_embeds") else output.pooler_output
    hidden = output.hidden_states[-2]
    words = (token_words(tokenizer, windows),)
    return Condition(hidden.reshape(1, -1, hidden.shape[-1]), words, {"pooled": pooled[:1]})
