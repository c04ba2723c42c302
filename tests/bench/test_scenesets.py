"""The tables of published scenes: which photos are learned from and scored, by which settings, beside what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shiftless.backbones.registry import load
from shiftless.bench.parts import COLOURS, COMMONEST
from shiftless.bench.published import published_scenes
from shiftless.bench.scenes import run as score_head
from shiftless.bench.scenesets import check_views, run, scene_parts
from shiftless.data.scenes import scene_set
from shiftless.errors import BadInput
from shiftless.presets import presets
from shiftless.reading.together import Reader
from shiftless.recipe import Recipe
from shiftless.tasks.scenehead import SceneHead
from shiftless.tuning.published import published, settings_of
from tests.data.scenelayouts import ade20k, cityscapes, own
from tests.smallclip import small_clip

PLAIN = Recipe(taps=("block0",), size=32)
VPD = Recipe(timestep=1, noise="none", latent="unscaled", taps=("up1.attn1", "both.cross.map.s16"), size=64)


def short(name: str, **changes):
    """Published settings, but for few small steps of a linear head."""
    how = published(name)
    scenes = replace(how.scenes, steps=2, batch=2, every=2, side=32, scales=(1.0, 1.0), lr=1e-2, **changes)
    return replace(how, scenes=scenes, head="linear")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A table of ADE20K in its published layout, its parts, its reader and its folder."""
    folder = tmp_path_factory.mktemp("ade")
    parts = scene_parts(ade20k(folder), "ade20k")
    reader = Reader(load("twin:dino-s16", device="cpu", dtype="fp32"), (PLAIN,))
    table = run(reader, parts, short("gate"), folder / "out", stride=16, presets=["gate-ade20k"], progress=False)
    return table, parts, reader, folder / "out"


def test_the_row_is_what_its_head_scores_by_windows(made):
    table, parts, reader, out = made
    ours = "twin:dino-s16, linear head"
    assert list(dict.fromkeys(row.method for row in table.rows)) == [COMMONEST, COLOURS, ours]
    heads = [SceneHead.from_pretrained(place) for place in (out / "heads").iterdir() if place.suffix != ".run"]
    (head,) = [head for head in heads if head.source.model == "twin:dino-s16"]
    assert (head.order, len(head.classes), head.window) == ("coarse", 150, 32)
    again, _ = score_head(head, reader, parts.test, stride=16)
    scores = {row.metric: row.value for row in again.rows}
    assert table.value(ours, "mIoU") == pytest.approx(scores["mIoU"])
    assert table.value(ours, "aAcc") == pytest.approx(scores["pixel accuracy"])
    gain = table.value(ours, "mIoU") - table.value(COLOURS, "mIoU")
    assert table.value(ours, f"gain over {COLOURS}") == pytest.approx(gain)


def test_published_numbers_stand_beside_and_no_test_photo_chooses(made):
    table, parts, _, _ = made
    assert (parts.validation, [one.name[:3] for one in parts.test]) == (None, ["val"])
    notes = "\n".join(table.notes)
    assert "published for gate-ade20k: mIoU 0.405, aAcc 0.797, mAcc 0.549 (GATE, NeurIPS 2024" in notes
    assert "the last step is scored" in notes
    assert "windows of 32 pixels, 16 apart" in notes
    assert table.about["published"][0]["mIoU"] == 0.4051


def test_vpd_s_settings_tune_the_model(tmp_path):
    parts = scene_parts(cityscapes(tmp_path), "cityscapes")
    parts = replace(parts, train=parts.train[:1])
    reader = Reader(load("twin:sd15", device="cpu", dtype="fp32"), (VPD,))
    how = short("vpd")
    how = replace(how, scenes=replace(how.scenes, steps=1, batch=1, every=1))
    table = run(reader, parts, how, tmp_path / "out", colours=False, presets=["vpd"], progress=False)
    assert [row.method for row in table.rows if row.metric == "mIoU"] == [
        COMMONEST, "twin:sd15, linear head, unet tuned",
    ]  # fmt: skip
    assert any("published for vpd: mIoU 0.551, aAcc 0.901, mAcc 0.690" in note for note in table.notes)
    (place,) = (tmp_path / "out/heads").iterdir()
    assert {"unet.safetensors", "prompts.safetensors"} <= {one.name for one in place.iterdir()}
    with pytest.raises(BadInput, match="keep=disk: features of a model that learns change"):
        run(reader, parts, how, tmp_path / "out", keep="disk")


def test_odise_s_settings_name_masks_by_words(tmp_path):
    parts = scene_parts(cityscapes(tmp_path), "cityscapes")
    parts = replace(parts, train=parts.train[:1])
    reader = Reader(load("twin:sd15", device="cpu", dtype="fp32"), (Recipe(timestep=0, taps=("up0", "up1"), size=64),))
    how = published(settings_of(["odise"]))
    how = replace(how, width=64, scenes=replace(how.scenes, steps=1, batch=1, every=1, side=32, scales=(1.0, 1.0)))
    options = {"colours": False, "presets": ["odise"], "progress": False}
    table = run(reader, parts, how, tmp_path / "out", clip=small_clip(tmp_path / "clip"), **options)
    assert [row.method for row in table.rows if row.metric == "mIoU"] == [
        COMMONEST, "MaskCLIP", "twin:sd15, mask2former head, prompts tuned",
    ]  # fmt: skip
    (place,) = (tmp_path / "out/heads").iterdir()
    assert SceneHead.from_pretrained(place).settings["proposals"]["words"] == 8
    with pytest.raises(BadInput, match="prompts='implicit': a CLIP looks at the photos; give its folder"):
        run(reader, parts, how, tmp_path / "out", **options)


def test_photos_of_one_s_own_are_chosen_by_val_and_scored_on_test(tmp_path):
    parts = scene_parts(own(tmp_path / "own", {"train": (0, 1), "val": (2,), "test": (3, 4)}))
    assert (parts.name, parts.title) == ("", "own")
    assert [[one.name for one in part] for part in (parts.train, parts.validation, parts.test)] == [
        ["train/0", "train/1"], ["val/2"], ["test/3", "test/4"],
    ]  # fmt: skip
    assert scene_parts(cityscapes(tmp_path / "streets")).name == "cityscapes"
    with pytest.raises(BadInput, match="has the split train alone; put the photos to be scored into test, or val"):
        scene_parts(own(tmp_path / "alone", {"train": (0,)}))


def test_a_view_may_be_larger_than_some_photos_but_not_than_all(tmp_path):
    parts = scene_parts(ade20k(tmp_path))
    check_views(parts, 48)
    with pytest.raises(
        BadInput, match=r"side=49: a view is larger than every photo of ADE20K, the largest of .* 48 pix"
    ):
        check_views(parts, 49)


def test_published_numbers_are_of_presets_and_sets_that_exist():
    for name in ("ade20k", "cityscapes"):
        rows = published_scenes(name, (*presets(), "maskclip"))
        assert rows
        assert all(0 < row[score] < 1 for row in rows for score in ("mIoU", "aAcc", "mAcc") if score in row)
        assert scene_set(name).name == name
    assert [published(settings_of([name])).scenes.side for name in ("gate-ade20k", "gate-cityscapes")] == [512, 1024]
    assert published("vpd").stride == 341
