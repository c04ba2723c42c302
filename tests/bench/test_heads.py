from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shiftless.amalgamate.layout import Layout
from shiftless.backbones.base import Spec
from shiftless.bench.heads import annotated_pairs, evaluate_heads, keep, run, visits
from shiftless.data.photopair import PhotoPair
from shiftless.errors import BadInput
from shiftless.features import Bucket, FeatureMaps
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap
from shiftless.tasks.head import CorrespondenceHead

SIZE = (64, 64)
RECIPES = (Recipe(prompt="a {category}"), Recipe(seed=1))
LAYOUT = Layout(2, (("up1", 8),))
MODEL = SimpleNamespace(spec=Spec("fake", "sd", 64, 64, (4, 8)))


def pair(source: str, target: str, category: str = "cat") -> PhotoPair:
    """Photo "s<n>" is one field moved n cells of 8 pixels to the right."""
    points = np.array([[20.0, 20.0], [36.0, 44.0]])
    moved = points + [8.0 * (int(target[1:]) - int(source[1:])), 0]
    return PhotoPair(source, target, points, moved, SIZE, SIZE, (0, 0, 40, 40), category, f"{source}{target}")


@pytest.fixture
def requested(monkeypatch):
    """Read photos without a model; keeps which prompts and photos were asked for."""
    log: dict[str, list[str]] = {}

    def reader(model, recipes, batch, report):
        def read(photos):
            log.setdefault(recipes[0].prompt, []).extend(photos)
            for photo in photos:
                wide = F.interpolate(torch.randn(1, 8, 5, 6, generator=torch.manual_seed(0)), (8, 11), mode="bicubic")
                grid = wide[..., 3 - int(photo[1:]) :][..., :8]
                tap, frame = {"up1": Tap("up1", 8, 8, "")}, Frame(SIZE, SIZE)
                yield Bucket(tuple(FeatureMaps({"up1": grid}, tap, frame, r, photo) for r in recipes))

        return read

    monkeypatch.setattr("shiftless.bench.heads.reader", reader)
    return log


PAIRS = [pair("s0", "s1"), pair("s1", "s2", "dog"), pair("s0", "s2")]


def test_each_category_is_read_with_its_own_prompt_and_every_pair_comes_once(requested):
    result = dict(visits(MODEL, PAIRS, RECIPES))
    assert sorted(result) == [0, 1, 2]
    assert requested == {"a cat": ["s0", "s1", "s2"], "a dog": ["s1", "s2"]}
    assert result[1].source[0].recipe.prompt == "a dog"
    assert result[1].source[1].recipe == RECIPES[1]
    requested.clear()
    list(visits(MODEL, PAIRS, RECIPES[1:]))
    assert list(requested.values()) == [["s0", "s1", "s2"]]


def test_heads_are_scored_on_what_was_read_once(requested):
    heads = {"a": CorrespondenceHead(LAYOUT, "mean"), "b": CorrespondenceHead(LAYOUT, "gate")}
    result = evaluate_heads(MODEL, PAIRS, heads, RECIPES[1:] * 2, refine="cell")
    assert len(next(iter(requested.values()))) == 3
    assert result["a"].img.tolist() == result["b"].img.tolist() == [2, 2, 2]  # equal readings: any weights find all
    kept = keep(MODEL, PAIRS, RECIPES[1:] * 2, side=4)
    assert (len(kept), kept.layout.side, kept[0].source.readings.shape) == (3, 4, (2, 8, 4, 4))


def test_the_table_has_the_plain_mean_and_the_seeds_as_one(requested):
    heads = [CorrespondenceHead(LAYOUT, recipes=RECIPES) for _ in range(2)]
    table = run(MODEL, PAIRS, heads, refine="cell", progress=False)
    assert table.value("GATE: 2 readings, mean of 2 seeds", "PCK@0.1 img") == 1
    assert table.value("baseline: mean of 2 readings", "PCK@0.1 bbox") == 1
    assert table.value("trivial", "PCK@0.1 bbox") == 0


