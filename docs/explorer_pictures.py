"""Take the pictures of the explorer in docs/explorer.md: python docs/explorer_pictures.py [FOLDER]

It serves pictures of the embedded model's drawn world, and drives a headless Chromium (`make browser`, and
`pip install playwright`): Match, Look, Audit, Label, and Match on a phone in the dark.
"""

from __future__ import annotations

import io
import sys
import tempfile
import threading
import time
from pathlib import Path
from shutil import which

import numpy as np
import uvicorn
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import shiftless
from miniworld.datasets import SEEDS, photos
from shiftless.explore.app import create_app
from shiftless.explore.explorer import Explorer
from shiftless.explore.serve import bound
from shiftless.presets import Preset
from shiftless.recipe import Recipe

RECIPE = Recipe(timestep=50, taps=("up0", "up1"), prompt="auto")
COLOURS = 96  # of a picture: the pages have few, and PNG of a palette is small


def take(page: Page, path: Path) -> None:
    """Save what the window shows as a PNG with a palette."""
    page.wait_for_timeout(300)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"written: {path} ({path.stat().st_size / 1000:.0f} kB)")


def click(page: Page, view: str, across: float, down: float) -> None:
    """Click a place of a view's canvas, as shares of its sides."""
    canvas = page.get_by_test_id(f"{view}-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])


def stroke(page: Page, across: float, down: float, way: float) -> None:
    """Paint a short line in Label."""
    box = page.get_by_test_id("label-view-canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + across * box["width"], box["y"] + down * box["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + way * box["width"], y, steps=6)
    page.mouse.up()


def shots(page: Page, where: str, out: Path) -> None:
    """Take the four wide pictures."""
    page.goto(f"{where}#match")
    page.wait_for_selector("[data-testid=match-view-canvas][data-scale]")
    click(page, "match-view", 0.5, 0.55)
    page.wait_for_selector("[data-testid=match-1-0][data-point*=',']")
    take(page, out / "explorer-match.png")
    page.get_by_test_id("tab-look").click()
    page.wait_for_selector("[data-testid=look-0][data-ready]")
    take(page, out / "explorer-look.png")
    page.get_by_test_id("tab-audit").click()
    page.get_by_test_id("audit-timestep").fill("300")
    page.get_by_test_id("audit-measure").click()
    page.wait_for_selector("[data-testid=audit-3][data-ready]")
    page.mouse.wheel(0, 200)
    take(page, out / "explorer-audit.png")
    page.get_by_test_id("tab-label").click()
    page.wait_for_selector("[data-testid=label-view-canvas][data-scale]")
    page.get_by_test_id("class-0").get_by_role("radio").check()
    stroke(page, 0.05, 0.08, 0.9)
    stroke(page, 0.05, 0.95, 0.9)
    page.get_by_test_id("class-1").get_by_role("radio").check()
    stroke(page, 0.4, 0.5, 0.15)
    page.get_by_test_id("fit").click()
    page.wait_for_selector("[data-testid=label-view][data-fitted]")
    take(page, out / "explorer-label.png")


def main(out: Path) -> None:
    """Take all five."""
    browser_path = which("chromium") or which("google-chrome")
    if browser_path is None:
        raise SystemExit("no Chromium on the path: make browser")
    with tempfile.TemporaryDirectory() as folder, bound("127.0.0.1", 0) as opened:
        for number, picture in enumerate(photos(SEEDS["shown"].start, 4)):
            Image.fromarray(np.asarray(picture.image)).save(f"{folder}/picture-{number}.png")
        model = shiftless.load("mini")
        explorer = Explorer.of(model, [Path(folder)], [Preset("captions", "", (RECIPE,), "")])
        config = uvicorn.Config(create_app(explorer), log_level="error", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True).start()
        while not server.started:
            time.sleep(0.01)
        where = f"http://127.0.0.1:{opened.getsockname()[1]}/"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            context.set_default_timeout(300_000)
            shots(context.new_page(), where, out)
            phone = browser.new_context(
                viewport={"width": 390, "height": 780}, color_scheme="dark", is_mobile=True, has_touch=True
            )
            phone.set_default_timeout(300_000)
            page = phone.new_page()
            page.goto(f"{where}#match")
            page.wait_for_selector("[data-testid=match-view-canvas][data-scale]")
            click(page, "match-view", 0.5, 0.55)
            page.wait_for_selector("[data-testid=match-1-0][data-point*=',']")
            take(page, out / "explorer-phone.png")
            browser.close()
        server.should_exit = True
        explorer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
