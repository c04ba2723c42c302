"""The demo from beginning to end on a twin: every picture is there, nothing from elsewhere, bad input is named."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from miniworld.demo import run
from shiftless.backbones.registry import load
from shiftless.errors import BadInput


@pytest.fixture(scope="module")
def twin():
    return load("twin:sd15", dtype="fp32", size=64)


@pytest.fixture(scope="module")
def drawn(twin, tmp_path_factory):
    out, screen = tmp_path_factory.mktemp("demo") / "new" / "folder", io.StringIO()
    page = run(out, model=twin, quick=True, console=Console(file=screen, width=100))
    return page, page.read_text(encoding="utf-8"), screen.getvalue()


@pytest.fixture(scope="module")
def yours(twin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("yours")
    rng = np.random.default_rng(0)
    names = ["<b>a&b.png", "wide.png"]
    for name, size in zip(names, [(90, 70, 3), (60, 140, 3)]):
        Image.fromarray(rng.integers(0, 255, size, np.uint8)).save(folder / name)
    prompt = "a <script>alert(1)</script> & a horse"
    page = run(folder / "out", [str(folder / name) for name in names], model=twin, prompt=prompt, quick=True,
               console=Console(file=io.StringIO()))  # fmt: skip
    return page, page.read_text(encoding="utf-8")


def files_of(html: str) -> set[str]:
    return set(re.findall(r'(?:src|srcset|href)="([^#"][^"]*)"', html))


@pytest.mark.parametrize("story", ["drawn", "yours"])
def test_the_page_holds_every_file_it_refers_to_and_no_other(story, request):
    page, html = request.getfixturevalue(story)[:2]
    there = {path.name for path in page.parent.iterdir()}
    assert files_of(html) == there - {"index.html", "table.json", "attention.json", "audit.json", "photos"}
    assert {"content-shift.png", "features.png", "matches.png"} <= there
    assert not re.search(r"https?:|url\(|<script|@import", html)
    assert all(f'href="#c{i}"' in html and f'id="c{i}"' in html for i in range(1, 7))


def test_every_picture_has_a_dark_twin_of_its_size_and_its_true_size_in_the_page(drawn):
    page, html, _ = drawn
    shown = re.findall(r'<img src="([^"]+)" width="(\d+)" height="(\d+)"', html)
    assert len(shown) == 9
    for file, wide, high in shown:
        light, dark = (Image.open(page.parent / name) for name in (file, file.replace(".png", "-dark.png")))
        assert light.size == dark.size == (int(wide), int(high))
        assert min(light.getpixel((0, light.height // 2))) > 60 or "matches" in file
        assert light.tobytes() != dark.tobytes()


def test_the_numbers_on_the_page_are_the_table_s(drawn):
    page, html, _ = drawn
    table = json.loads((page.parent / "table.json").read_text())
    rows = [row for row in table["rows"] if row["metric"] in ("PCK@0.1 bbox", "PCK@0.1 img")]
    assert len(rows) == 6
    for row in rows:
        assert f"<td>{row['value']:.2f}</td><td class='ends'>{row['ci95'][0]:.2f} to {row['ci95'][1]:.2f}</td>" in html


def test_the_terminal_says_how_far_it_is_and_what_to_look_at(drawn):
    page, _, screen = drawn
    assert all(f"{i}/8" in screen for i in range(1, 9))
    assert screen.count("look at:") == 8
    assert str(page) in screen.replace("\n", "")


def test_the_audit_is_told_and_the_pictures_are_there_to_try_it_on(drawn):
    page, html, _ = drawn
    written = json.loads((page.parent / "audit.json").read_text())
    assert all(recipe["label"] in html for recipe in written["recipes"])
    assert len(list((page.parent / "photos").glob("*.png"))) == 6
    assert f"to try it: {page.parent / 'photos'}." in html
    assert re.search(r"\d+ of \d+ points are right \(\w+\)", html)  # "of a elephant" is no English


def test_photos_of_yours_are_shown_without_a_truth_and_their_names_do_no_harm(yours):
    _, html = yours
    assert "PCK@0.1). A ring" not in html
    assert "points are right" not in html
    assert "How often is it right?" not in html
    assert "says nothing about how well your photos are matched" in html
    assert "Steering" not in html
    assert "&lt;script&gt;" in html
    assert "<b>a" not in html


@pytest.mark.parametrize("photos", [["a.png"], ["a.png", "b.png", "c.png"], ["missing.png", "missing.png"]])
def test_one_photo_three_photos_and_missing_ones_are_refused_before_anything_is_made(photos, tmp_path):
    with pytest.raises(BadInput, match=r"two photos|no such file"):
        run(tmp_path / "out", photos, model="no such model either")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path, twin):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be made"):
        run(tmp_path / "file" / "out", model=twin, quick=True, console=Console(file=io.StringIO()))
