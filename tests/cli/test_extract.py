"""`shiftless extract`: what is there already is what would be read again; what cannot fit is refused."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import shiftless
from shiftless.backbones.registry import models
from shiftless.backbones.twins import save_folder, twin_parts

pytestmark = pytest.mark.usefixtures("loaded_once")
MODEL = ("-m", "twin:sd15")
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "ph"
    folder.mkdir()
    for i, hw in enumerate(((64, 96), (96, 64))):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (*hw, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def extract(command, photos):
    """Run extract on the photos: what it says, and the features it left, by the files' names."""

    def run(*arguments):
        code, _, err = command("extract", photos, "-o", "out", *arguments)
        assert code == 0, err
        return err, {path.name: shiftless.FeatureMaps.open(path) for path in Path("out").glob("*.safetensors")}

    return run


def lines():
    return [json.loads(line) for line in Path("out/index.jsonl").read_text().splitlines()]


def test_another_model_is_read_and_never_answered_for(extract):
    extract("-m", "twin:sd21", "--taps", "up2")
    err, result = extract(*MODEL, "--taps", "up2")
    assert "2 read into out" in err
    assert sorted(maps.origin.model for maps in result.values()) == ["twin:sd15"] * 2 + ["twin:sd21"] * 2
    assert "0 read into out, 2 were there already" in extract(*MODEL, "--taps", "up2")[0]


def test_a_lora_that_was_trained_again_is_read_again(extract, tmp_path):
    key = "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_{}.weight"
    for value in (0.1, 0.2):
        halves = {"A": torch.full((2, 64), value), "B": torch.full((64, 2), value)}
        save_file({key.format(half): weight for half, weight in halves.items()}, "a.safetensors")
        err, result = extract(*MODEL, "--lora", "a.safetensors")
        assert "2 read into out" in err
    assert len(result) == 4
    shutil.copy("a.safetensors", "moved.safetensors")  # the same contents elsewhere are the same adapter
    assert "2 were there already" in extract(*MODEL, "--lora", "moved.safetensors")[0]


@pytest.mark.parametrize("change", [("--save-dtype", "fp32"), ("--pool", "2"), ("--dtype", "fp32"), ("--size", "192")])
def test_what_is_saved_otherwise_is_read_again(extract, change):
    extract(*MODEL, "--dtype", "bf16")
    assert "2 read into out" in extract(*MODEL, *(() if change[0] == "--dtype" else ("--dtype", "bf16")), *change)[0]


def test_a_caption_that_was_changed_is_read_again(extract, tmp_path):
    words = tmp_path / "words"
    words.mkdir()
    for i in (0, 1):
        (words / f"{i}.txt").write_text("a cow")
    extract(*MODEL, "--prompt", "auto", "--captions", words)
    (words / "1.txt").write_text("a horse")
    err, result = extract(*MODEL, "--prompt", "auto", "--captions", words)
    assert "1 read into out, 1 were there already" in err
    assert sorted(maps.prompt for maps in result.values()) == ["a cow", "a cow", "a horse"]


def test_maps_are_saved_in_fp16_unless_told(extract):
    from safetensors.numpy import load_file

    for dtype, kind in (((), torch.float16), (("--save-dtype", "bf16"), torch.bfloat16)):
        shutil.rmtree("out", ignore_errors=True)
        _, result = extract(*MODEL, "--dtype", "bf16", *dtype)
        assert {maps["up1"].dtype for maps in result.values()} == {kind}
        if not dtype:
            assert load_file(f"out/{next(iter(result))}")["up1"].dtype == np.float16


