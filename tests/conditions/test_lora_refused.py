"""LoRA files that cannot be followed: one line for each, and the model as it was."""

from __future__ import annotations

import json

import pytest
import torch

import shiftless
from shiftless import BadInput
from shiftless.conditions.lora import adapted
from shiftless.conditions.lora_file import read_config
from tests.conditions.lora_writers import (
    ATTENTION,
    CROSS_K,
    CROSS_Q,
    TEXT,
    Layout,
    kohya,
    low_rank,
    parts_of,
    peft,
    wrapped,
    written,
)


def poisoned(pairs, value, name="lora_B.weight"):
    state = {key: tensor.clone() for key, tensor in peft(pairs).items()}
    next(tensor for key, tensor in state.items() if key.endswith(name))[0, 0] = value
    return state


def tensors(*names):
    return lambda pairs: {name: torch.zeros(2, 2) for name in names}


def halves(stem, inside=2, outside=2, names=("lora_down", "lora_up"), rank=4):
    """One layer's halves, of zeros."""
    down, up = (f"{stem}.{name}.weight" for name in names)
    return lambda pairs: {down: torch.zeros(rank, inside), up: torch.zeros(outside, rank)}


def beside(key, value, write=peft):
    """A good LoRA and one tensor more."""
    return lambda pairs: write(pairs) | {key: value}


