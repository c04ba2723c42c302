"""`shiftless mini`: every stage is there, and gets what the command line says."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import torch

from miniworld.commands.mini import STAGES, train


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
