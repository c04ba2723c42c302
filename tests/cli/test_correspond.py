"""`shiftless correspond`: from annotated pairs to a saved head and its table."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from miniworld.tables.pairs import mini_pairs
from shiftless.bench.heads import SPLITS, annotated_pairs
from shiftless.metrics.pck import hits
from shiftless.recipe import Recipe, recipes_to_toml
from shiftless.tasks.head import CorrespondenceHead


@pytest.fixture
def command(command):
    return partial(command, "correspond")


@pytest.fixture
def recipes(tmp_path):
    base = Recipe(timestep=20, taps=("up1",), size=64)
    for name, recipe in (("a", base), ("b", base.but(seed=1)), ("maps", base.but(taps=("up.cross.map.s16",)))):
        (tmp_path / f"{name}.toml").write_text(recipe.to_toml(), encoding="utf-8")
    return tmp_path


def test_a_bucket_s_file_stands_for_all_its_readings(command, recipes):
    a, b = (Recipe.read(recipes / name) for name in ("a.toml", "b.toml"))
    (recipes / "bucket.toml").write_text(recipes_to_toml([a, b], "suggested"), encoding="utf-8")
    few = ("--pairs", 2, "--val-pairs", 1, "--steps", 1, "--seeds", 1)
    code, _, err = command("fit", "-r", recipes / "bucket.toml", "-m", "twin:sd15", "--out", recipes / "head", *few)
    assert code == 0, err
    assert CorrespondenceHead.from_pretrained(next((recipes / "head").rglob("*.safetensors")).parent).recipes == (a, b)


def test_from_the_embedded_world_to_a_table_by_seeds(command, recipes):
    a, b, maps, head, answer = (recipes / name for name in ("a.toml", "b.toml", "maps.toml", "head", "out.json"))
    few = ("--pairs", 3, "--val-pairs", 2, "--steps", 4, "--seeds", 2)
    code, _, err = command("fit", "-r", a, "-r", b, "-a", maps, "--conv", "-m", "twin:sd15", "--out", head, *few)
    assert code == 0, err
    assert "seed 1: validation PCK@0.1" in err
    opened = CorrespondenceHead.from_pretrained(head / "seed-1")
    assert [recipe.seed for recipe in opened.recipes] == [0, 1, 0]
    assert opened.recipes[2].taps == ("up.cross.map.s16",)
    code, out, err = command("test", head, "-m", "twin:sd15", "--pairs", 2, "--json", answer)
    assert code == 0, err
    result = json.loads(answer.read_text())
    assert list(dict.fromkeys(row["method"] for row in result["rows"])) == [
        "trivial: same relative position",
        "baseline: mean of 2 readings",
        "GATE + convolution: 2 readings, mean of 2 seeds",
    ]
    values = {(row["method"].partition(":")[0], row["metric"]): row["value"] for row in result["rows"]}
    pairs = mini_pairs("test", 2)
    near = [hits(p.source_points, p.target_points, p.target_box) for p in pairs]  # both pictures are of one size
    assert values["trivial", "PCK@0.1 bbox"] == np.concatenate(near).mean()
    assert values["trivial", "PCK@0.1 bbox per image"] == np.mean([one.mean() for one in near])
    each = []
    for seed in (0, 1):  # the row is the mean of what each seed's head scores by itself
        code, _, err = command("test", head / f"seed-{seed}", "-m", "twin:sd15", "--pairs", 2, "--json", answer)
        assert code == 0, err
        rows = json.loads(answer.read_text())["rows"]
        each.append(next(r["value"] for r in rows if (r["method"][:4], r["metric"]) == ("GATE", "PCK@0.1 bbox")))
    assert values["GATE + convolution", "PCK@0.1 bbox"] == pytest.approx(np.mean(each))
    assert "paired" in out


def test_a_folder_of_ones_own_is_tested_on_pairs_that_no_head_was_trained_on(command, recipes):
    images = {}
    for i in range(20):
        name = f"p{i}"
        pixels = np.random.default_rng(i).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(recipes / f"{name}.png")
        points = [[10, 10], [40, 30], [70, 50]]
        images[name] = {"file": f"{name}.png", "width": 80, "height": 64, "keypoints": points}
    (recipes / "annotations.json").write_text(
        json.dumps({"images": images, "pairs": [[f"p{i}", f"p{i + 1}"] for i in range(0, 20, 2)]})
    )
    head = recipes / "head"
    code, _, err = command(
        "fit", "-r", recipes / "a.toml", "--data", recipes, "-m", "twin:sd15", "--out", head, "--steps", 1
    )
    assert code == 0, err
    assert "train PairFeatures(6 pairs" in err
    assert "validation PairFeatures(2 pairs" in err
    assert "6 train, 2 val and 2 test pairs share no photo; 0 pairs between" in err
    assert CorrespondenceHead.from_pretrained(head).layout.readings == 1
    code, out, err = command("test", head, "--data", recipes, "-m", "twin:sd15")
    assert code == 0, err
    assert "2 pairs, 6 points" in out
    assert "6 train, 2 val and 2 test pairs share no photo" in " ".join(out.split())
    parts = [annotated_pairs(str(recipes), split).pairs for split in SPLITS]
    used = [{end for p in part for end in (p.source, p.target)} for part in parts]
    assert sum(map(len, used)) == len(set().union(*used)) == 20
    (recipes / "annotations.json").write_text(json.dumps({"images": images, "pairs": [["p0", "p1"], ["p2", "p3"]]}))
    code, _, err = command("test", head, "--data", recipes, "-m", "twin:sd15")
    assert code == 2
    assert "4 photos in 2 pairs are too few for train, val and test pairs that share no photo" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fit", "-r", "none.toml", "--out", "h"), "none.toml"),
        (("fit", "-r", "", "--out", "h"), "--recipe is empty"),
        (("fit", "-r", "gate-sqair", "--out", "h"), "nearest"),
        (("fit", "-r", "a.toml", "--data", "nowhere", "--out", "h"), "nowhere: no such folder"),
        (("fit", "-r", "a.toml", "--look", "oil", "--out", "h"), "look"),
        (("fit", "-r", "a.toml", "--amalgamator", "median", "--out", "h"), "gate-pixel"),
        (("fit", "-r", "a.toml", "--negatives", "all", "--out", "h"), "grid, points"),
        (("test", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_line(command, recipes, monkeypatch, arguments, says):
    monkeypatch.chdir(recipes)
    code, _, err = command(*arguments, "-m", "twin:sd15")
    assert code == 2
    assert says in err.replace("\n", " ")
    assert "Traceback" not in err
    assert not (recipes / "h").exists()