PEFT = ("lora_A", "lora_B")
CROSS_Q_MAGNITUDE = f"unet.{CROSS_Q}.lora_magnitude_vector"
REFUSED = {  # what each holds, and what is said of it
    "LoHa": (tensors("lora_unet_x.hada_w1_a", "lora_unet_x.hada_w1_b", "lora_unet_x.alpha"), "a LoHa, which is not"),
    "LoKr": (tensors("lora_unet_x.lokr_w1", "lora_unet_x.lokr_w2"), "a LoKr, which is not"),
    "OFT": (tensors("lora_unet_x.oft_blocks"), "a OFT, which is not"),
    "(IA)3": (tensors("lora_unet_x.weight", "lora_unet_x.on_input"), r"a \(IA\)3, which is not"),
    "Tucker": (beside("lora_unet_x.lora_mid.weight", torch.zeros(4, 4, 3, 3), kohya), "a Tucker-decomposed LoCon"),
    "whole weights": (tensors("lora_unet_x.diff", "lora_unet_x.diff_b"), "a difference of whole weights, which is not"),
    "Control-LoRA": (tensors("lora_controlnet", "input_blocks.0.0.up"), "a Control-LoRA, which is not"),
    "SDXL, second text encoder": (halves("lora_te2_text_model_encoder_layers_0_mlp_fc1"), "made for SDXL"),
    "SDXL, its blocks": (
        halves("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 2048, 640), "made for SDXL"),
    "SDXL, diffusers": (halves(f"unet.{CROSS_K}", 2048, 64, PEFT), "made for SDXL"),
    "Stable Diffusion 2": (halves(f"unet.{CROSS_K}", 1024, 64, PEFT), "made for Stable Diffusion 2"),
    "Flux": (halves("transformer.single_transformer_blocks.0.attn.to_q", names=PEFT), "SD3 or Flux"),
    "Flux, kohya": (halves("lora_unet_double_blocks_0_img_attn_proj"), "SD3 or Flux"),
    "SD3, kohya": (halves("lora_unet_joint_blocks_0_x_block_attn_qkv"), "SD3 or Flux"),
    "several adapters": (
        lambda pairs: peft(pairs, adapter=".one") | peft(pairs, adapter=".two"), r"several adapters \(one, two\)"),
    "embeddings only": (tensors("bundle_emb.word.string_to_param.*"), "holds no LoRA layers"),
    "an embedding": (tensors("emb_params"), "holds no LoRA layers"),
    "biases": (beside(f"unet.{CROSS_Q}.lora_B.bias", torch.zeros(64)), "1 unknown key"),
    "a magnitude alone": (beside("unet.mid_block.x.lora_magnitude_vector", torch.zeros(8)), "1 unknown key"),
    "no number": (lambda pairs: poisoned(pairs, float("nan")), r"lora_B\.weight holds values that are not finite"),
    "infinite": (lambda pairs: poisoned(pairs, float("-inf"), "lora_A.weight"), r"lora_A\.weight holds values that "),
    "no number as alpha": (
        lambda pairs: kohya(pairs, lambda number, rank: float("nan")), "alpha holds values that are not finite"),
    "no number as magnitude": (
        beside(CROSS_Q_MAGNITUDE, torch.full((64,), float("nan"))), "magnitude_vector holds values that are not"),
    "magnitudes of another layer": (beside(CROSS_Q_MAGNITUDE, torch.ones(48)), "48 magnitudes there and 64"),
    "empty halves": (halves(f"unet.{CROSS_Q}", 64, 64, PEFT, rank=0), "2 unknown keys"),
    "one half": (tensors(f"unet.{CROSS_Q}.lora_A.weight"), "1 unknown key"),
    "kohya, one half": (tensors("lora_unet_mid_block_x.lora_down.weight"), "of no format known here"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_other_kinds_are_refused_in_one_line(twin, reading, tmp_path, name):
    write, says = REFUSED[name]
    file = written(Layout(name, write), write(low_rank(twin, ATTENTION)), tmp_path)
    plain = reading()
    with (
        pytest.raises(BadInput, match=says) as raised,
        adapted(parts_of(twin), [(file, 1.0)]),
    ):
        pytest.fail("it was taken")
    assert str(raised.value).startswith(f"{file}: ")
    assert "\n" not in str(raised.value)
    assert torch.equal(reading(), plain)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (None, "must lie beside the weights, as it holds their alpha"),
        ("{", "not valid JSON"),
        ("[" * 100000, "not valid JSON"),
        ([], "not the settings of a LoRA"),
        ({"peft_type": 3}, "not the settings of a LoRA"),
        ({"peft_type": "LOHA"}, "an adapter of the kind LOHA"),
        ({"init_lora_weights": "pissa_niter_16"}, "begun by pissa_niter_16, so it needs other base weights"),
        ({"layer_replication": [[0, 4]]}, "the setting layer_replication is not supported"),
        ({"lora_bias": True}, "the setting lora_bias is not supported"),
        ({"use_dora": True}, "a DoRA that lacks the magnitude of"),
        ({"lora_alpha": "much"}, "no number as alpha"),
        ({"lora_alpha": float("nan")}, "no number as alpha"),
        ({"lora_alpha": 4, "alpha_pattern": {"(": 3}}, "no number as alpha"),
        ({"lora_alpha": 4, "alpha_pattern": [3]}, "no number as alpha"),
    ],
)
def test_peft_settings_that_cannot_be_followed_are_one_line(twin, tmp_path, settings, says):
    folder = written(Layout("", wrapped, config={}), wrapped(low_rank(twin, ATTENTION)), tmp_path)
    if settings is None:
        (tmp_path / "adapter_config.json").unlink()
    else:
        text = settings if isinstance(settings, str) else json.dumps(settings)
        (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(BadInput, match=says) as raised, adapted({"unet": twin.unet}, [(folder, 1.0)]):
        pytest.fail("it was taken")
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_settings_of_an_ordinary_peft_model_are_taken(tmp_path):
    """Whatever peft writes for a plain LoRA today is followed or changes nothing."""
    from peft import LoraConfig

    LoraConfig(r=4, lora_alpha=2, target_modules=["to_q"], init_lora_weights="gaussian").save_pretrained(tmp_path)
    config = read_config(tmp_path / "adapter_config.json")
    assert (config["lora_alpha"], config["use_dora"]) == (2, False)


def test_layers_of_another_part_in_a_parts_folder_are_refused(twin, tmp_path):
    written(Layout("", wrapped, config={}), {"unet": wrapped(low_rank(twin, TEXT))}, tmp_path)
    with pytest.raises(BadInput, match="holds layers of the text_encoder, not of the unet"):
        adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, [(str(tmp_path), 1.0)]).__enter__()


def test_weights_too_large_for_half_precision_are_refused(tmp_path, twin):
    half = shiftless.load("twin:sd15", device="cpu", dtype="fp16")
    pairs = {CROSS_Q: tuple(half * 1e5 for half in low_rank(twin, (CROSS_Q,))[CROSS_Q])}
    file = written(Layout("", peft), peft(pairs), tmp_path)
    with pytest.raises(BadInput, match=r"too large for torch\.float16; use dtype='fp32'"):
        adapted({"unet": half.unet, "text_encoder": half.text_encoder}, [(file, 1.0)]).__enter__()
