"""The API pages are made from the docstrings, and every public name is on them."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import shiftless

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    pytest.importorskip("pdoc", reason='needs the extra "docs", which `make venv` installs')
    out = tmp_path_factory.mktemp("site")
    completed = subprocess.run([sys.executable, "docs/api.py", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    assert "Warn" not in completed.stderr
    return out


def entries(page: Path) -> dict[str, str]:
    """The names on a page, and the text of each one's docstring."""
    html = page.read_text(encoding="utf-8")
    parts = re.split(r'<section id="([^"]+)">', html)
    return {
        name: re.sub(r"<[^>]+>", "", body.rsplit('class="docstring">', 1)[-1])
        for name, body in zip(parts[1::2], parts[2::2])
    }


def test_every_public_name_is_on_its_page(pages):
    rooms = {name for name in shiftless.__all__ if inspect.ismodule(getattr(shiftless, name))}
    assert rooms == {"amalgamate", "tasks", "training"}
    result = entries(pages / "shiftless.html")
    assert set(shiftless.__all__) - rooms <= set(result)
    for room in rooms:
        assert set(getattr(shiftless, room).__all__) <= set(entries(pages / "shiftless" / f"{room}.html"))
    assert {"Preset", "preset", "default_recipe"} <= set(entries(pages / "shiftless" / "presets.html"))
    assert {"train", "Settings"} <= set(entries(pages / "shiftless" / "training" / "lora.html"))


def test_columns_keep_their_lines(pages):
    text = entries(pages / "shiftless.html")["extract"]
    assert re.search(r"^batch {4}how many noisy latents.*\n *dtype {4}of the maps", text, re.MULTILINE)
