"""The page in a real browser: clicks, strokes, keys, screens. Skipped where no Chromium is installed."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from shiftless.explore.clicks import best_match
from shiftless.taps.attention import word_columns
from tests.explore.browsing import BLUE, EDGE, MOVED, RECIPE, SIZE, YELLOW, coloured, contrast, png_of, screen

TABS = ("match", "look", "audit", "search", "label")


@pytest.mark.parametrize("density", [1, 2])
def test_a_click_is_on_its_very_pixel_at_any_zoom(visit, explored, density):
    visitor = visit(device_scale_factor=density)
    visitor.shown("match-view")
    visitor.shown("match-1-0")
    for zooms, (x, y) in ((0, (10.5, 100.5)), (2, (90.5, 70.5)), (1, (81.5, 62.5))):
        for _ in range(zooms):
            visitor.at("match-view").get_by_role("button", name="Zoom in").click()
        visitor.page.mouse.click(*visitor.to_screen("match-view", x, y))
        scale = float(visitor.at("match-view-canvas").get_attribute("data-scale"))
        visitor.until(
            "([x, y, near]) => { const [a, b] = document.querySelector('[data-testid=match-view]').dataset.point"
            ".split(','); return Math.hypot(a - x, b - y) < near }",
            [x, y, 0.75 / scale],
        )
    visitor.said("matches in")
    clicked = visitor.point("match-view")
    assert np.floor(clicked).tolist() == [81, 62]
    visitor.page.wait_for_load_state("networkidle")
    first, second = (explored.readings.held(photo, (RECIPE,)) for photo in (0, 1))
    expected, score, _ = best_match(first, second, clicked)
    assert visitor.point("match-1-0") == pytest.approx(expected, abs=0.001)
    assert f"cosine {score:.3f}" in visitor.at("match-1-0-text").inner_text()


def test_what_a_click_matched_is_still_to_be_read_once_photos_are_read_ahead(visit):
    visitor, held = visit(), []
    visitor.shown("match-1-0")
    visitor.page.route("**/api/read", lambda route: held.append(route))
    working = {"jobs": [{"lane": "read", "done": 1, "total": 3, "doing": "reading"}]}
    visitor.page.route("**/api/progress", lambda route: route.fulfill(json=working))
    visitor.photo(1)
    visitor.said("reading 1 of 3")
    visitor.page.mouse.click(*visitor.to_screen("match-view", 30, 60))
    assert visitor.point("match-2-0")
    visitor.said("reading 1 of 3")
    held[0].continue_()
    visitor.said("matches in")
    visitor.page.unroute_all()


def test_the_screen_shows_the_photo_and_where_the_point_lies_in_others(visit):
    visitor = visit()
    visitor.shown("match-view")
    visitor.shown("match-2-0")
    pixels = screen(visitor, "match-view")
    h, w = pixels.shape[:2]
    for x, colour in ((30, BLUE), (130, YELLOW)):
        np.testing.assert_allclose(pixels[h // 2, x * w // SIZE[0]], np.array(colour) + 10, atol=14)
    before = screen(visitor, "match-2-0")
    visitor.page.mouse.click(*visitor.to_screen("match-view", 140, 60))
    visitor.point("match-2-0")
    visitor.page.wait_for_timeout(50)
    after = screen(visitor, "match-2-0")
    split = EDGE * after.shape[1] // SIZE[0]
    brightness = after.sum(2)
    changed = np.abs(after - before).sum(2)
    assert (changed > 20).mean() > 0.5  # a heat map lies over the photo
    assert brightness[:, split + 20 :].mean() > 2 * brightness[:, : split - 20].mean()  # and glows where it is yellow
    ring = screen(visitor, "match-view")[h // 2, 140 * w // SIZE[0] - 10 : 140 * w // SIZE[0] + 11]
    assert (np.abs(ring - (255, 196, 0)).sum(1) < 40).any()  # the ring about the point


def test_painted_strokes_become_an_exported_mask_that_is_right(visit):
    visitor = visit("label")
    visitor.shown("label-view")
    for photo, sides in ((0, (0, 1)), (1, (1, 0))):
        visitor.photo(photo)
        visitor.until(
            "name => document.querySelector('[data-testid=label-view] .name').textContent === name",
            "ab"[photo] + ".png",
        )
        for side, column in zip(sides, (30 if photo == 0 else 80, 130)):
            visitor.at(f"class-{side}").get_by_role("radio").check()
            visitor.stroke("label-view", (column, 20), (column, 100))
    assert visitor.at("label-view").get_attribute("data-strokes") == "4"
    visitor.stroke("label-view", (60, 60), (140, 60))
    visitor.at("undo").click()
    assert visitor.at("label-view").get_attribute("data-strokes") == "4"
    visitor.at("fit").click()
    visitor.page.wait_for_selector("[data-testid=label-view][data-fitted='3']")
    assert "Paint next on: c.png" in visitor.at("label-answer").inner_text()
    with visitor.page.expect_download() as download:
        visitor.at("export").click()
    content = download.value.path().read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        mask = np.array(Image.open(io.BytesIO(file.read("masks/c.png"))))
        painted = np.array(Image.open(io.BytesIO(file.read("labels/a.png"))))
    truth = np.broadcast_to(np.arange(SIZE[0]) >= EDGE, SIZE[::-1])
    assert ((mask == 1) & truth).sum() / ((mask == 1) | truth).sum() > 0.9
    radius = 1.28  # 8 thousandths of 160 pixels
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    for label, x in ((0, 30), (1, 130)):
        near = np.hypot(columns - x, rows - rows.clip(20, 100)) <= radius
        assert ((painted == label) & near).sum() / ((painted == label) | near).sum() > 0.85

    other = visit("label")
    other.shown("label-view")
    other.at("import").set_input_files({"name": "masks.zip", "mimeType": "application/zip", "buffer": content})
    other.said("2 masks imported")
    assert "imported" in other.at("photo-0").inner_text()
    pixel = screen(other, "label-view")
    at = pixel[pixel.shape[0] // 2, 130 * pixel.shape[1] // SIZE[0]]
    assert np.abs(at - np.array(YELLOW) - 10).sum() > 60  # the stroke's colour lies there


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_s_screen_holds_the_page_in_light_and_dark(visit, scheme):
    visitor = visit(
        viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True, is_mobile=True,
        color_scheme=scheme,
    )  # fmt: skip
    visitor.shown("match-view")
    visitor.page.touchscreen.tap(*visitor.to_screen("match-view", 30, 60))
    assert visitor.point("match-view") == pytest.approx((30, 60), abs=1)
    paper = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (contrast(paper, "rgb(0, 0, 0)") > 10) == (scheme == "light")
    for tab in TABS:
        visitor.at(f"tab-{tab}").tap()
        visitor.at(f"panel-{tab}").wait_for()
        assert visitor.wide() <= 390, tab
        texts = visitor.page.evaluate(
            """() => [...document.querySelectorAll("h1,h1 span,label,legend,.hint,button,figcaption span,p,output")]
              .filter((e) => e.offsetParent && e.textContent.trim() && !e.disabled).map((e) => {
                let under = e, paper = "rgba(0, 0, 0, 0)";
                for (; under && paper === "rgba(0, 0, 0, 0)"; under = under.parentElement)
                  paper = getComputedStyle(under).backgroundColor;
                return [e.textContent.trim().slice(0, 30), getComputedStyle(e).color, paper];
              })"""
        )
        assert len(texts) > 8
        assert {text: (ink, under) for text, ink, under in texts if contrast(ink, under) < 4.5} == {}


def test_look_draws_the_features_of_each_photo_in_shared_colours(visit):
    visitor = visit("look")
    visitor.page.wait_for_selector("[data-testid=look-1][data-ready=up1]")
    visitor.page.wait_for_timeout(50)
    first, second = screen(visitor, "look-0"), screen(visitor, "look-1")
    third = first.shape[1] // 4
    here, there = first[:, :third].mean((0, 1)), second[:, -third:].mean((0, 1))  # both are blue in the photos
    assert np.abs(here - there).sum() < np.abs(here - first[:, -third:].mean((0, 1))).sum()


def test_look_lists_the_words_of_the_prompt_and_shows_where_one_is_attended_to(visit, explored):
    visitor = visit("look")
    tap = "up1.attn1.block0.cross.map"  # whose map of "horse" differs from place to place where the photo is dark
    assert not visitor.at("look-words").is_visible()  # before a tap of the prompt's words is chosen
    visitor.at("look-tap").select_option(tap)
    visitor.page.wait_for_selector(f"[data-testid=look-0][data-ready='{tap}']")
    words = visitor.at("look-words").get_by_role("button")
    words.nth(3).wait_for()
    assert words.all_inner_texts() == ["a", "photo", "of", "horse"]
    colours = screen(visitor, "look-0")
    words.nth(3).click()
    visitor.page.wait_for_selector("[data-testid=look-0][data-shows=horse]")
    assert [one.get_attribute("aria-pressed") for one in words.all()] == ["false", "false", "false", "true"]
    shown = screen(visitor, "look-0")
    assert (np.abs(shown - colours).sum(2) > 20).mean() > 0.5

    maps = explored.readings.held(0, (RECIPE.but(taps=(tap,)),)).bucket[0]
    heat = maps[tap][0, word_columns(maps.words, "horse")].mean(0).numpy()
    h, w = heat.shape
    brightness = np.asarray(Image.fromarray(shown.sum(2).astype(np.float32)).resize((w, h), Image.Resampling.BOX))
    split = EDGE * w // SIZE[0]
    # where the photo is dark, a place is the brighter the more attention it gets; without any, its own noise is seen
    dark, clear = brightness[:, :split], heat[:, :split] > heat.min() + 0.1 * np.ptp(heat)
    assert clear.sum() > 10
    assert spearmanr(dark[clear], heat[:, :split][clear]).statistic > 0.95
    assert dark[clear].mean() > dark[~clear].mean() + 20

    words.nth(3).click()  # lets it go
    visitor.page.wait_for_selector("[data-testid=look-0][data-shows=colours]")
    np.testing.assert_allclose(screen(visitor, "look-0"), colours, atol=3)
    visitor.at("look-segments").select_option("cuts")
    visitor.page.wait_for_selector("[data-testid=look-0][data-shows=cuts]")


def test_search_finds_a_clicked_part_and_a_dragged_box_in_the_moved_copy_of_the_photo(visit):
    visitor = visit("search")
    visitor.shown("search-view")
    assert visitor.at("search-store").inner_text() == "4 photos of feats.zarr"
    visitor.page.mouse.click(*visitor.to_screen("search-view", EDGE, 60))
    visitor.shown("hit-0")
    assert visitor.at("search-hits").locator("figure").count() == 3  # the photo itself is left out
    assert "moved.png" in visitor.at("hit-0").inner_text()
    x, y = visitor.point("hit-0")
    assert x == pytest.approx(EDGE - MOVED, abs=10)  # a cell of the map
    pixels = screen(visitor, "hit-0")
    scale = pixels.shape[1] / SIZE[0]
    for column, colour in ((30, BLUE), (80, YELLOW), (140, YELLOW)):  # the one at 80 is blue in a.png
        np.testing.assert_allclose(pixels[int(10 * scale), int(column * scale)], np.array(colour) + 10, atol=14)
    about = [slice(max(0, int(at * scale) - 10), int(at * scale) + 11) for at in (y, x)]
    assert (pixels[about[0], about[1]].min(2) > 235).any()  # the ring about the hit

    visitor.at("search-box").check()
    with visitor.page.expect_response("**/api/search") as asked:
        visitor.stroke("search-view", (80, 20), (120, 100))
    assert asked.value.request.post_data_json["region"] == pytest.approx([80, 20, 120, 100], abs=0.5)
    hits = asked.value.json()["hits"]
    assert hits[0]["photo"] == "moved.png"
    for number, hit in enumerate(hits):
        visitor.until(
            "([one, point]) => document.querySelector(`[data-testid=hit-${one}]`)?.dataset.point === point.join(',')",
            [number, hit["point"]],
        )
        assert f"cosine {hit['score']:.3f}" in visitor.at(f"hit-{number}").inner_text()
    pixels = screen(visitor, "search-view")
    scale = pixels.shape[1] / SIZE[0]
    side = pixels[int(60 * scale), int(80 * scale) - 5 : int(80 * scale) + 6]
    assert (np.abs(side - (255, 196, 0)).sum(1) < 40).any()  # the left side of the box

    visitor.page.wait_for_load_state("networkidle")


def test_audit_lists_techniques_with_intervals_and_wipes_between_photo_and_prediction(visit, monkeypatch):
    monkeypatch.setattr("shiftless.explore.shifts.MOST", 2)  # of the techniques at hand; the others take as long
    visitor = visit("audit")
    for photo in (1, 2):
        visitor.at(f"photo-{photo}").get_by_role("checkbox").uncheck()
    visitor.at("audit-timestep").fill("400")
    visitor.at("audit-measure").click()
    visitor.page.wait_for_selector("[data-testid=audit-0][data-ready^=predicted]")
    rows = visitor.at("audit-rows").get_by_role("row")
    texts = rows.all_inner_texts()
    assert len(texts) >= 2
    assert sum("the bare reading" in text for text in texts) == 1
    assert sum("% to" in text for text in texts) == len(texts) - 1
    assert "a.png" in visitor.at("audit-0").inner_text()
    shown = {}
    for at in (0, 50, 100):
        visitor.at("audit-wipe").fill(str(at))
        shown[at] = screen(visitor, "audit-0")
    half = shown[0].shape[1] // 2
    apart = np.abs(shown[100] - shown[0]).sum(2)
    assert (apart > 6).mean() > 0.2  # what is predicted is not the photo
    np.testing.assert_array_equal(shown[50][:, : half - 4], shown[100][:, : half - 4])
    np.testing.assert_array_equal(shown[50][:, half + 4 :], shown[0][:, half + 4 :])
    visitor.at("audit-where").check()
    visitor.page.wait_for_selector("[data-testid=audit-0][data-ready^=where]")
    rows.nth(len(texts) - 1).get_by_role("radio").check()
    last = rows.nth(len(texts) - 1).get_attribute("data-testid").removeprefix("audit-row-")
    visitor.page.wait_for_selector(f"[data-testid=audit-0][data-ready='where {last}']")
    assert np.abs(screen(visitor, "audit-0") - shown[100]).mean() > 5


def test_nothing_in_the_tools_of_label_reaches_out_of_its_box(visit):
    visitor = visit("label")
    visitor.shown("label-view")
    out = visitor.page.evaluate(
        """() => [...document.querySelectorAll(".side fieldset")].flatMap((box) => [
            ...box.querySelectorAll("button,input,li")]
          .filter((one) => one.getBoundingClientRect().right > box.getBoundingClientRect().right)
          .map((one) => one.outerHTML.slice(0, 60)))"""
    )
    assert out == []


def test_what_cannot_be_done_is_said_on_the_page(visit):
    visitor = visit("label")
    visitor.shown("label-view")
    files = (("no.png", b"no picture"), ("a.png", png_of(coloured(0, False))))  # the second one is here already
    visitor.at("add-photos").set_input_files(
        [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files]
    )
    visitor.page.wait_for_selector("#error:not([hidden])")
    visitor.page.wait_for_load_state("networkidle")
    assert visitor.at("error").inner_text().startswith("no.png: not a picture that can be read")
    visitor.complaints.clear()  # the browser logs a refused request by itself