def test_pooled_maps_say_their_stride_and_lie_where_they_did(extract):
    whole = extract(*MODEL, "--save-dtype", "fp32")[1]
    shutil.rmtree("out")
    pooled = extract(*MODEL, "--save-dtype", "fp32", "--pool", "2")[1]
    for a, b in zip(sorted(whole.values(), key=lambda m: m.name), sorted(pooled.values(), key=lambda m: m.name)):
        assert (b.taps["up1"].stride, b.origin.pool) == (2 * a.taps["up1"].stride, 2)
        torch.testing.assert_close(b["up1"], torch.nn.functional.avg_pool2d(a["up1"], 2))


def test_what_cannot_fit_is_refused_before_anything_is_written(command, photos, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, 10_000))
    code, _, err = command("extract", photos, *MODEL, "-o", "out")
    assert code == 2
    assert "features:" in err.splitlines()[-1]
    assert "for 2 photos" in err
    assert "10 kB are free" in err
    assert not Path("out").exists()
    assert command("extract", photos, *MODEL, "-o", "out", "--save-dtype", "fp8")[0] == 2


def test_the_size_that_is_said_is_the_size_that_is_written(extract, photos):
    from shiftless.backbones.registry import load
    from shiftless.recipe import Recipe
    from shiftless.store.folder import FeatureFolder
    from shiftless.store.size import size_of

    taps = ("up1", "up.cross.map.s16", "up1.attn0.block0.cross.map.heads", "up1.attn0.block0.self.map")
    recipe = Recipe(taps=taps, prompt="a horse")
    folder = FeatureFolder("out", load("twin:sd15"), [recipe], pool=2)
    message = size_of(folder, sorted(photos.iterdir()))
    extract(*MODEL, "--taps", ",".join(taps), "--prompt", "a horse", "--pool", "2")
    written = sum(path.stat().st_size for path in Path("out").glob("*.safetensors"))
    assert abs(message.total - written) < 4096 * 2
    assert size_of(folder, sorted(photos.iterdir())).there == written


def test_the_index_has_a_line_for_every_file_and_survives_a_kill(extract):
    _, result = extract(*MODEL)
    rows = lines()
    assert {row["file"] for row in rows} == set(result)
    row = rows[0]
    maps = result[row["file"]]
    assert (row["photo"], row["digest"], row["fingerprint"]) == (maps.name, maps.origin.photo, maps.origin.fingerprint)
    assert row["taps"]["up1"] == {"shape": list(maps["up1"].shape[1:]), "dtype": "fp16", "stride": 16}
    assert row["bytes"] == (Path("out") / row["file"]).stat().st_size
    whole = Path("out/index.jsonl").read_bytes()
    gone = b'{"file": "gone.safetensors", "photo": "x"}\n'
    for damaged in (whole[:-20], b"", whole + gone, b"[" * 99999 + b"\n" + whole):
        Path("out/index.jsonl").write_bytes(damaged)
        extract(*MODEL)
        assert sorted(map(str, lines())) == sorted(map(str, rows))


def test_files_of_something_else_are_left_out_of_the_index_with_a_line(command, photos, extract):
    extract(*MODEL)
    Path("out/old.safetensors").write_bytes(b"nothing")
    code, _, err = command("extract", photos, *MODEL, "-o", "out")
    assert code == 0
    assert "left out of the index: out/old.safetensors: not a whole file of features" in err
    assert len(lines()) == 2


def test_values_beyond_fp16_are_saved_in_fp32_with_a_line(command, photos, monkeypatch):
    from shiftless.backbones.sd import StableDiffusion

    denoise = StableDiffusion.denoise

    def huge(self, *arguments, **options):
        read = denoise(self, *arguments, **options)
        read.maps["up1"] *= 1e6
        return read

    monkeypatch.setattr(StableDiffusion, "denoise", huge)
    code, _, err = command("extract", photos, *MODEL, "-o", "out", "--taps", "up1,up2")
    assert code == 0
    assert "2 maps saved in fp32: values beyond the range of fp16" in err
    for path in Path("out").glob("*.safetensors"):
        maps = shiftless.FeatureMaps.open(path)
        assert (maps["up1"].dtype, maps["up2"].dtype) == (torch.float32, torch.float16)
        assert torch.isfinite(maps["up1"]).all()


