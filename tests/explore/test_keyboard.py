"""The page by keyboard alone, in a real browser: no mouse, and no focus but what keys give."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.explore.browsing import EDGE, MOVED, SIZE


def on_canvas(visitor, view: str, x: float, y: float) -> bool:
    """Whether a place of the photo that a view shows lies on its canvas, as it is zoomed and moved."""
    canvas = visitor.at(f"{view}-canvas")
    scale, left, top = (float(canvas.get_attribute(f"data-{one}")) for one in ("scale", "left", "top"))
    box = canvas.bounding_box()
    return 0 <= left + x * scale <= box["width"] and 0 <= top + y * scale <= box["height"]


def test_a_point_is_moved_with_the_arrows_and_stays_on_the_screen_when_zoomed(visit):
    visitor = visit()
    visitor.shown("match-view")
    passed = visitor.tab_to("match-view-canvas")
    assert passed[0] == "tab-match"
    assert {"Choose b.png", "Show b.png", "add-photos", "match-heat"} <= set(passed)
    outline = visitor.page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(outline[:-2]) >= 2
    visitor.press("ArrowRight", "Shift+ArrowDown")
    assert visitor.point("match-view") == (80, 70)
    assert visitor.point("match-1-0")
    visitor.press("+", "+", "+", *["Shift+ArrowRight"] * 7)
    assert visitor.point("match-view") == (150, 70)
    assert on_canvas(visitor, "match-view", 150, 70)
    assert not on_canvas(visitor, "match-view", 80, 70)
    visitor.press("0")
    assert on_canvas(visitor, "match-view", 80, 70)


def test_strokes_become_an_exported_mask(visit):
    visitor = visit()
    visitor.shown("match-view")
    visitor.tab_to("tab-match")
    visitor.press("ArrowLeft")  # from the first tab to the last one
    assert visitor.at("tab-label").get_attribute("aria-selected") == "true"
    visitor.shown("label-view")
    visitor.tab_to("label-view-canvas")
    visitor.press("1", *["Shift+ArrowLeft"] * 5, "Space", *["Shift+ArrowDown"] * 3, "Space")  # begins in the middle
    visitor.press("2", "]", *["Shift+ArrowRight"] * 10, "Space", *["Shift+ArrowUp"] * 5, "Space")
    assert visitor.at("label-view").get_attribute("data-strokes") == "2"
    assert visitor.at("class-1").get_by_role("radio").is_checked()
    visitor.press("Control+z")
    assert visitor.at("label-view").get_attribute("data-strokes") == "1"
    visitor.press("Control+Shift+Z")
    assert visitor.at("label-view").get_attribute("data-strokes") == "2"
    visitor.tab_to("fit")
    visitor.press("Enter")
    visitor.page.wait_for_selector("[data-testid=label-view][data-fitted='3']")
    visitor.tab_to("export")
    with visitor.page.expect_download() as download:
        visitor.press("Enter")
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as file:
        mask = np.array(Image.open(io.BytesIO(file.read("masks/c.png"))))
        painted = np.array(Image.open(io.BytesIO(file.read("labels/a.png"))))
    truth = np.broadcast_to(np.arange(SIZE[0]) >= EDGE, SIZE[::-1])
    assert ((mask == 1) & truth).sum() / ((mask == 1) | truth).sum() > 0.9
    assert [painted[75, 30], painted[75, 130], painted[75, 80]] == [0, 1, 255]


def test_a_box_is_drawn_and_searched(visit):
    visitor = visit("search")
    visitor.shown("search-view")
    visitor.tab_to("search-view-canvas")
    with visitor.page.expect_response("**/api/search") as asked:
        visitor.press("ArrowRight")
    assert asked.value.request.post_data_json["point"] == [SIZE[0] / 2, SIZE[1] / 2]  # where it begins
    visitor.shown("hit-0")
    visitor.page.wait_for_load_state("networkidle")
    visitor.tab_to("search-box", back=True)
    visitor.press("Space")
    visitor.tab_to("search-view-canvas")
    visitor.press("Space", *["Shift+ArrowRight"] * 4, *["Shift+ArrowDown"] * 4)
    with visitor.page.expect_response("**/api/search") as asked:
        visitor.press("Space")
    assert asked.value.request.post_data_json["region"] == [80, 60, 120, 100]
    assert asked.value.json()["hits"][0]["photo"] == "moved.png"
    visitor.until("() => document.querySelector('[data-testid=hit-0] .name').textContent === 'moved.png'")
    assert visitor.point("hit-0")[0] == pytest.approx(EDGE - MOVED, abs=20)  # two cells of the map; rows are alike
    visitor.page.wait_for_load_state("networkidle")