def test_with_flip_the_mean_and_the_heads_have_a_second_row_each(monkeypatch):
    from shiftless.image import open_photo

    def reader(model, recipes, batch, report):
        def read(photos):
            for photo in photos:
                pixels = torch.from_numpy(open_photo(photo).array[::8, ::8].copy()).permute(2, 0, 1)[None].float() - 128
                way = torch.full((1, 5, 8, 8), 60.0 if pixels[..., 4:].mean() > pixels[..., :4].mean() else -60.0)
                tap, frame = {"up1": Tap("up1", 8, 8, "")}, Frame(SIZE, SIZE)
                yield Bucket(tuple(FeatureMaps({"up1": torch.cat([pixels, way], 1)}, tap, frame, r) for r in recipes))

        return read

    monkeypatch.setattr("shiftless.bench.heads.reader", reader)
    colours = np.random.default_rng(0).integers(0, 100, (8, 8, 3))
    colours[:, 4:] += 150
    source = np.kron(colours, np.ones((8, 8, 1))).astype(np.uint8)
    points = np.array([[20.0, 20.0], [36.0, 44.0]])
    there = points * [-1, 1] + [64, 0]
    one, other = open_photo(source, "a"), open_photo(source[:, ::-1], "b")
    mirrored = PhotoPair(one, other, points, there, SIZE, SIZE, (0, 0, 40, 40), "cat", "ab")
    heads = [CorrespondenceHead(LAYOUT, recipes=RECIPES) for _ in range(2)]
    table = run(MODEL, [mirrored], heads, refine="cell", progress=False, flip=True)
    methods = list(dict.fromkeys(row.method for row in table.rows))
    assert methods[3:] == ["baseline with flip: mean of 2 readings", "GATE with flip: 2 readings, mean of 2 seeds"]
    assert [table.value(method, "PCK@0.1 bbox") for method in methods[1:]] == [0, 0, 1, 1]
    assert any(note.startswith("GATE with flip - GATE: +1.000 [") for note in table.notes)
    assert table.notes[-1] == "the mirrored sources took 2 denoiser calls beside 4"
    assert [row for row in table.rows if "flip" not in row.method] == run(
        MODEL, [mirrored], heads, refine="cell", progress=False
    ).rows


def test_heads_that_cannot_be_tested_together():
    with pytest.raises(BadInput, match="without recipes"):
        run(MODEL, PAIRS, [CorrespondenceHead(LAYOUT)])
    with pytest.raises(BadInput, match="more than their seed"):
        run(MODEL, PAIRS, [CorrespondenceHead(LAYOUT, conv=c, recipes=RECIPES) for c in (False, True)])


def test_the_splits_of_a_folder_share_no_photo_and_its_table_says_how_it_was_split(requested, monkeypatch, tmp_path):
    for i in range(12):
        (tmp_path / f"s{i}").write_bytes(bytes([i]))
    monkeypatch.chdir(tmp_path)
    chain = [pair(f"s{i}", f"s{i + 1}") for i in range(11)]
    monkeypatch.setattr("shiftless.bench.heads.read_pairs", lambda folder: chain)
    parts = {split: annotated_pairs("x", split) for split in ("train", "val", "test")}
    photos = [photo for part in parts.values() for photo in {end for p in part.pairs for end in (p.source, p.target)}]
    assert len(photos) == len(set(photos)) >= 9
    assert annotated_pairs("x", "test", 1).pairs[0] in parts["test"].pairs
    lines = [(part.how, part.used) for part in parts.values()]
    assert {how for how, _ in lines} == {parts["test"].how}
    assert "share no photo" in parts["test"].how
    assert [bool(used) for _, used in lines] == [True, True, False]
    heads = [CorrespondenceHead(LAYOUT, recipes=RECIPES)]
    table = run(MODEL, parts["val"].pairs, heads, refine="cell", progress=False, notes=parts["val"].notes)
    assert table.notes[1:3] == [parts["val"].how, parts["val"].used]
    monkeypatch.setattr("shiftless.bench.heads.read_pairs", lambda folder: chain[:3])
    with pytest.raises(BadInput, match="x: 4 photos in 3 pairs are too few"):
        annotated_pairs("x", "val")
    with pytest.raises(BadInput, match="train, val, test"):
        annotated_pairs("mini", "all")