def test_features_that_overflow_in_half_precision_are_reported(command, photos):
    save_folder(twin_parts(models()["sd15"]), Path("model"))
    weights = Path("model/unet/diffusion_pytorch_model.safetensors")
    large = load_file(weights)
    weight = large["up_blocks.1.resnets.0.conv2.weight"]
    weight *= 6e4 / weight.abs().max()  # finite in fp16, whose largest number is 65504; what it computes is not
    save_file(large, weights)

    def message(dtype: str) -> tuple[list[str], bool]:
        code, _, err = command("extract", photos, "-o", dtype, "-m", "model", "--dtype", dtype, "--taps", "up1")
        assert code == 0, err
        result = [shiftless.FeatureMaps.open(path)["up1"] for path in Path(dtype).glob("*.safetensors")]
        return [line for line in err.splitlines() if "not finite" in line], all(
            maps.isfinite().all() for maps in result
        )

    (line,), finite = message("fp16")
    assert line.startswith("warning: ")
    assert "values that are not finite in up1" in line
    assert "read in fp32" in line
    assert not finite
    assert message("fp32") == ([], True)


def test_a_model_may_be_offloaded(command, photos, tmp_path):
    arguments = ("extract", photos, "-m", "twin:sd15", "--taps", "up1", "--dtype", "fp32")
    for how in ("parts", "layers"):
        code, _, err = command(*arguments, "--out", tmp_path / how, "--offload", how)
        assert code == 0, err
    names = [sorted(file.name for file in (tmp_path / how).glob("*.safetensors")) for how in ("parts", "layers")]
    assert names[0] == names[1] != []  # names hold the fingerprint
    for name in names[0]:
        assert torch.equal(*(shiftless.FeatureMaps.open(tmp_path / how / name)["up1"] for how in ("parts", "layers")))
    code, _, err = command(*arguments, "--out", tmp_path / "disk", "--offload", "disk")
    assert code == 2
    assert "offload='disk': must be parts or layers" in err


def test_channels_are_discarded_and_inputs_modulated_by_flags(extract, command):
    given = ("-m", "twin:flux-dev", "--taps", "single1.in", "--timestep", 260)
    _, plain = extract(*given)
    _, both = extract(*given, "--modulate", "--discard", "7,2")
    assert len(both) == 2 * len(plain) == 4  # files of their own
    recipes = {maps.recipe for maps in both.values()}
    base = shiftless.Recipe(timestep=260, taps="single1.in")
    assert recipes == {base, base.but(modulate=True, discard=(2, 7))}
    Path("ditf.toml").write_text(base.but(modulate=True, discard="auto").to_toml(), encoding="utf-8")
    err, _ = extract("-m", "twin:flux-dev", "--recipe", "ditf.toml", "--no-modulate", "--discard", "2")
    assert "2 read into out" in err
    code, _, err = command("extract", "ph", "-o", "none", *MODEL, "--taps", "up1", "--discard", "64")
    assert (code, err.count("\n")) == (2, 1)
    assert "discard=64: tap up1 has 64 channels, 0 to 63" in err
    assert not Path("none").exists()


def test_weights_may_be_quantised(command, photos, tmp_path):
    arguments = ("extract", photos, "-m", "twin:sd15", "--taps", "up1", "--dtype", "fp32", "--out", tmp_path / "f")
    code, _, err = command(*arguments, "--quantise", "int5")
    assert code == 2
    assert "quantise='int5': must be int8 or nf4" in err
    pytest.importorskip("torchao", reason='needs the extra "quantise"')
    assert command(*arguments)[0] == command(*arguments, "--quantise", "int8")[0] == 0
    assert len(list((tmp_path / "f").glob("*.safetensors"))) == 2 * len(list(photos.iterdir()))  # two fingerprints
