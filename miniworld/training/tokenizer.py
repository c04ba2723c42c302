"""A CLIP tokenizer with a small vocabulary of our own: every word of the world's captions is one token."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
"""Tokens of a prompt with start, end and padding, as in Stable Diffusion; the longest captions have 72."""
Pair = tuple[str, str]


def learn_merges(words: Iterable[str]) -> list[Pair]:
    """Learn byte-pair merges until every one of the words is a single token (Sennrich et al. 2016).

    The rule is the usual one, the most frequent pair first, run to exhaustion; ties go to the smaller pair, so that
    the same words give the same merges.

    >>> learn_merges(["cat", "cow"])
    [('a', 't</w>'), ('c', 'at</w>'), ('c', 'o'), ('co', 'w</w>')]
    """
    spelt = [[*word[:-1], word[-1] + "</w>"] for word in sorted(set(words))]
    merges: list[Pair] = []
    while True:
        counts: Counter[Pair] = Counter(pair for word in spelt for pair in pairwise(word))
        if not counts:
            return merges
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        spelt = [_merge(word, best) for word in spelt]


def _merge(word: list[str], pair: Pair) -> list[str]:
    out: list[str] = []
    i = 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


def new_tokenizer(words: Iterable[str] | None = None) -> Any:
    """Build the `CLIPTokenizer` for the captions' vocabulary; any other text falls back to pieces, then to bytes.

    >>> tokenizer = new_tokenizer(["horse", "photo"])
    >>> tokenizer.tokenize("A photo!")
    ['a</w>', 'photo</w>', '!</w>']
    """
    from transformers import CLIPTokenizer

    if words is None:
        from miniworld.world import captions
        from miniworld.world.bedroom import captions as bedroom
        from miniworld.world.street import captions as street

        words = {*captions.vocabulary(), *bedroom.words(), *street.words()}
    merges = learn_merges(words)
    alphabet = _byte_alphabet()
    tokens = [*alphabet, *(c + "</w>" for c in alphabet), *(a + b for a, b in merges), START, END]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), vocab, [" ".join(m) for m in merges])
        return CLIPTokenizer.from_pretrained(folder)


def _byte_alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _write(folder: Path, vocab: dict[str, int], merges: list[str]) -> None:
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "do_lower_case": True, **special}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")


def save_tokenizer(tokenizer: Any, folder: str | Path) -> None:
    """Write the tokenizer as `vocab.json` and `merges.txt`, the files that every version of its class reads."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    _write(folder, model["vocab"], [m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
