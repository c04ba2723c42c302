"""`shiftless audit`, as a user runs it."""

from __future__ import annotations

import json
from functools import cache, partial
from html import unescape
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from miniworld.datasets import HELD_OUT
from miniworld.datasets import photos as drawn
from shiftless.backbones.registry import load
from shiftless.recipe import Recipe, read_recipe_file, read_recipes

FAST = ("--finish", 2, "--draws", 2)


@pytest.fixture(scope="module")
def loaded():
    """Models at 64 pixels, at a quarter of the time of 128, each loaded once: no audit changes its model."""
    return cache(partial(load, size=64))


@pytest.fixture(autouse=True)
def small(monkeypatch, narrow, loaded):
    """The embedded model is a narrow one of the same layout: what is asked here is not how good it is."""
    monkeypatch.setattr("shiftless.mini.weights", lambda: narrow)
    monkeypatch.setattr("shiftless.backbones.registry.load", loaded)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, picture in enumerate(drawn(HELD_OUT, 3)):
        Image.fromarray(picture.image).save(folder / f"{i}.png")
    return folder


def test_techniques_at_hand_are_ranked_and_shown(command, photos):
    code, out, err = command(
        "audit", "photos", "--timestep", 300, "--control", "canny", "--prompt", "auto", "--json", "a.json", *FAST
    )  # fmt: skip
    assert (code, "error" in err) == (0, False)
    result = json.loads(Path("a.json").read_text(encoding="utf-8"))
    assert [recipe["label"] for recipe in result["recipes"]] == [
        "t=300",
        "t=300 captions",
        "t=300 canny",
        "t=300 captions, canny",
    ]
    assert [photo["name"].rpartition("/")[2] for photo in result["photos"]] == ["0.png", "1.png", "2.png"]
    for recipe in result["recipes"]:
        assert recipe["label"] in " ".join(out.split())
    page = Path("audit/index.html").read_text(encoding="utf-8")
    assert "t=300 captions, canny" in page
    assert len(list(Path("audit").glob("photo-*.png"))) == 2 * 3  # in light and dark


def test_a_photo_that_cannot_be_read_is_listed_and_the_code_is_2(command, photos):
    (photos / "bad.jpg").write_bytes(b"none")
    code, out, err = command("audit", "photos", "--control", "canny", "--out", "o", "--pictures", 1, *FAST)
    assert code == 2
    assert err.count("error:") == 1
    assert "bad.jpg" in err
    assert "3 photos" in out
    assert "bad.jpg" in Path("o/index.html").read_text(encoding="utf-8")


