"""Every command, end to end, as a new user would run it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import shiftless
from shiftless.cli import app

pytestmark = pytest.mark.usefixtures("loaded_once")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, hw in enumerate(((48, 64), (64, 64))):
        pixels = np.random.default_rng(i).integers(0, 256, (*hw, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((hw[1] * 2, hw[0] * 2)).save(folder / f"{i}.png")
    return folder


def test_help_teaches_every_command(command):
    code, out, _ = command("--help")
    assert code == 0
    for word in ("demo", "extract", "match", "taps", "models", "presets", "bench", "mini"):
        assert word in out
    for words in (
        ["match"],
        ["extract"],
        ["bench", "mini-pairs"],
        ["bench", "pairs"],
        ["bench", "spair"],
        ["bench", "mini-correspondence"],
        ["mini", "train"],
        ["caption"],
        ["correspond", "fit"],
        ["lora", "train"],
    ):
        code, out, _ = command(*words, "--help")
        assert code == 0
        assert "Usage" in out


def test_every_recipe_field_is_a_flag(command):
    _, out, _ = command("extract", "--help")
    for name in ("timestep", "taps", "prompt", "seed", "ensemble", "size", "fit", "latent", "scheduler", "recipe"):
        assert f"--{name}" in out


def test_help_needs_no_torch():
    code = "import sys; sys.argv = ['shiftless', '--help']\nfrom shiftless.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\nassert not {'torch', 'numpy', 'diffusers', 'cv2'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_taps_models_presets(command):
    _, out, _ = command("taps", "sd15", "up1.attn0*")
    assert "up1.attn0.block0.cross.q" in out
    assert "1280" in out
    code, out, _ = command("taps", "twin:sd21")
    assert code == 0
    _, out, _ = command("models")
    assert "sd21" in out
    assert max(map(len, out.splitlines())) <= 100
    assert "FLUX.1 [dev] Non-Commercial, gated" in out
    assert "twin:" not in out.replace("twin:NAME", "")
    _, out, _ = command("models", "flux-dev")
    assert "transformer 11.90 B" in out
    assert "shiftless fetch flux-dev" in out
    code, out, _ = command("models", "flux-dev", "--memory")
    assert re.search(r"flux-dev +33\.7 +23\.8 ", out)
    code, _, err = command("models", "mini", "--memory")
    assert (code, err.count("\n")) == (2, 1)
    assert "nothing to offload" in err
    code, _, err = command("models", "flux")
    assert code == 2
    assert "did you mean flux-dev" in err
    _, out, _ = command("presets")
    assert "dift-spair" in out
    _, out, _ = command("presets", "dift-spair")
    recipe = shiftless.Recipe.from_toml(out)
    assert recipe.timestep == 261


def test_extract_writes_one_file_a_photo_and_continues(command, photos, tmp_path):
    out = tmp_path / "features"
    arguments = ("extract", photos, "-m", "twin:sd15", "--out", out, "--taps", "up1,up2", "--timestep", 20)
    code, _, err = command(*arguments)
    assert code == 0, err
    files = sorted(out.glob("*.safetensors"))
    assert len(files) == 2
    maps = shiftless.FeatureMaps.open(files[0])
    assert list(maps) == ["up1", "up2"]
    assert maps.recipe.timestep == 20
    assert maps.frame.original == (96, 128)
    before = files[0].stat().st_mtime_ns
    files[1].unlink()
    code, _, err = command(*arguments)
    assert code == 0
    assert "1 were there already" in err
    assert sorted(out.glob("*.safetensors")) == files
    assert files[0].stat().st_mtime_ns == before


def test_extract_lists_what_it_could_not_read(command, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"not a picture")
    code, _, err = command("extract", photos, "-m", "twin:sd15", "--out", tmp_path / "f")
    assert code == 2
    assert "broken.jpg" in err
    assert len(list((tmp_path / "f").glob("*.safetensors"))) == 2


@pytest.mark.parametrize("points", [("--at", "10,20", "--at", "60.5,40"), ()])
def test_match_prints_points_and_draws_them(command, photos, tmp_path, points):
    picture = tmp_path / "match.png"
    code, out, err = command("match", photos / "0.png", photos / "0.png", "-m", "twin:sd15", "--out", picture, *points)
    assert code == 0, err
    assert Image.open(picture).width > 128
    if points:
        assert "60.5" in out


def test_bench_pairs_end_to_end(command, tmp_path):
    images = {}
    for name in "ab":
        pixels = np.random.default_rng(len(images)).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        images[name] = {
            "file": f"{name}.png",
            "cls": "thing",
            "width": 80,
            "height": 64,
            "keypoints": [[10, 10], [40, 30], [70, 50]],
        }
    (tmp_path / "annotations.json").write_text(json.dumps({"images": images, "pairs": [["a", "b"], ["b", "a"]]}))
    answer = tmp_path / "out.json"
    code, out, err = command("bench", "pairs", "--data", tmp_path, "-m", "twin:sd15", "--json", answer)
    assert code == 0, err
    assert "trivial" in out
    rows = json.loads(answer.read_text())["rows"]
    trivial = next(r for r in rows if r["method"].startswith("trivial") and r["metric"] == "PCK@0.1 img")
    assert trivial["value"] == 1.0  # the same positions in both
    assert {row["method"].split(":")[0] for row in rows} == {"trivial", "untrained", "baseline"}


def test_bench_mini_pairs_and_its_sweep(command, tmp_path):
    answer, picture = tmp_path / "out.json", tmp_path / "sweep.png"
    code, _, err = command("bench", "mini-pairs", "-m", "twin:sd15", "--pairs", 3, "--taps", "up1", "--json", answer)
    assert code == 0, err
    assert json.loads(answer.read_text())["bench"].startswith("mini-pairs")
    code, out, err = command("bench", "mini-pairs", "-m", "twin:sd15", "--pairs", 2, "--sweep", "--out", picture)
    assert code == 0, err
    assert Image.open(picture).width > 400
    assert "best on validation" in out


def test_mini_draw(command, tmp_path):
    code, out, _ = command("mini", "draw", "-n", 4, "--kind", "horse", "--out", tmp_path / "w.png")
    assert code == 0
    assert "horse" in out
    assert Image.open(tmp_path / "w.png").width > 128


def test_the_app_itself_is_importable_without_running():
    assert CliRunner().invoke(app, ["--version"]).exit_code != 1


def test_photos_are_read_with_techniques_and_words_of_their_own(command, photos, tmp_path, goldens):
    words = tmp_path / "words"
    words.mkdir()
    for i, caption in enumerate(("a cow in the snow", "a bus")):
        (words / f"{i}.txt").write_text(caption + "\n")
    lora = goldens / "tiny-lora" / "kohya_lora.safetensors"
    steering = [
        "--prompt",
        "{caption}, {quality}",
        "--fill",
        "quality=sharp",
        "--captions",
        words,
        "--control",
        "canny",
    ]
    steering += ["--control-scale", "0.5", "--lora", lora, "--start", "70", "--steps", "2", "--taps", "up1,up2"]
    code, _, err = command("extract", photos, "-m", "twin:sd15", "-o", tmp_path / "out", *steering)
    assert code == 0, err
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    result = {maps.prompt: maps for maps in map(shiftless.FeatureMaps.open, files)}
    assert sorted(result) == ["a bus, sharp", "a cow in the snow, sharp"]
    recipe = result["a bus, sharp"].recipe
    assert (recipe.control, recipe.control_scale, recipe.start, recipe.steps) == (("canny",), (0.5,), 70, 2)
    assert recipe.lora == (str(lora),)
    (words / "1.txt").unlink()
    code, _, err = command("extract", photos, "-m", "twin:sd15", "-o", tmp_path / "again", *steering)
    assert code == 2
    assert "1.png: no caption at" in err
    assert len(list((tmp_path / "again").glob("*.safetensors"))) == 1


def test_a_bucket_gives_a_file_for_each_reading(command, photos, tmp_path):
    arguments = ("extract", photos, "-m", "twin:sd15", "-o", tmp_path / "f", "--recipe", "gate-spair-prompt")
    code, _, err = command(*arguments, "--taps", "up0")
    assert code == 0, err
    result = [shiftless.FeatureMaps.open(path) for path in sorted((tmp_path / "f").glob("*.safetensors"))]
    assert sorted((maps.name.rsplit("/", 1)[-1], maps.recipe.seed) for maps in result) == [
        ("0.png", 0), ("0.png", 1), ("1.png", 0), ("1.png", 1),
    ]  # fmt: skip
    code, _, err = command(*arguments, "--taps", "up0")
    assert "2 were there already" in err
    code, _, err = command("match", photos / "0.png", photos / "1.png", "-m", "twin:sd15", "--recipe", "gate-spair")
    assert code == 2
    assert "a bucket of 7 readings" in err


def test_other_words_are_another_reading(command, photos, tmp_path):
    arguments = ("extract", photos / "0.png", "-m", "twin:sd15", "-o", tmp_path / "f", "--prompt", "a {category}")
    for category in ("cow", "cow", "horse"):
        assert command(*arguments, "--fill", f"category={category}")[0] == 0
    prompts = [shiftless.FeatureMaps.open(path).prompt for path in (tmp_path / "f").glob("*.safetensors")]
    assert sorted(prompts) == ["a cow", "a horse"]


def test_a_photo_in_a_folder_inside_is_read_with_its_own_caption(command, tmp_path):
    import shiftless

    for name, value in (("1.png", 0), ("sub/1.png", 255)):
        path = tmp_path / "ph" / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((64, 64, 3), value, np.uint8)).save(path)
    for name, text in (("1.txt", "a white horse"), ("sub/1.txt", "a cow")):
        path = tmp_path / "words" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    arguments = ("extract", "ph", "-m", "twin:sd15", "-o", "out", "--prompt", "auto", "--captions", "words")
    code, _, err = command(*arguments)
    assert code == 0, err
    result = [shiftless.FeatureMaps.open(path) for path in (tmp_path / "out").glob("*.safetensors")]
    assert {maps.name: maps.prompt for maps in result} == {"ph/1.png": "a white horse", "ph/sub/1.png": "a cow"}
    code, _, err = command("extract", "ph/sub", *arguments[2:])
    assert code == 2
    assert "could both be its caption" in err


NOT_FOR_PHOTOS = "note: mini was trained on pictures of its drawn world and is not for photographs"


@pytest.mark.parametrize(
    "words",
    [
        ("match", "photos/0.png", "photos/1.png"),
        ("extract", "photos/0.png"),
        ("audit", "photos/0.png", "--recipe", "plain.toml", "--finish", 0, "--draws", 1),
    ],
)
def test_a_model_of_drawn_pictures_says_that_it_is_not_for_photographs(command, photos, tmp_path, words):
    (tmp_path / "plain.toml").write_text("timestep = 100\n")
    code, _, err = command(*words, "-m", "mini")
    assert code == 0, err
    notes = [line for line in err.splitlines() if line.startswith("note:")]
    assert len(notes) == 1
    assert notes[0].startswith(NOT_FOR_PHOTOS)
    assert "-m sd15" in notes[0]
    assert "shiftless fetch sd15" in notes[0]


def test_other_models_say_nothing_of_photographs(command, photos):
    _, _, err = command("match", photos / "0.png", photos / "1.png", "-m", "twin:sd15", "--at", "5,5")
    assert err == ""


def test_lists_and_matches_are_written_as_json_too(command, photos, tmp_path):
    def read(*words):
        code, _, err = command(*words, "--json", tmp_path / "answer.json")
        assert code == 0, err
        return json.loads((tmp_path / "answer.json").read_text())

    first = read("taps", "sd15", "up1")[0]
    assert (first["tap"], first["channels"], first["stride"]) == ("up1", 1280, 16)
    rows = {row["name"]: row for row in read("models")}
    assert rows["sd15"]["made_for"] == "photographs"
    assert rows["mini"]["here"] is True
    assert rows["sd15"]["licence"] == "CreativeML OpenRAIL-M"
    assert read("models", "sd15")["parameters"] == rows["sd15"]["parameters"]
    assert read("presets", "dift-spair")["readings"][0]["timestep"] == 261
    assert "gate-spair" in [row["name"] for row in read("presets")]
    result = read("match", photos / "0.png", photos / "0.png", "-m", "twin:sd15", "--at", "10,20", "--mutual")
    assert result["matches"][0]["source"] == [10, 20]
    assert result["matches"][0]["mutual"] is True
    assert result["matches"][0]["cosine"] == pytest.approx(1, abs=1e-3)
    files = read("extract", photos, "-m", "twin:sd15", "-o", tmp_path / "f", "--recipe", "gate-spair-prompt")
    assert {name.rsplit("/", 1)[-1] for name in files} == {"0.png", "1.png"}
    assert all(len(two) == 2 and all((tmp_path / one).exists() for one in two) for two in files.values())


def test_a_model_that_is_not_known_says_what_is(command):
    code, _, err = command("taps", "sd51")
    assert code == 2
    assert "'sd51': no such model; use one of mini, mini-mae, mini-ddpm, sd15" in err
    assert "of one of the families sd, " in err
    code, _, err = command("taps", "someone/else")
    assert "of one of the families" in err
    assert "of one of the families" not in command("match", "a", "b", "-m", "sd15")[2]
