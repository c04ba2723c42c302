"""A head's folder that cannot be written is refused before anything is read."""

from __future__ import annotations

import sys

import pytest

from shiftless.cli import main


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "recipe.toml").write_text('taps = ["up0"]\n')
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr("shiftless.backbones.registry.load", lambda *_, **__: pytest.fail("a model was loaded"))
    arguments = ["correspond", "fit", "-r", tmp_path / "recipe.toml", "-o", tmp_path / "file" / "head"]
    monkeypatch.setattr(sys, "argv", ["shiftless", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "model.safetensors: cannot be written" in capsys.readouterr().err
