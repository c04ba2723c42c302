"""Tap names: grammar, globs, aliases, and errors that name the nearest right ones."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiftless import BadInput
from shiftless.backbones.registry import taps
from shiftless.taps.names import from_alias, select

SD15 = taps("sd15")
NAMES = [tap.name for tap in SD15]


def names(*expected: str) -> list[str]:
    return [tap.name for tap in select(expected, SD15, "sd15")]


def test_every_tap_selects_itself_and_names_are_unique():
    assert len(set(NAMES)) == len(NAMES) > 200
    for tap in SD15:
        assert select([tap.name], SD15) == (tap,)


def test_globs_keep_the_order_asked_for_and_drop_repeats():
    assert names("up?", "mid", "up1") == ["up0", "up1", "up2", "up3", "mid"]
    assert names("up.cross.map.s*") == [f"up.cross.map.s{s}" for s in (32, 16, 8)]


def test_a_plain_star_leaves_out_the_large_maps_for_each_head():
    assert not [n for n in names("up1*") if n.endswith(".heads")]
    assert names("up1.*.map.heads") == [n for n in NAMES if n.startswith("up1.") and n.endswith(".map.heads")]


def test_every_gdf_name_is_an_alias(goldens):
    for theirs in json.loads((goldens / "gdf_layer_shapes.json").read_text()):
        assert from_alias(theirs) in NAMES, theirs


@pytest.mark.parametrize(
    ("alias", "ours"),
    [
        ("up_ft_index=1", ["up1"]),
        ("up_ft2", ["up2"]),
        ("up-level1-upsampler-out", ["up1.upsampler"]),
        ("up_cross", ["up.cross.map.s32", "up.cross.map.s16"]),
        ("mid-vit-block0-self-v", ["mid.attn0.block0.self.v"]),
    ],
)
def test_papers_aliases(alias, ours):
    assert names(alias) == ours


def test_one_prompt_word_needs_a_cross_attention_map():
    (tap,) = select(["up.cross.map.s16:horse"], SD15)
    assert (tap.name, tap.word, tap.channels) == ("up.cross.map.s16:horse", "horse", 1)
    with pytest.raises(BadInput, match="cross-attention"):
        names("up1:horse")


@given(st.text(min_size=1, max_size=20))
def test_any_other_name_fails_with_one_line_that_helps(text):
    try:
        assert names(text)
    except BadInput as error:
        message = str(error)
    else:
        return
    assert "nearest" in message or "cross-attention" in message
    assert "\n" not in message or "\n" in text


def test_a_slip_names_the_tap_that_was_meant():
    with pytest.raises(BadInput, match=r"nearest: up1\.attn0\.block0\.cross\.q,"):
        names("up1.attn0.blok0.cross.q")
