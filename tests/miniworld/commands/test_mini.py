"""`shiftless mini`: every stage is there, and gets what the command line says."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from miniworld.commands.mini import STAGES, train


def function_of(stage):
    file, name, _ = STAGES[stage]
    return import_module(f"miniworld.training.{file}"), name


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_a_function_that_takes_every_option(stage):
    parameters = inspect.signature(getattr(*function_of(stage))).parameters
    assert {"out", "minutes", "images", "seed", "resume", STAGES[stage][2]} <= parameters.keys()


def test_a_stage_gets_what_the_command_line_says(monkeypatch, capsys):
    received = {}
    monkeypatch.setattr(*function_of("controlnet"), lambda out, **options: received.update(options, out=out))
    train("controlnet", Path("run"), images=7, seed=3, restart=True, start_from=Path("model"))
    assert received == {
        "out": Path("run"),
        "minutes": None,
        "images": 7,
        "seed": 3,
        "resume": False,
        "model": Path("model"),
    }
    assert "run" in capsys.readouterr().out
