"""DoRAs as tools write them, against weights that are decomposed and merged by hand, diffusers and peft."""

from __future__ import annotations

import copy

import pytest
import torch

from shiftless import BadInput
from shiftless.conditions.lora import adapted
from tests.conditions.lora_writers import (
    ATTENTION,
    CONVOLUTIONS,
    CROSS_Q,
    EVERYTHING,
    FEED,
    TOLERANCE,
    Layout,
    by_diffusers,
    decomposed,
    difference,
    dora_names,
    kohya,
    kohya_dora,
    layer,
    low_rank,
    magnitudes,
    merged,
    newer,
    parts_of,
    peft,
    product,
    wrapped,
    written,
)

DORAS = {  # write, layers, whose lengths, alpha / rank, settings of peft
    "peft names": (dora_names, EVERYTHING, False, 1.0, None),
    "lora.down": (lambda *a: dora_names(*a, write=newer), ATTENTION, False, 1.0, None),
    "peft names, .default.weight": (
        lambda *a: dora_names(*a, suffix="lora_magnitude_vector.default.weight"), FEED, False, 1.0, None),
    "peft folder": (
        lambda *a: dora_names(*a, write=wrapped, form="base_model.model.{path}"), ATTENTION, False, 2.0,
        {"r": 4, "lora_alpha": 8, "use_dora": True}),
    "kohya, rows": (kohya_dora, EVERYTHING, False, 0.5, None),
    "kohya, columns": (kohya_dora, EVERYTHING, True, 0.5, None),
}  # fmt: skip


@pytest.mark.parametrize("name", DORAS)
def test_a_dora_gives_what_merging_by_hand_gives(twin, reading, tmp_path, name):
    write, paths, columns, scale, config = DORAS[name]
    pairs = low_rank(twin, paths)
    lengths = magnitudes(twin, pairs, columns)
    file = written(Layout(name, write, config=config), write(twin, pairs, lengths), tmp_path)
    plain = reading()
    for strength in (1.0, 0.5):
        whole = {}
        for path, (down, up) in pairs.items():
            weight = layer(parts_of(twin), path).weight.data
            whole[path] = decomposed(weight, strength * scale * product(down, up, weight.shape), lengths[path])
        with merged(twin, whole):
            truth = reading()
        with adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, [(file, strength)]):
            ours = reading()
        assert difference(plain, truth) > 1e-3
        assert difference(ours, truth) < TOLERANCE
    assert torch.equal(reading(), plain)


def test_a_dora_is_what_diffusers_and_peft_make_of_it(twin, reading, tmp_path):
    paths = (*ATTENTION, *FEED, *CONVOLUTIONS)
    pairs = low_rank(twin, paths)
    state = dora_names(twin, pairs, magnitudes(twin, pairs))
    file = written(Layout("", peft), state, tmp_path)
    with adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, [(file, 1.0)]):
        ours = reading()
    assert difference(by_diffusers(twin, file, reading), ours) < TOLERANCE


def test_what_peft_saves_is_what_we_read(twin, reading, tmp_path):
    """A PeftModel of peft itself, plain and as a DoRA, saved by its own save_pretrained."""
    from peft import LoraConfig, get_peft_model

    for dora in (False, True):
        unet = copy.deepcopy(twin.unet)
        config = LoraConfig(
            r=4, lora_alpha=12, target_modules=["to_q", "conv1", "ff.net.2"], init_lora_weights=False, use_dora=dora,
            rank_pattern={"conv1": 2}, alpha_pattern={"mid_block.*to_q": 3},
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            tuned = get_peft_model(unet, config).eval()
            for key, value in tuned.named_parameters():
                if "lora_magnitude" in key:
                    value.data *= 1.1
        tuned.save_pretrained(tmp_path / str(dora))
        with adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, [(str(tmp_path / str(dora)), 1.0)]):
            ours = reading()
        theirs = reading({"unet": tuned.base_model.model, "text_encoder": twin.text_encoder})
        assert difference(ours, theirs) < TOLERANCE
        assert difference(ours, reading()) > 1e-3


def test_doras_and_loras_on_one_layer_add_up(twin, reading, tmp_path):
    pairs, others = low_rank(twin, (CROSS_Q,), seed=1), low_rank(twin, (CROSS_Q,), seed=2)
    lengths = magnitudes(twin, pairs)
    files = [
        written(Layout("", peft), dora_names(twin, pairs, lengths), tmp_path / "dora"),
        written(Layout("", peft), peft(others), tmp_path / "plain"),
    ]
    weight = layer(parts_of(twin), CROSS_Q).weight.data
    changed = decomposed(weight, product(*pairs[CROSS_Q], weight.shape), lengths[CROSS_Q])
    with merged(twin, {CROSS_Q: 2 * changed - weight - 0.5 * product(*others[CROSS_Q], weight.shape)}):
        truth = reading()
    for loras in ([files[0], files[1], files[0]], [files[1], files[0], files[0]]):
        with adapted({"unet": twin.unet}, [(file, -0.5 if file == files[1] else 1.0) for file in loras]):
            assert difference(reading(), truth) < TOLERANCE


def test_rows_and_columns_on_one_layer_are_refused(twin, tmp_path):
    pairs = low_rank(twin, (CROSS_Q,))
    files = [
        written(Layout("", kohya), kohya_dora(twin, pairs, magnitudes(twin, pairs, columns)), tmp_path / str(columns))
        for columns in (False, True)
    ]
    with (
        pytest.raises(BadInput, match="different kinds"),
        adapted({"unet": twin.unet}, [(file, 1.0) for file in files]),
    ):
        pytest.fail("they were taken")
