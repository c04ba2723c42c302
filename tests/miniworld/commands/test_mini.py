"""`shiftless mini`: every stage is there, and gets what the command line says."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from miniworld.commands.mini import STAGES, draw, train
from miniworld.datasets import WORLDS, drawer
from miniworld.tables.labelled_pictures import SETS, mask_of
from shiftless.data.labelled import read_labelled
from shiftless.errors import BadInput


def function_of(stage):
    file, name, _ = STAGES[stage]
    return import_module(f"miniworld.training.{file}"), name


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_a_function_that_takes_every_option(stage):
    parameters = inspect.signature(getattr(*function_of(stage))).parameters
    assert {"stage", STAGES[stage][2]} <= parameters.keys()


def test_a_stage_gets_what_the_command_line_says(monkeypatch, capsys):
    received = {}
    monkeypatch.setattr(*function_of("controlnet"), lambda stage, **options: received.update(options, **vars(stage)))
    train("controlnet", Path("run"), images=7, seed=3, device="cpu", restart=True, start_from=Path("model"))
    expected = {"out": Path("run"), "seed": 3, "resume": False, "device": torch.device("cpu"), "model": Path("model")}
    assert expected.items() <= received.items()
    assert (received["budget"].minutes, received["budget"].images) == (None, 7)
    assert "run" in capsys.readouterr().out


@pytest.mark.parametrize("world", WORLDS)
def test_each_world_is_drawn_by_its_name(world, tmp_path, capsys):
    draw(tmp_path / "sheet.png", n=2, columns=2, world=world, folder=tmp_path / "each")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (258, 128)
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == ["0.png", "1.png"]
    assert "a photo of " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("world", "kind", "name"),
    [("creatures", "horse", "parts"), ("creatures", None, "scenes"), ("creatures", "bus", "scenes"),
     ("bedrooms", None, "rooms"), ("streets", None, "streets")],
)  # fmt: skip
def test_pictures_are_written_with_the_class_of_every_pixel(world, kind, name, tmp_path):
    draw(tmp_path / "sheet.png", n=2, seed=5, world=world, kind=kind, labelled=tmp_path / "labelled")
    written = read_labelled(tmp_path / "labelled")
    classes, unscored = SETS[name]
    assert (written.classes, written.unscored, [one.name for one in written]) == (classes, unscored, ["5", "6"])
    pictures = [drawer(world)(seed, **({"kind": kind} if kind else {})) for seed in (5, 6)]
    for one, picture in zip(written, pictures):
        np.testing.assert_array_equal(one.mask(), mask_of(picture, name))
        np.testing.assert_array_equal(np.asarray(Image.open(one.photo)), picture.image)
    assert len(np.unique(written[0].mask())) > 3


def test_an_unknown_world_is_refused_and_a_kind_is_one_of_creatures(tmp_path):
    with pytest.raises(BadInput, match="world 'sea' is unknown: use one of creatures, "):
        draw(tmp_path / "sheet.png", world="sea")
    with pytest.raises(BadInput, match="only --world creatures can be drawn by kind"):
        draw(tmp_path / "sheet.png", world="bedrooms", kind="horse")
    for flag in ("lively", "marked"):
        with pytest.raises(BadInput, match=f"--{flag}: only --world creatures can be drawn so"):
            draw(tmp_path / "sheet.png", world="streets", **{flag: True})