def test_a_preset_and_a_recipe_file_can_be_audited_together(command, photos):
    Path("mine.toml").write_text('timestep = 200\ntaps = ["up0"]\nprompt = "auto"\nlabel = "mine"\n', encoding="utf-8")
    Path("bucket.toml").write_text(
        '[[reading]]\ntimestep = 200\ntaps = ["up0"]\n[[reading]]\ntimestep = 100\ntaps = ["up0"]\ncontrol = "canny"\n',
        encoding="utf-8",
    )
    code, _, err = command(
        "audit", "photos/0.png", "--recipe", "mine.toml", "--recipe", "bucket.toml", "--json", "a.json", *FAST
    )
    assert (code, "error" in err) == (0, False)
    labels = [recipe["label"] for recipe in json.loads(Path("a.json").read_text(encoding="utf-8"))["recipes"]]
    assert labels == ["t=100", "mine", "t=200", "t=100 canny"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere: no such file or folder"),
        (("photos", "--control", "depth"), "depth"),
        (("photos", "--lora", "gone.safetensors"), "gone.safetensors: no such LoRA"),
        (("photos", "--recipe", "gate-spairs"), "gate-spair"),
        (("photos", "--recipe", "gate-spair", "--control", "canny"), "--recipe says what steers"),
        (("photos", "--recipe", "walk.toml", "--timestep", 990), "start=1000"),
        (("photos", "--by", "taste", *FAST), "'taste': no such measure is taken here"),
        (("photos", "--by", "colour, finished", "--finish", 0), "no such measure"),
        (("photos", "--out", "photos/0.png", *FAST), "photos/0.png"),
        (("photos", "--json", "photos", "--out", "elsewhere/o", *FAST), "photos: is a folder"),
        (("photos", "--perceptual", "gone"), "gone"),
        (("photos", "--taps", "up9"), "up9"),
        (("photos", "--taps", "upp0", "--control", "canny"), "no tap 'upp0'; nearest: up0"),
        (("photos", "--start", 100, "--timestep", 300), "start=100 with timestep=300"),
        (("photos", "--steps", 2), "steps=2: needs a start"),
        (("photos", "--modulate"), "modulate: tap up0 is not the input of a block"),
        (("photos", "--discard", "massive"), "--discard 'massive': give numbers of channels, such as 154,1446"),
        (("photos", "--control", "canny", "--control-scale", "1,0.5"), "control_scale=(1.0, 0.5): give one number"),
        (("photos", "--suggest", "mine.toml", "--control", "canny", "--noise", "invert", "--cost", 4), "cost 4"),
        (("photos", "--suggest", "mine.json"), "mine.json: a recipe file ends in .toml"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_nothing_is_written(command, photos, arguments, message):
    Path("walk.toml").write_text("timestep = 50\nstart = 60\n", encoding="utf-8")
    code, _, err = command("audit", *arguments)
    assert code == 2
    assert err.count("error:") == 1
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("audit").exists()


def test_advice_is_a_recipe_file_that_every_command_takes(command, photos):
    requested = ("--timestep", 100, "--control", "canny", "--suggest", "mine.toml", "--cost", 2.5)
    code, out, err = command("audit", "photos", *requested, "--pictures", 0, *FAST)
    assert (code, "error" in err) == (0, False)
    text = Path("mine.toml").read_text(encoding="utf-8")
    assert text.startswith("# suggested by shiftless audit")
    assert "measured on 1 photo; 2 others chose" in out
    assert "how sure: not at all, it was measured on one photo only" in out
    page = Path("audit/index.html").read_text(encoding="utf-8")
    assert "What to take" in page
    assert "--recipe mine.toml" in page
    code, _, err = command("extract", "photos/0.png", "--recipe", "mine.toml")
    assert code == 0, err
    assert len(list(Path("features").glob("*.safetensors"))) == text.count("timestep = ")


def test_advice_names_its_model(command, photos):
    quick = ("--finish", 0, "--draws", 1, "--pictures", 0, "--cost", 2)
    code, _, err = command("audit", "photos", "-m", "twin:sd15", "--prompt", "a horse", "--suggest", "a.toml", *quick)
    assert code == 0, err
    assert read_recipe_file("a.toml")[0] == "twin:sd15"
    code, _, err = command("extract", "photos/0.png", "--recipe", "a.toml")
    assert (code, "note" in err) == (0, False)
    rows = Path("features/index.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(row)["model"] for row in rows} == {"twin:sd15"}


def test_advice_is_measured_against_the_bare_reading_at_the_least_noise_asked_for(command, photos):
    requested = ("--timestep", 300, "--control", "canny", "--suggest", "mine.toml", "--cost", 1)
    code, out, _ = command("audit", "photos", *requested, "--pictures", 0, *FAST)
    assert code == 0
    assert "the usual reading, t=300," in " ".join(out.split())
    assert [recipe.control for recipe in read_recipes("mine.toml")] == [()]  # edges cost 1.5


def test_a_recipe_is_audited_at_every_timestep_asked_for(command, photos):
    Path("edges.toml").write_text(
        'timestep = 200\ntaps = ["up0"]\ncontrol = "canny"\nstart = 240\nsteps = 2\nlabel = "edges"\n', encoding="utf-8"
    )
    steps = ("--timestep", 100, "--timestep", 200)
    code, _, err = command("audit", "photos/0.png", "--recipe", "edges.toml", *steps, "--json", "a.json", *FAST)
    assert (code, "error" in err) == (0, False)
    result = json.loads(Path("a.json").read_text(encoding="utf-8"))["recipes"]
    assert [(r["timestep"], r.get("start"), r["label"]) for r in result] == [
        (100, None, "t=100"), (200, None, "t=200"), (100, 140, "edges t=100"), (200, 240, "edges"),
    ]  # fmt: skip


def labels() -> list[str]:
    return [recipe["label"] for recipe in json.loads(Path("a.json").read_text(encoding="utf-8"))["recipes"]]


def test_six_recipes_at_most_are_tried_unless_one_says_what(command, photos):
    quick = ("--json", "a.json", "--pictures", 0, "--finish", 0, "--draws", 1, "--size", 64)
    code, _, err = command("audit", "photos/0.png", *quick)
    assert code == 0
    assert labels() == [
        "t=100", "t=100 captions", "t=100 canny", "t=100 LoRA embroidery-a", "t=100 LoRA photo-a",
        "t=100 captions, canny",
    ]  # fmt: skip
    assert "6 of the 8 recipes at hand are tried; --all tries them all" in err
    command("audit", "photos/0.png", *quick, "--timestep", 100, "--timestep", 300)
    assert labels() == [f"t={t}{way}" for t in (100, 300) for way in ("", " captions", " captions, canny")]
    code, _, err = command("audit", "photos/0.png", *quick, "--all")
    assert len(labels()) == 8
    assert "at hand are tried" not in err
    loras = [f"photo-{one}" for one in "ab"] + [f"embroidery-{one}" for one in "ab"]
    command("audit", "photos/0.png", *quick, *(part for one in loras for part in ("--lora", one)), "--prompt", "auto")
    assert len(labels()) == 7


def test_it_says_first_what_it_will_do_and_makes_as_many_calls(command, photos, monkeypatch):
    from shiftless import progress

    said = []
    monkeypatch.setattr(progress.Progress, "__exit__", lambda step, *_: said.append((step.done, step.total)))
    requested = ("--control", "canny", "--timestep", 300, *FAST, "--suggest", "mine.toml", "--cost", 3)
    code, _, err = command("audit", "photos", *requested)
    # 2 recipes x (2 draws + 2 steps to the end + 1 nearly clean); advice: 2 x (2 draws + 1 nearly clean)
    first = "auditing 3 photos by 2 recipes, then weighing readings for advice: 48 denoiser calls"
    assert (code, first in err.splitlines()[:2]) == (0, True)
    assert said == [(48, 48)]


def test_it_stops_after_the_photos_that_fit_and_says_so(command, photos, monkeypatch):
    from shiftless.auditing import windows

    now = iter(range(0, 10_000, 10))  # every look at the clock is ten seconds after the one before
    monkeypatch.setattr(windows.time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(windows.Windows.__init__, "__kwdefaults__", {"clock": windows.time.monotonic})
    code, out, _ = command("audit", "photos", "--control", "canny", *FAST, "--json", "a.json", "--max-minutes", 0.5)
    assert code == 0
    result = json.loads(Path("a.json").read_text(encoding="utf-8"))
    assert (len(result["photos"]), result["left_out"]) == (1, 2)
    assert "Audited are 1 of 3 photos: the time allowed for no more." in out
    assert "Audited are 1 of 3 photos" in Path("audit/index.html").read_text(encoding="utf-8")
    command("audit", "photos", "--control", "canny", *FAST, "--json", "b.json", "--max-minutes", 1000)
    whole = json.loads(Path("b.json").read_text(encoding="utf-8"))
    assert (len(whole["photos"]), whole["left_out"]) == (3, 0)
    assert result["photos"][0] in whole["photos"]  # its numbers do not depend on the others


def test_every_field_of_a_recipe_is_a_flag(command, photos):
    quick = ("--json", "a.json", "--pictures", 0, "--finish", 0, "--draws", 1)
    fields = ("--size", 64, "--seed", 3, "--ensemble", 2, "--fit", "squash", "--latent", "sample", "--taps", "up0,up1",
              "--discard", "9,2")  # fmt: skip
    walk = ("--timestep", 300, "--timestep", 200, "--start", 240, "--steps", 2)
    steers = ("--control", "canny", "--control-scale", 0.5, "--lora", "photo-a", "--lora-scale", 0.7)
    code, _, err = command("audit", "photos/0.png", *quick, *fields, *walk, *steers)
    assert code == 0, err
    result = [Recipe.from_dict(one) for one in json.loads(Path("a.json").read_text(encoding="utf-8"))["recipes"]]
    base = Recipe(taps=("up0", "up1"), size=64, seed=3, ensemble=2, fit="squash", latent="sample", discard=(2, 9))
    canny, lora = {"control": "canny", "control_scale": 0.5}, {"lora": "photo-a", "lora_scale": 0.7}
    assert result == [
        base.but(timestep=t, **more)
        for t in (300, 200)
        for more in ({}, *({**one, "start": t + 40, "steps": 2} for one in (canny, lora, {**canny, **lora})))
    ]
    Path("edges.toml").write_text('timestep = 200\ncontrol = "canny"\nlabel = "edges"\n', encoding="utf-8")
    more = ("--taps", "up0", "--scheduler", "pndm-reference", "--control-scale", 0.5, "--captioner", "blip")
    code, _, err = command("audit", "photos/0.png", "--recipe", "edges.toml", *quick, *more)
    assert code == 0, err
    bare, edges = (Recipe.from_dict(one) for one in json.loads(Path("a.json").read_text(encoding="utf-8"))["recipes"])
    assert edges == Recipe(
        timestep=200, control="canny", taps="up0", scheduler="pndm-reference", control_scale=0.5, captioner="blip"
    )
    assert bare == Recipe(timestep=200, taps="up0", scheduler="pndm-reference")


def test_an_image_prompt_is_tried_from_the_command_line(command, photos):
    quick = ("--json", "a.json", "--pictures", 0, "--finish", 0, "--draws", 1, "--size", 64)
    code, out, err = command("audit", "photos/0.png", "-m", "twin:sd15", "--image-prompt", "ip-adapter", *quick)
    assert code == 0, err
    assert labels() == ["t=50", "t=50 image prompt ip-adapter"]
    assert "image prompt ip-adapter" in out


@pytest.mark.parametrize(
    ("model", "control"),
    [("sdxl", "t2i-canny"), ("sdxl", "union-canny"), ("sd3-medium", "canny"), ("flux-dev", "canny")],
)
def test_controls_of_every_class_are_tried_from_the_command_line(command, photos, model, control):
    quick = ("--json", "a.json", "--pictures", 0, "--finish", 0, "--draws", 1, "--size", 64, "--timestep", 300)
    code, _, err = command("audit", "photos/0.png", "-m", f"twin:{model}", "--control", control, *quick)
    assert code == 0, err
    assert labels() == ["t=300", f"t=300 {control}"]


def test_a_learned_word_is_tried_by_the_prompts_that_name_it(command, photos):
    save_file({"<cat-toy>": torch.randn(2, 32)}, "toy.safetensors")
    quick = ("--json", "a.json", "--pictures", 0, "--finish", 0, "--draws", 1, "--size", 64)
    word = ("-m", "twin:sd15", "--textual-inversion", "toy.safetensors")
    code, _, err = command("audit", "photos/0.png", *word, "--prompt", "<cat-toy>", "--prompt", "a horse", *quick)
    assert code == 0, err
    assert labels() == ["t=50", 't=50 "<cat-toy>", word toy', 't=50 "a horse"']
    code, _, err = command("audit", "photos/0.png", *word, "--prompt", "a horse", *quick)
    assert (code, err.count("error:"), len(err.strip().splitlines())) == (2, 1, 1)
    assert "no prompt names <cat-toy>, its learned word" in err
    code, _, err = command("extract", "photos/0.png", *word, "--prompt", "a horse", "--size", 64)
    assert (code, err.count("error:"), len(err.strip().splitlines())) == (2, 1, 1)
    assert "does not name <cat-toy>" in err
    assert not Path("features").exists()
    code, _, err = command("extract", "photos/0.png", *word, "--prompt", "a <cat-toy>", "--size", 64)
    assert code == 0, err


def test_every_technique_is_compared_in_one_audit(command, photos):
    layer = "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q"
    halves = {f"{layer}.lora_A.weight": torch.randn(4, 64), f"{layer}.lora_B.weight": torch.randn(64, 4)}
    save_file(halves, "look.safetensors")
    save_file({"<cat-toy>": torch.randn(2, 32)}, "toy.safetensors")
    steers = ("--prompt", "a <cat-toy>", "--textual-inversion", "toy.safetensors", "--control", "canny")
    steers += ("--image-prompt", "ip-adapter", "--lora", "look.safetensors", "--timestep", 300)
    small = ("--json", "a.json", "--size", 64, "--finish", 0, "--draws", 1, "--pictures", 1)
    code, out, err = command("audit", "photos/0.png", "-m", "twin:sd15", *steers, *small)
    assert code == 0, err
    every = 't=300 "a <cat-toy>", canny, LoRA look, image prompt ip-adapter, word toy'
    alone = ['"a <cat-toy>", word toy', "canny", "image prompt ip-adapter", "LoRA look"]
    assert labels() == ["t=300", *(f"t=300 {one}" for one in alone), every]
    result = json.loads(Path("a.json").read_text(encoding="utf-8"))
    latent = [row for row in result["rows"] if row["measure"] == result["headline"]]
    assert {row["recipe"] for row in latent} == set(labels())
    assert len({row["value"] for row in latent}) == len(latent)  # each of them changes what the model predicts
    assert {row["baseline"] for row in latent} == {"t=300"}
    page = Path("audit/index.html").read_text(encoding="utf-8")
    assert "<cat-toy>" not in page  # a browser would take it for a tag
    assert all(label in unescape(page) for label in labels())
    assert "t=300 canny" in " ".join(out.split())


def test_a_mask_is_tried_from_the_command_line_where_the_model_takes_one(command, photos):
    quick = ("--json", "a.json", "--pictures", 0, "--finish", 0, "--draws", 1, "--size", 64)
    code, out, err = command("audit", "photos/0.png", "-m", "twin:sd15-inpainting", "--inpaint", "keep", *quick)
    assert code == 0, err
    assert labels() == ["t=50", "t=50 inpaint keep"]
    assert "inpaint keep" in out
    code, _, err = command("audit", "photos/0.png", "-m", "twin:sd15", "--inpaint", "keep", *quick)
    assert (code, err.count("error:"), len(err.strip().splitlines())) == (2, 1, 1)
    assert "inpaint cannot steer a model of the sd family" in err
