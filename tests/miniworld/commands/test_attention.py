"""shiftless bench mini-attention, as a new user would run it."""

from __future__ import annotations

import json
import sys

import pytest
from PIL import Image

from shiftless.cli import main


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["shiftless", "bench", "mini-attention", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run


def test_it_prints_the_table_writes_it_and_draws(command, tmp_path):
    answer, picture = tmp_path / "out.json", tmp_path / "method.png"
    options = ("-m", "twin:sd15", "--taps", "up2", "--pictures", 1, "--look", "pencil")
    code, out, err = command(*options, "--json", answer, "--out", picture)
    assert code == 0, err
    assert "without LoRA" in out
    written = json.loads(answer.read_text())
    assert written["bench"] == "mini-attention pencil"
    assert "ControlNet" in {row["method"] for row in written["rows"]}
    assert Image.open(picture).width > 600


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--lora", "no/such.safetensors"), "no such"), (("--look", "oil"), "oil"), (("--captioner", "blop"), "blop")],
)
def test_what_is_named_and_not_there_is_one_line_and_exit_code_2(command, options, message):
    code, out, err = command("-m", "twin:sd15", "--pictures", 1, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
