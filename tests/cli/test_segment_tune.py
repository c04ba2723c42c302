"""`shiftless segment train --tune`: the model learns with the head, and `test` and `predict` read with both."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from shiftless.recipe import Recipe
from shiftless.tasks.scenehead import SceneHead
from tests.training.scenedata import CLASSES, scene

QUICK = ("-m", "twin:sd15", "-r", "one.toml", "--dtype", "fp32", "--steps", 1, "--every", 1, "--size", 64)
QUICK = (*QUICK, "--views", 1, "--head", "linear", "--rank", 2)


@pytest.fixture
def command(command):
    return partial(command, "segment")


@pytest.fixture
def labelled(tmp_path):
    """A photo to train on and one to validate on, and a recipe."""
    for split, seed in (("train", 0), ("val", 1)):
        for kind in ("images", "masks"):
            (tmp_path / "labelled" / kind / split).mkdir(parents=True)
        one = scene(seed)
        Image.fromarray(one.photo).save(tmp_path / f"labelled/images/{split}/{one.name}.png")
        Image.fromarray(one.values).save(tmp_path / f"labelled/masks/{split}/{one.name}.png")
    (tmp_path / "labelled/classes.json").write_text(json.dumps(CLASSES))
    (tmp_path / "one.toml").write_text(Recipe(timestep=20, taps=("up0", "up1"), size=64).to_toml())
    return tmp_path


def test_a_lora_learns_with_the_head_and_belongs_to_it(command, labelled):
    code, out, err = command("train", "labelled", "--out", "net", "--tune", "lora", *QUICK)
    assert code == 0, err
    assert "million of the model" in err
    assert "validation mIoU 0." in err
    head = SceneHead.from_pretrained(labelled / "net")
    assert (list(head.tuned), head.window) == (["lora.safetensors"], 64)
    code, out, err = command("test", "net", "labelled", "--dtype", "fp32")
    assert code == 0, err
    assert "windows of 64 pixels" in out
    code, out, err = command("predict", "labelled/images/val", "--head", "net", "--out", "done", "--dtype", "fp32")
    assert code == 0, err
    assert np.array(Image.open(labelled / "done/masks/scene 1.png")).shape == (32, 48)
    lora = labelled / "net/lora.safetensors"
    save_file({name: 2 * value for name, value in load_file(lora).items()}, lora)
    code, out, err = command("predict", "labelled/images/val", "--head", "net", "--out", "other")
    assert code == 2
    assert "lora.safetensors: other weights" in err
    assert len(err.strip().splitlines()) == 1
    assert not (labelled / "other/masks").exists()


def test_vpd_s_settings_tune_the_denoiser_with_prompts_of_the_classes(command, labelled):
    taps = ("up1.attn1", "up2.attn1", "both.cross.map.s16")
    recipe = Recipe(timestep=1, taps=taps, noise="none", latent="unscaled", size=64)
    (labelled / "one.toml").write_text(recipe.to_toml())
    code, _, err = command("train", "labelled", "--out", "net", "--settings", "vpd", *QUICK)
    assert code == 0, err
    head = SceneHead.from_pretrained(labelled / "net")
    assert sorted(head.tuned) == ["prompts.safetensors", "unet.safetensors"]
    assert ("both.cross.map.s16", len(CLASSES), 16) in head.levels.taps
    about = json.loads((labelled / "net/training.json").read_text())["settings"]
    assert (about["lr"], about["least_lr"], about["warmup"], about["lovasz"]) == (8e-5, 0, 1500, 0)
    code, _, err = command("test", "net", "labelled", "--dtype", "fp32")
    assert code == 0, err


def test_masks_on_what_an_implicit_caption_reads_are_named_by_words(command, labelled, clip):
    """ODISE: a learned caption, masks, and names that were not there in training."""
    head = ("--head", "mask2former", "--clip", clip, "--width", 64, "--queries", 4, "--layers", 1)
    code, _, err = command("train", "labelled", "--out", "net", "--tune", "prompts", "--prompts", "implicit",
                           *QUICK, *head)  # fmt: skip
    assert code == 0, err
    trained = SceneHead.from_pretrained(labelled / "net")
    assert (list(trained.tuned), trained.settings["proposals"]["words"]) == (["prompts.safetensors"], 8)
    code, out, err = command("test", "net", "labelled", "--dtype", "fp32")
    assert code == 0, err
    assert "mask2former head" in out
    words = ("words", "labelled/images/val", "--method", "odise", "--head", "net", "--classes", "sky,tram")
    words = (*words, "--masks-only", "--dtype", "fp32")
    code, _, err = command(*words, "--clip", clip)
    assert code == 0, err
    mask = np.array(Image.open(labelled / "segmented/masks/scene 1.png"))
    assert (mask.shape, mask.max() <= 1) == ((32, 48), True)
    code, _, err = command(*words)
    assert (code, "--method odise: takes --head and --clip and no --model" in err) == (2, True)
    (labelled / "net/clip").mkdir()
    code, _, err = command(*words, "--clip", clip)
    assert (code, "net/clip: no config.json of a CLIP" in err) == (2, True)


def test_bad_input_is_one_line(command, labelled):
    new = ("train", "labelled", "--out", "new", *QUICK)
    says = {
        (*new, "--tune", "all"): "--tune all: must be one of none, prompts, lora, unet",
        (*new, "--tune", "lora", "--keep", "disk"): "--keep disk: features of a model that learns change",
        (*new, "--tune", "lora", "--prompts", "implicit"): "--prompts implicit: a CLIP looks at the photos; give its",
        (*new, "--prompts", "classes"): "prompt embeddings learn with --tune prompts, lora or unet; give one",
        (*new, "--settings", "gates"): "no published settings 'gates': give one of gate",
        (*new, "--tune", "lora", "--dtype", "fp16"): "small gradients are lost in fp16",
        (*new, "--tune", "lora", "-m", "twin:dino-s16"): "not through the vit family",
    }
    for arguments, expected in says.items():
        code, _, err = command(*arguments)
        assert code == 2, (arguments, err)
        assert expected in err, (arguments, err)
        assert "Traceback" not in err
    assert not (labelled / "new").exists()
