"""Attention maps from q and k: equal to what diffusers' own processor computes, per head, mean and per word."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor

import shiftless
from shiftless import BadInput
from shiftless.taps import attention as room
from shiftless.taps.attention import attention_map, word_columns
from shiftless.taps.names import select


@pytest.mark.parametrize("tokens", [5, 77])
def test_equal_to_diffusers_own_scores(tokens):
    torch.manual_seed(0)
    layer = Attention(query_dim=24, cross_attention_dim=16, heads=3, dim_head=8, processor=AttnProcessor()).eval()
    hidden, words = torch.randn(2, 12, 24), torch.randn(2, tokens, 16)
    q, k = layer.to_q(hidden), layer.to_k(words)
    theirs = layer.get_attention_scores(layer.head_to_batch_dim(q), layer.head_to_batch_dim(k))
    theirs = theirs.unflatten(0, (2, 3))  # B heads N T
    torch.testing.assert_close(attention_map(layer, q, k), theirs.mean(1).transpose(1, 2))
    heads = attention_map(layer, q, k, per_head=True)
    torch.testing.assert_close(heads, theirs.transpose(2, 3).flatten(1, 2))


def test_large_maps_summed_head_by_head_are_the_same(monkeypatch):
    torch.manual_seed(0)
    layer = Attention(query_dim=16, heads=4, dim_head=4).eval()
    q, k = torch.randn(2, 1, 9, 16)
    whole = attention_map(layer, q, k)
    monkeypatch.setattr(room, "_LARGEST_SCORES", 0)
    torch.testing.assert_close(attention_map(layer, q, k), whole)


def test_large_maps_a_head_each_are_the_same(monkeypatch):
    torch.manual_seed(0)
    layer = Attention(query_dim=16, heads=4, dim_head=4).eval()
    q, k = torch.randn(2, 2, 9, 16)
    whole = attention_map(layer, q, k, per_head=True)
    monkeypatch.setattr(room, "_LARGEST_SCORES", 0)
    assert torch.equal(attention_map(layer, q, k, per_head=True), whole)


@pytest.mark.parametrize("per_head", [False, True])
@pytest.mark.parametrize("largest", [0, 64_000_000])
@pytest.mark.parametrize(("dtype", "size"), [(torch.float16, 200), (torch.bfloat16, 3)])
def test_half_precision_scores_are_exact_and_finite(monkeypatch, dtype, size, per_head, largest):
    """The softmax of half-precision q and k as float64 gives it: fp16 would overflow here, bf16 be percents off."""
    monkeypatch.setattr(room, "_LARGEST_SCORES", largest)
    layer = Attention(query_dim=16, heads=2, dim_head=8).eval().to(dtype)
    torch.manual_seed(0)
    q, k = ((size * torch.randn(1, n, 16)).to(dtype) for n in (12, 7))
    scores = torch.einsum("bnhd,bthd->bhtn", *(x.double().unflatten(2, (2, 8)) for x in (q, k))) * layer.scale
    assert dtype != torch.float16 or scores.abs().max() / layer.scale > 65504
    exact = scores.softmax(2).flatten(1, 2) if per_head else scores.softmax(2).mean(1)
    result = attention_map(layer, q, k, per_head=per_head)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, exact.float(), rtol=1e-2 if size == 200 else 1e-5, atol=1e-6)


def test_scores_are_float32_under_autocast():
    torch.manual_seed(0)
    layer = Attention(query_dim=16, heads=2, dim_head=8).eval()
    q, k = torch.randn(2, 1, 9, 16) * 4
    with torch.autocast("cpu", torch.bfloat16):
        result = attention_map(layer, q, k)
    assert torch.equal(result, attention_map(layer, q, k))


def test_maps_are_a_distribution_over_tokens_and_groups_are_means_of_layers():
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    torch.manual_seed(0)
    latent, condition = torch.randn(1, 4, 16, 16), model.encode_prompt(["a red horse"])
    (group,) = select(["up.cross.map.s16"], model.taps)
    maps = model.denoise(latent, 50, condition, select([group.name, *group.members], model.taps)).maps
    assert len(group.members) == 3
    for value in maps.values():
        torch.testing.assert_close(value.sum(1), torch.ones_like(value[:, 0]))
    torch.testing.assert_close(maps[group.name], torch.stack([maps[m] for m in group.members]).mean(0))


def test_one_word_is_the_mean_of_its_tokens():
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    torch.manual_seed(0)
    latent, condition = torch.randn(2, 4, 8, 8), model.encode_prompt(["a red horse", "horse on the grass"])
    name = "up1.attn0.block0.cross.map"
    maps = model.denoise(latent, 50, condition, select([name, f"{name}:horse"], model.taps)).maps
    # the twin's tokenizer takes one token a letter: a(1) r e d (3) h o r s e
    torch.testing.assert_close(maps[f"{name}:horse"][0, 0], maps[name][0, 5:10].mean(0))
    torch.testing.assert_close(maps[f"{name}:horse"][1, 0], maps[name][1, 1:6].mean(0))
    with pytest.raises(BadInput, match="'zebra'"):
        model.denoise(latent, 50, condition, select([f"{name}:zebra"], model.taps))


def test_word_columns_finds_every_occurrence_and_no_part_of_a_word():
    words = ["", "horse ", "and ", "sea", "horse ", "and ", "Horse ", "", ""]
    assert word_columns(words, "horse") == [1, 6]
    assert word_columns(words, "seahorse") == [3, 4]


@pytest.mark.parametrize(
    ("word", "columns"),
    [
        ("café", range(3, 8)),  # a(1) in the twin's tokens: "a", then one a byte; é is two bytes
        ("CAFÉ", range(3, 8)),
        ("cafe\u0301", range(3, 8)),  # the same word, é as e and an accent
        ("пёс", range(8, 14)),
        ("don't", range(14, 19)),
        ("20", range(19, 21)),
        ("a red", None),
        ("cafe", None),
        ("пес", None),
        ("", None),
    ],
)
def test_words_with_accents_and_of_other_scripts_are_those_that_the_tokenizer_made(word, columns):
    """Every letter of the twin's vocabulary is a byte, so that each accented one lies in two tokens."""
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    (words,) = model.encode_prompt(["in Café ПЁС don't 20"]).words
    if columns is None:
        with pytest.raises(BadInput, match=r"in café пёс .* does not hold the word"):
            word_columns(words, word)
    else:
        assert word_columns(words, word) == list(columns)


def test_a_map_of_an_accented_word_is_read(tiny):
    recipe = shiftless.Recipe(taps=("up.cross.map.s16:café", "up.cross.map.s16"), prompt="a photo of a café")
    maps = shiftless.extract(tiny, np.zeros((64, 64, 3), np.uint8), recipe)
    columns = word_columns(maps.words, "café")
    assert "".join(maps.words[i] for i in columns).replace("<0xC3><0xA9>", "é").strip() == "café"
    whole, word = maps["up.cross.map.s16"], maps["up.cross.map.s16:café"]
    torch.testing.assert_close(word[0, 0], whole[0, columns].mean(0))
