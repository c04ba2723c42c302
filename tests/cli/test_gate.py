"""docs/gate.md: its commands, run one after the other as they stand, on a twin and with tiny settings."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shiftless.presets
from shiftless.presets import preset, preset_or_file
from shiftless.tasks.head import CorrespondenceHead

pytestmark = pytest.mark.usefixtures("loaded_once")
PAGE = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")
COMMANDS = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()
TWIN = ("--model", "twin:sd15")
TINY = {  # what each command gets on top: a twin in the place of Stable Diffusion, and next to no work
    "caption": ("--captioner", "mini"),
    "lora": (*TWIN, "--steps", "1", "--checks", "1", "--batch", "1", "--rank", "2"),
    "fit": (*TWIN, "--pairs", "2", "--val-pairs", "1", "--steps", "2", "--side", "8"),
    "test": ("--pairs", "2"),  # the head brings its model
}


@pytest.fixture
def folders(tmp_path):
    """The page's photos/ and pairs/."""
    images = {}
    for folder, count in (("photos", 4), ("pairs", 30)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            noise = np.random.default_rng([count, i]).integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((80, 60)).save(tmp_path / folder / f"{i}.png")
            points = [[10, 10], [40, 30], [70, 50]]
            images[str(i)] = {"file": f"{i}.png", "width": 80, "height": 60, "keypoints": points}
    pairs = [[str(i), str(i + 1)] for i in range(0, 30, 2)]
    (tmp_path / "pairs" / "annotations.json").write_text(json.dumps({"images": images, "pairs": pairs}))
    return tmp_path


@pytest.fixture
def small(monkeypatch):
    """The preset's readings of pictures an eighth as large, denoised by two strides where it takes ten."""
    row = preset("gate-spair")
    recipes = tuple(one.but(size=64, start=one.start and one.timestep + 2) for one in row.recipes)
    monkeypatch.setitem(shiftless.presets._PRESETS, row.name, replace(row, recipes=recipes))


def test_the_whole_way_by_the_preset_s_name(command, folders, small, capsys):
    assert [shlex.split(line)[1:3] for line in COMMANDS] == [
        ["caption", "photos/"], ["lora", "train"], ["lora", "train"], ["correspond", "fit"], ["correspond", "test"],
    ]  # fmt: skip
    out = err = ""
    for line in COMMANDS:
        words = shlex.split(line)[1:]
        tiny = TINY[words[1] if words[0] == "correspond" else words[0]]
        code, out, err = command(*words, *tiny)
        assert code == 0, err
        if words[:2] == ["correspond", "fit"]:
            assert "6 readings to merge, 1 joined" in err
            assert "note: gate-spair is for sd15; it is read with twin:sd15" in err
    assert "note" not in err
    assert "6 readings" in out
    head, expected = CorrespondenceHead.from_pretrained("head"), preset("gate-spair").recipes
    assert head.recipes == expected
    assert len(head.layout.attention) == 1
    assert (preset_or_file("head/recipe.toml").model, preset_or_file("head/recipe.toml").recipes) == (TWIN[1], expected)
    assert sorted(file.name for file in Path("captions").iterdir()) == ["0.txt", "1.txt", "2.txt", "3.txt"]
    printed, fit = re.findall(r"^shiftless .*mine.toml.*$", PAGE, re.MULTILINE)
    Path("mine.toml").write_text(command(*shlex.split(printed)[1:3])[1], encoding="utf-8")
    code, _, err = command(*shlex.split(fit.replace("--out head", "--out mine"))[1:], *TINY["fit"])
    assert code == 0, err
    assert "6 readings to merge, 1 joined" in err
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1].replace('"sd15"', f'"{TWIN[1]}"')
    for source, name in (("0.png", "a.jpg"), ("1.png", "b.jpg")):
        Image.open(folders / "pairs" / source).resize((160, 120)).save(name)
    exec(code, {})
    assert "Matches" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["gate-spair-a.safetensors", "gate-spair-b.safetensors"])
def test_a_missing_lora_is_said_before_any_photo_is_read(command, folders, monkeypatch, missing):
    from shiftless.backbones.sd import StableDiffusion

    there = {"gate-spair-a.safetensors", "gate-spair-b.safetensors"} - {missing}
    lora = Path(__file__).parents[1] / "goldens" / "tiny-lora" / "kohya_lora.safetensors"
    (folders / there.pop()).write_bytes(lora.read_bytes())
    encoded = []
    monkeypatch.setattr(StableDiffusion, "encode_image", lambda *a, **k: encoded.append(1))
    code, _, err = command(*shlex.split(COMMANDS[3])[1:], *TINY["fit"])
    assert code == 2
    assert f"{missing}: no such LoRA file" in err
    assert encoded == []
    assert not (folders / "head").exists()
