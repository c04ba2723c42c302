"""What a command says on stderr beside its results: warnings, interruptions, notes, and what -v and -q change."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from shiftless.backbones.sd import StableDiffusion
from shiftless.recipe import Recipe

TWIN = ("-m", "twin:sd15")
LORA = ("lora", "train", "few", *TWIN, "--steps", 2, "--checks", 1, "--captioner", "none", "--out", "a.safetensors")
FIT = ("correspond", "fit", "-r", "plain.toml", "--data", "photos", "--steps", 1, "--out", "head")
AUDIT = ("audit", "few", *TWIN, "--recipe", "plain.toml", "--finish", 0, "--draws", 1)
NOTE = "note: mini was trained on pictures of its drawn world and is not for photographs"


@pytest.fixture(autouse=True)
def inputs(tmp_path):
    """Photos with annotated pairs, a few of them in a folder of their own, and a recipe."""
    folder, few = tmp_path / "photos", tmp_path / "few"
    folder.mkdir()
    few.mkdir()
    images = {}
    for i in range(30):
        noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        for place in [folder, few][: 2 if i < 4 else 1]:
            Image.fromarray(noise).save(place / f"{i}.png")
        points = [[10, 10], [40, 30], [60, 50]]
        images[str(i)] = {"file": f"{i}.png", "width": 64, "height": 64, "keypoints": points}
    pairs = [[str(i), str(i + 1)] for i in range(0, 30, 2)]
    (folder / "annotations.json").write_text(json.dumps({"images": images, "pairs": pairs}))
    (tmp_path / "plain.toml").write_text(Recipe(size=64).to_toml())


@pytest.mark.parametrize("words", [AUDIT, LORA, ("extract", "photos", *TWIN)], ids=lambda words: words[0])
def test_ctrl_c_inside_a_command_is_one_line_and_its_own_exit_code(command, monkeypatch, words):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(StableDiffusion, "denoise", interrupted)
    monkeypatch.setattr("shiftless.training.lora.candidate_error.HeldOut.errors", interrupted)
    code, _, err = command(*words)
    assert code == 130
    assert err.splitlines()[-1].startswith("error: stopped; what was written is whole")
    assert err.count("stopped") == 1
    assert "Traceback" not in err


def test_features_that_are_not_finite_are_one_line_on_stderr(command, monkeypatch):
    encode = StableDiffusion.encode_image
    monkeypatch.setattr(StableDiffusion, "encode_image", lambda *a, **k: encode(*a, **k) * torch.nan)
    code, _, err = command("extract", "photos/0.png", "photos/1.png", "-q", *TWIN, "--taps", "up1")
    assert code == 0
    assert [line for line in err.splitlines() if "finite" in line] == [
        "warning: photos/0.png: values that are not finite in up1, and perhaps in later photos; read in fp32, and "
        "check the model and its adapters"
    ]


def test_embeddings_left_out_of_a_lora_are_one_line_on_stderr(command, tmp_path):
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    width = command_width()
    state = {
        f"{layer}.lora_A.weight": torch.zeros(2, width),
        f"{layer}.lora_B.weight": torch.zeros(width, 2),
        "bundle_emb.myword.string_to_param.*": torch.zeros(2, 32),
    }
    save_file(state, tmp_path / "look.safetensors")
    code, _, err = command("extract", "photos/0.png", "-q", *TWIN, "--lora", "look.safetensors")
    assert code == 0, err
    assert err.splitlines() == [
        "warning: look.safetensors: the textual-inversion embeddings in it (myword) are left out"
    ]


def command_width() -> int:
    """The width of the twin's middle block."""
    from shiftless.backbones.registry import load

    layer = load("twin:sd15").unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
    return int(layer.in_features)


def test_own_pairs_read_with_a_model_of_drawn_pictures_are_noted_too(command):
    code, _, err = command(*FIT, "-m", "mini", "--pairs", 1, "--val-pairs", 1)
    assert code == 0, err
    assert [line for line in err.splitlines() if line.startswith(NOTE)]
    code, _, err = command("correspond", "test", "head", "--data", "photos", "-m", "mini", "--pairs", 1)
    assert code == 0, err
    assert [line for line in err.splitlines() if line.startswith(NOTE)]


def test_drawn_pairs_need_no_note(command):
    code, _, err = command(*FIT[:4], "--steps", 1, "--out", "head", "-m", "mini", "--pairs", 1, "--val-pairs", 1)
    assert code == 0, err
    assert NOTE not in err


@pytest.mark.parametrize(
    "words", [AUDIT, LORA, (*FIT, *TWIN, "--pairs", 1, "--val-pairs", 1)], ids=lambda words: words[0]
)
def test_quiet_says_nothing_of_progress(command, words):
    code, _, err = command(*words, "-q")
    assert code == 0
    assert [line for line in err.splitlines() if not line.startswith("warning: ")] == []


def test_verbose_names_controlnets_and_their_device(command):
    code, _, err = command(
        "extract", "photos/0.png", "-v", *TWIN, "--control", "canny", "--device", "cpu", "--dtype", "fp32"
    )
    assert code == 0, err
    assert "twin:sd15: ControlNet canny loaded on cpu in float32" in err


def test_lora_train_says_first_what_it_will_do(command):
    code, _, err = command(*LORA)
    assert code == 0, err
    assert err.splitlines()[0] == "training a LoRA on 4 photos for 2 steps"
