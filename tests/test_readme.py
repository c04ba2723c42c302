"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from miniworld.world.picture import draw

ROOT = Path(__file__).parents[1]


def test_its_python_runs_in_order(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for name, seed in (("a", 3), ("b", 4)):
        picture = Image.fromarray(draw(seed, kind="horse").image)
        picture.resize((200, 160)).save(tmp_path / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks:
        exec(code, names)
    out = capsys.readouterr().out
    assert "up0" in out
    assert "a photo of a " in out  # the caption
    (x, y), *_ = np.asarray(names["found"])
    assert 0 <= x <= 200
    assert 0 <= y <= 160


@pytest.mark.parametrize(
    ("example", "says"),
    [("ten_lines.py", "Matches"), ("gate.py", "found in b at"), ("audit.py", "keeps the content best")],
)
def test_the_examples(capsys, monkeypatch, example, says):
    monkeypatch.setattr("sys.argv", [example])
    exec((ROOT / "examples" / example).read_text(encoding="utf-8"), {"__name__": "example"})
    assert says in capsys.readouterr().out


def test_every_command_it_names_exists():
    from typer.main import get_command

    from shiftless.cli import app, load_commands

    load_commands()
    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", text, re.DOTALL))
    named = set(re.findall(r"^shiftless (\w[\w-]*)", blocks, re.MULTILINE))
    assert len(named) >= 6
    assert named <= set(commands)
