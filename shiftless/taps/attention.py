"""Attention maps, derived from queries and keys; no attention processor is ever swapped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import accumulate

import torch
from torch import nn

from shiftless.errors import BadInput

_LARGEST_SCORES = 64_000_000  # scores held at once; larger maps are summed head by head


def attention_map(
    attention: nn.Module, q: torch.Tensor, k: torch.Tensor, *, per_head: bool = False, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """softmax(q k^T scale) of one diffusers attention layer, as channels over the query grid.

    q  B N (heads d)    k  B T (heads d)    bias  B 1 T, added to the scores: very negative where a key is masked
    Returns B T N (mean over heads), or B (heads T) N. Float32, whatever the model's dtype: the scores are computed
    from float32 q and k, since half precision rounds them before the softmax and overflows beyond 65504.

    >>> layer = nn.Module()
    >>> layer.heads, layer.scale = 2, 0.5
    >>> maps = attention_map(layer, torch.randn(1, 6, 8), torch.randn(1, 3, 8))
    >>> maps.shape, bool(torch.allclose(maps.sum(1), torch.ones(1, 6)))
    (torch.Size([1, 3, 6]), True)
    """
    heads = int(attention.heads)  # type: ignore[arg-type]
    query, key = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k))  # B heads N d
    for name, x in (("norm_q", query), ("norm_k", key)):
        if getattr(attention, name, None) is not None:
            normed = getattr(attention, name)(x)
            query, key = (normed, key) if name == "norm_q" else (query, normed)
    return weights_of_keys(query, key, float(attention.scale), per_head=per_head, bias=bias)  # type: ignore[arg-type]


def weights_of_keys(
    query: torch.Tensor,
    key: torch.Tensor,
    scale: float,
    *,
    per_head: bool = False,
    bias: torch.Tensor | None = None,
    shown: slice = slice(None),
) -> torch.Tensor:
    """softmax(q k^T scale) of queries and keys as they meet: split into heads, normed and rotated.

    query  B heads N d    key  B heads T d    bias  B 1 T
    shown  which of the T keys are returned; the softmax is over all of them
    Returns what `attention_map` returns, with only the keys shown.

    >>> q, k = torch.randn(1, 2, 6, 4), torch.randn(1, 2, 5, 4)
    >>> weights_of_keys(q, k, 0.5, shown=slice(0, 3)).shape
    torch.Size([1, 3, 6])
    """
    heads = query.shape[1]
    scores = query.shape[0] * heads * query.shape[2] * key.shape[2]
    if scores <= _LARGEST_SCORES:
        maps = _softmax(query, key, scale, bias if bias is None else bias[:, None])[..., shown]
        return maps.transpose(2, 3).flatten(1, 2) if per_head else maps.mean(1).transpose(1, 2)
    one_by_one = (_softmax(query[:, head], key[:, head], scale, bias)[..., shown] for head in range(heads))
    if per_head:
        return torch.cat([one.transpose(1, 2) for one in one_by_one], 1)
    total = next(one_by_one)
    for one in one_by_one:
        total += one
    return (total / heads).transpose(1, 2)


def _softmax(q: torch.Tensor, k: torch.Tensor, scale: float, bias: torch.Tensor | None = None) -> torch.Tensor:
    """softmax(q k^T scale + bias) in float32, also where the caller has autocast on."""
    device = q.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    with torch.autocast(device, enabled=False) if autocast else nullcontext():
        scores = q.float() @ k.float().transpose(-1, -2)
        scores = scores.mul_(scale) if not scores.requires_grad else scores * scale
        return torch.softmax(scores if bias is None else scores + bias.float(), dim=-1)


_PARTS = re.compile(r"'(?:s|t|re|ve|m|ll|d)\b|[^\W\d_]+|\d|(?:[^\s\w]|_)+")  # what CLIP's tokenizers split a text into
_BYTES = re.compile("(?:<0x[0-9A-F]{2}>)+")


def word_columns(words: Sequence[str], word: str) -> list[int]:
    """Which token columns spell `word`, wherever it stands in the prompt.

    words  the prompt's tokens; one that ends a word ends with a space, one that holds a part of a character only is
           written as its bytes, "<0xC3>"
    word   a word, or several; case is ignored, accents are not, however they are encoded (Unicode's NFC is compared)

    Raises BadInput when the prompt does not hold the word.

    >>> word_columns(["", "a ", "gir", "affe ", "and ", "a ", "horse ", ""], "giraffe")
    [2, 3]
    >>> word_columns(["", "caf", "<0xC3>", "<0xA9> ", "don ", "'t ", ""], "CAFÉ")
    [1, 2, 3]
    >>> word_columns(["", "a ", "<cat-toy> ", "<cat-toy> ", ""], "<cat-toy>")
    [2, 3]
    """
    spelled: list[tuple[str, range]] = []  # each word, and its columns
    start, text = 0, ""
    for column, piece in enumerate(words):
        start = start if text else column
        text += piece
        if text and (not piece or piece.endswith(" ")):
            spelled.append((_normalised(text), range(start, column + bool(piece))))
            text = ""
    parts = word_parts(word)
    flat = [part for text, _ in spelled for part in word_parts(text) or [text]]  # a learned word may have several
    begins = [0, *accumulate(len(word_parts(text) or [text]) for text, _ in spelled)]
    columns = [
        column
        for first, begin in enumerate(begins)
        if parts and flat[begin : begin + len(parts)] == parts and begin + len(parts) in begins
        for _, where in spelled[first : begins.index(begin + len(parts))]
        for column in where
    ]
    if not columns:
        prompt = _decoded("".join(words)).strip()
        raise BadInput(f"the prompt {prompt!r} does not hold the word {word!r}; use one of its words after ':'")
    return sorted(set(columns))


def word_parts(text: str) -> list[str]:
    """Return the words of a text in lower case, as CLIP's tokenizers part them: letters, a digit, or signs.

    >>> word_parts("A horse's 2 ears.")
    ['a', 'horse', "'s", '2', 'ears', '.']
    """
    return _PARTS.findall(_normalised(text))


def _decoded(text: str) -> str:
    """Join characters whose bytes lie in several tokens."""
    return _BYTES.sub(lambda run: bytes.fromhex(re.sub("<0x|>", "", run[0])).decode(errors="replace"), text)


def _normalised(text: str) -> str:
    return unicodedata.normalize("NFC", _decoded(text)).strip().lower()
