"""`shiftless segment distill`: from a head to a network that `segment test` and `segment predict` take."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

import shiftless
from shiftless.amalgamate.layout import Layout
from shiftless.recipe import Recipe
from shiftless.tasks.pixelgroups import PixelGroups
from shiftless.tasks.pixels import PixelEnsemble, Source
from shiftless.training import segformer
from shiftless.training.segmentation_network import SegmentationNetwork
from tests.training.coloured import CLASSES, PALETTE, TINY, coloured

QUICK = ("--steps", 2, "--views", 2, "--network", "tiny")
MADE = ("--number", 3, "--picture-size", 32, "--sampling-steps", 1)


@pytest.fixture
def command(command):
    return partial(command, "segment")


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """Labelled photos; the network "tiny" is the smallest that there is."""
    monkeypatch.setattr(segformer, "ARCHITECTURES", {**segformer.ARCHITECTURES, "tiny": TINY})
    for kind in ("images", "masks"):
        (tmp_path / "labelled" / kind).mkdir(parents=True)
    for one in map(coloured, range(3)):
        Image.fromarray(one.photo).save(tmp_path / f"labelled/images/{one.name}.png")
        Image.fromarray(one.labels).save(tmp_path / f"labelled/masks/{one.name}.png")
    (tmp_path / "labelled/classes.json").write_text(json.dumps(CLASSES))
    (tmp_path / "a.toml").write_text(Recipe().to_toml())
    return tmp_path


@pytest.fixture
def head(labelled):
    """A head that nobody fitted: what it says is not what is tested here."""
    taps, recipe = shiftless.load("twin:ddpm-bedroom").taps, Recipe(timestep=20, taps=("up1",), size=64)
    (channels,) = (tap.channels for tap in taps if tap.name == "up1")
    groups = PixelGroups((Layout(1, (("up1", channels),)),))
    sources = [Source("twin:ddpm-bedroom")]
    made = PixelEnsemble(groups, CLASSES, members=2, sources=sources, palette=PALETTE, recipes=[recipe])
    made.save(labelled / "head.safetensors")
    return "head.safetensors"


def test_from_a_head_to_a_network_that_tests_and_predicts(command, labelled, head):
    code, out, err = command("distill", head, "--out", "net", "--drop", 0.34, *MADE, *QUICK)
    assert code == 0, err
    assert "2 pictures to learn from" in err
    assert "1 too uncertain: net.run/set" in err
    assert out.endswith("written: net\n")
    assert SegmentationNetwork.open(labelled / "net").classes == CLASSES

    code, out, err = command("test", "net", "labelled", "--json", "scores.json")
    assert code == 0, err
    scores = json.loads((labelled / "scores.json").read_text())
    assert {row["method"] for row in scores["rows"]} == {"one network"}
    assert set(scores["iou"]) == set(CLASSES)

    code, out, err = command("predict", "labelled/images", "--head", "net", "--out", "done")
    assert code == 0, err
    assert np.array(Image.open(labelled / "done/masks/photo 0.png")).shape == (32, 32)
    code, out, err = command("predict", "labelled/images", "--head", "net", "--out", "done")
    assert "0 segmented into done, 3 were there already" in err

    code, out, err = command("distill", head, "--out", "of-photos", "--images", "labelled/images", *QUICK)
    assert code == 0, err
    assert "3 pictures to learn from" in err


def test_bad_input_is_one_line_and_nothing_is_written(command, labelled, head):
    (labelled / "photos").mkdir()
    (labelled / "photos/mine.txt").write_text("mine")
    start = ("distill", head, "--out")
    says = {
        (*start, "photos"): "photos: holds something else than a network; give the name of a new folder",
        (*start, "new", "--network", "b9"): "b9: no such architecture or folder",
        (*start, "new", "--size", 40): "side=40: give a multiple of 32 pixels",
        (*start, "new", "--images", "labelled", "--prompt", "a horse"): "leave out what is for generated pictures",
        (*start, "new", "--images", "nowhere"): "nowhere: no such file or folder",
        (*start, "new", "--generator", "twin:dino-s16"): "not with the vit family; generate them elsewhere",
        ("distill", "a.toml", "--out", "new"): "a.toml: not a whole file of a saved 'pixels'",
    }
    for arguments, expected in says.items():
        code, _, err = command(*arguments)
        assert code == 2, (arguments, err)
        assert expected in err, (arguments, err)
        assert "Traceback" not in err
    assert not list(labelled.glob("new*"))
    assert (labelled / "photos/mine.txt").read_text() == "mine"


def test_a_network_reads_by_itself_and_other_classes_are_refused(command, labelled):
    network = SegmentationNetwork(segformer.new_network(TINY, ("ground", "square")).eval(), 32)
    network.save(labelled / "net")
    code, _, err = command("predict", "labelled/images", "--head", "net", "-m", "mini")
    assert (code, "net: a network reads photos by itself; leave --model out" in err) == (2, True)
    code, _, err = command("test", "net", "labelled")
    assert (code, "(ground, disc) and the network knows 2 classes (ground, square)" in err) == (2, True)
    code, _, err = command("label-next", "labelled/images", "--head", "net")
    assert (code, "net: a network, not a head; give the file that `segment fit` wrote" in err) == (2, True)
