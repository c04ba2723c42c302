"""Prompts: what fits is encoded as the tokenizer would; what does not fit is kept, window by window."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import shiftless
from shiftless.conditions.condition import Condition
from shiftless.conditions.prompt import token_windows
from shiftless.errors import BadInput


@pytest.fixture(scope="module")
def tiny(goldens):
    return shiftless.load(goldens / "tiny-sd", device="cpu", dtype="fp32")


@given(st.text(max_size=30))
def test_a_prompt_that_fits_is_what_the_tokenizer_pads_itself(tiny, text):
    windows = token_windows(tiny.tokenizer, text)
    if len(windows) == 1:
        assert windows[0] == tiny.tokenizer(text, padding="max_length", max_length=77)["input_ids"]


def test_a_long_prompt_loses_nothing_and_splits_no_word(tiny):
    prompt = "a photo of a cat and a photo of a dog " * 12
    windows = token_windows(tiny.tokenizer, prompt)
    assert len(windows) > 1
    assert {len(window) for window in windows} == {77}
    specials = (tiny.tokenizer.bos_token_id, tiny.tokenizer.eos_token_id)
    kept = [token for window in windows for token in window if token not in specials]
    assert kept == tiny.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    for window in windows:
        body = [token for token in window if token not in specials]
        assert tiny.tokenizer.convert_ids_to_tokens(body[-1]).endswith("</w>")


def test_long_prompts_reach_the_features(tiny):
    prompt = "a photo of a cat, " * 30
    latent = torch.randn(1, 4, 8, 8)
    condition = tiny.encode_prompt([prompt])
    assert condition.embeds.shape[1] % 77 == 0
    assert condition.embeds.shape[1] > 77
    assert len(condition.words[0]) == condition.embeds.shape[1]
    taps = [tap for tap in tiny.taps if tap.name in ("up1", "up1.attn0.block0.cross.map")]
    maps = tiny.denoise(latent, 50, condition, taps).maps
    assert maps["up1.attn0.block0.cross.map"].shape[1] == condition.embeds.shape[1]
    short = tiny.denoise(latent, 50, tiny.encode_prompt(["a photo of a cat"]), taps[-1:]).maps
    assert not torch.allclose(short["up1"], maps["up1"])


def test_a_prompt_is_encoded_once_and_the_cache_is_bounded(tiny, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "shiftless.backbones.sd.encode_with_clip",
        lambda *a: calls.append(a[2]) or Condition(torch.zeros(1, 77, 32), (("",) * 77,)),
    )
    monkeypatch.setattr("shiftless.backbones.latent_model._PROMPTS_KEPT", 2)
    monkeypatch.setattr(tiny, "_prompts", type(tiny._prompts)())
    for prompt in ("x", "y", "x", "z", "x", "y"):
        tiny.encode_prompt([prompt])
    assert calls == ["x", "y", "z", "y"]
    assert len(tiny._prompts) == 2


def test_words_name_the_tokens(tiny):
    words = tiny.encode_prompt(["a photo of a cat"]).words[0]
    assert "".join(words).split() == ["a", "photo", "of", "a", "cat"]
    assert words[0] == words[-1] == ""
    assert len(words) == 77


@pytest.mark.parametrize("length", [2, 0, -5, 10**30])
def test_a_tokenizer_without_room_for_a_word_is_refused(tiny, monkeypatch, length):
    monkeypatch.setattr(tiny.tokenizer, "model_max_length", length)
    with pytest.raises(BadInput, match=f"model_max_length is {length}; it must be from 3"):
        token_windows(tiny.tokenizer, "a cat")
