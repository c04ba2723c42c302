"""The documentation site: it builds without a warning, and every public name is on its API page."""

from __future__ import annotations

import html
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import shiftless

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocstrings", reason='needs the extra "docs", which `make venv` installs')
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(out)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    completed = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    assert not completed.stderr.strip(), completed.stderr
    return out


def text_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_every_public_name_is_on_the_api_page(site):
    listed = set(re.findall(r'id="(shiftless[\w.]*)"', (site / "api" / "index.html").read_text(encoding="utf-8")))
    last = {name.rpartition(".")[2] for name in listed}
    rooms = {name for name in shiftless.__all__ if inspect.ismodule(getattr(shiftless, name))}
    assert rooms == {"amalgamate", "tasks", "training"}
    assert set(shiftless.__all__) <= last
    for room in rooms:
        exported = {f"shiftless.{room}.{name}" for name in getattr(shiftless, room).__all__}
        constants = {name for name in exported if name.rpartition(".")[2].isupper()}
        assert exported - constants <= listed
    assert {"shiftless.presets.Preset", "shiftless.training.lora.train"} <= listed


def test_columns_keep_their_lines_and_examples_stay(site):
    text = text_of(site / "api" / "index.html")
    assert re.search(r"^batch {4}how many noisy latents.*\n *dtype {4}of the maps", text, re.MULTILINE)
    examples = re.findall(r"^>>> .*$", inspect.getdoc(shiftless.load) or "", re.MULTILINE)
    assert examples
    assert all(example in text for example in examples)


def test_every_document_is_a_page_and_every_page_is_in_the_navigation(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages == {path.parent.name for path in site.glob("*/index.html")}
    start = (site / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{page}/"' in start for page in pages)


def test_a_page_loads_nothing_from_another_host(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]*rel="(?:stylesheet|preload|preconnect|icon)"[^>]*href="([^"]+)"', text)
        assert not [one for one in loaded if re.match(r"(https?:)?//", one)], page


def test_links_to_files_that_are_no_pages_lead_to_the_repository(site):
    text = (site / "design" / "index.html").read_text(encoding="utf-8")
    assert 'href="https://github.com/shiftless-features/shiftless/blob/main/CONTRIBUTING.md"' in text
