"""VPD in the tables of scenes: the embedded model is tuned with the head that the other rows have."""

from __future__ import annotations

from dataclasses import replace

from miniworld.tables.scene_methods import SETTINGS
from miniworld.tables.scene_tuned import ODISE, VPD, odise_note, odise_rows, tuned_rows, vpd_note
from miniworld.tables.scenes import ScenePictures
from shiftless.backbones.registry import load
from shiftless.tasks.scenehead import SceneHead
from tests.smallclip import small_clip

HEAD = {"decoder": "linear", "options": {}}


def test_the_row_tunes_the_embedded_model_with_a_channel_for_each_class(tmp_path):
    model = load("mini", device="cpu")
    before = model.fingerprint
    settings = replace(SETTINGS, steps=1, batch=1, every=1, lovasz=0.0)
    rows = tuned_rows(model, tmp_path, settings=settings, head=HEAD, progress=False)
    (counted,) = rows[VPD](ScenePictures.drawn("scenes", (1, 1, 1)), 1)
    assert counted[0].totals()[1].sum() == 128 * 128
    assert model.fingerprint == before
    (place,) = (tmp_path / "heads").iterdir()
    head = SceneHead.from_pretrained(place)
    assert {name: channels for name, channels, _ in head.levels.taps if "map" in name} == {
        "both.cross.map.s16": 16, "both.cross.map.s8": 16,
    }  # fmt: skip
    assert head.levels.strides == (4, 8, 16)


def test_a_model_that_cannot_be_tuned_has_no_such_row(tmp_path):
    assert tuned_rows(load("twin:dino-s16", device="cpu"), tmp_path) == {}


def test_both_published_numbers_are_told_with_their_budgets():
    assert "53.7 mIoU (VPD, ICCV 2023, ADE20K, with its own head" in vpd_note()
    assert "37.63 mIoU (GATE, NeurIPS 2024" in vpd_note()
    assert "under that paper's budget" in vpd_note()


def test_masks_are_named_where_the_embedded_model_has_a_clip(tmp_path):
    model = load("mini", device="cpu")
    assert odise_rows(model, tmp_path, weights=tmp_path) == {}
    small_clip(tmp_path / "clip")
    masks = {"decoder": "mask2former", "options": {"width": 64, "proposals": {"queries": 4, "layers": 1}}}
    settings = replace(SETTINGS, steps=1, batch=1, every=1)
    before = model.fingerprint
    rows = odise_rows(model, tmp_path, weights=tmp_path, settings=settings, head=masks, progress=False)
    (counted,) = rows[ODISE](ScenePictures.drawn("scenes", (1, 1, 1)), 1)
    assert counted[0].totals()[1].sum() == 128 * 128
    assert model.fingerprint == before
    (place,) = (tmp_path / "heads").iterdir()
    head = SceneHead.from_pretrained(place)
    assert (list(head.tuned), head.settings["proposals"]["words"]) == (["prompts.safetensors"], 8)
    assert "29.9 mIoU (ODISE, CVPR 2023" in odise_note()
    assert "lacks" in odise_note()
