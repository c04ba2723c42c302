"""A tokenizer that knows learned words, and a text encoder that is given their vectors by a hook."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch


class LearnedTokenizer:
    """A copy of a tokenizer with learned words in it: each becomes as many tokens as it has vectors.

    Words are found in a prompt as diffusers' TextualInversionLoaderMixin finds them, as added tokens. The tokens of
    their vectors have numbers beyond the vocabulary. Everything else is the tokenizer's own, which is not changed.

    vectors  number of a token -> its embedding, D
    spelled  number of a token -> the word that it belongs to

    >>> from shiftless.backbones.twins import byte_tokenizer
    >>> tokenizer = LearnedTokenizer(byte_tokenizer(), [("<x>", torch.zeros(2, 8))])
    >>> tokenizer.convert_ids_to_tokens(tokenizer("a <x> b")["input_ids"])
    ['a</w>', '<x>', '<x></w>', 'b</w>']
    """

    def __init__(self, tokenizer: Any, words: Sequence[tuple[str, torch.Tensor]]) -> None:
        self.tokenizer = copy.deepcopy(tokenizer)
        for word, _ in words:
            self.tokenizer.add_tokens(word)
        self.vectors: dict[int, torch.Tensor] = {}
        self.spelled: dict[int, str] = {}
        self._tokens: dict[int, list[int]] = {}
        self._last: set[int] = set()
        free = max(self.tokenizer.get_vocab().values()) + 1
        for word, rows in words:
            tokens = list(range(free, free + len(rows)))
            self.vectors.update(zip(tokens, rows))
            self.spelled.update(dict.fromkeys(tokens, word))
            self._tokens[self.tokenizer.convert_tokens_to_ids(word)] = tokens
            self._last.add(tokens[-1])
            free += len(rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["tokenizer"], name)

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        """Tokenize a prompt, without start and end."""
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return {"input_ids": [token for one in ids for token in self._tokens.get(one, [one])]}

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the tokens' texts, as CLIP's vocabulary writes them: the last one of a word ends with "</w>"."""
        return [
            self.spelled[one] + ("</w>" if one in self._last else "")
            if one in self.spelled
            else self.tokenizer.convert_ids_to_tokens(one)
            for one in ids
        ]


def encode(tokenizer: Any, encoder: Any, windows: Sequence[Sequence[int]], **options: Any) -> Any:
    """Call a text encoder with windows of tokens, those of learned words replaced by their vectors; its own output.

    The encoder's table of embeddings is not touched: a hook puts the vectors into what the table gave.
    """
    learned = tokenizer.vectors if isinstance(tokenizer, LearnedTokenizer) else {}
    places = [
        (row, column, id) for row, window in enumerate(windows) for column, id in enumerate(window) if id in learned
    ]
    known = [[0 if id in learned else id for id in window] for window in windows]
    ids = torch.tensor(known, device=encoder.device)
    if not places:
        return encoder(input_ids=ids, **options)
    rows, columns, tokens = zip(*places)
    vectors = torch.stack([learned[id] for id in tokens])

    def hook(_module: Any, _given: Any, embedded: torch.Tensor) -> torch.Tensor:
        embedded = embedded.clone()
        embedded[list(rows), list(columns)] = vectors.to(embedded)
        return embedded

    handle = encoder.get_input_embeddings().register_forward_hook(hook)
    try:
        return encoder(input_ids=ids, **options)
    finally:
        handle.remove()
