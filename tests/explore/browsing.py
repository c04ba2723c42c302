"""A headless Chromium that opens a running explorer, what a person would do with it, and the photos that it shows."""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import shiftless
from shiftless.image import open_photo
from shiftless.recipe import Recipe

BLUE, YELLOW = (20, 40, 180), (210, 200, 30)
SIZE, EDGE = (160, 120), 100  # pixels of a photo; where its colour changes
MOVED = 40  # pixels by which a photo of the store is moved to the left
RECIPE = Recipe(timestep=20, taps=("up1",), prompt="a photo of a horse", size=128)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WHOLE_TIME = 60_000  # milliseconds that a page may take for anything


def coloured(seed: int, flip: bool, edge: int = EDGE) -> np.ndarray:
    """A photo that is blue to the left of an edge and yellow to the right of it, or the other way round: H W 3."""
    noise = np.random.default_rng(seed).integers(0, 20, (SIZE[1], SIZE[0], 3))
    left = (np.arange(SIZE[0]) < edge)[None, :, None] != flip
    return (np.where(left, BLUE, YELLOW) + noise).astype(np.uint8)


def stored(model: Any, folder: Path) -> str:
    """Write a store of a.png, of its copy that is moved to the left, and of two photos of one colour: its path."""
    pytest.importorskip("zarr", reason='needs the extra "store", which `make venv` installs')
    from shiftless.store.writer import StoreWriter

    photo = coloured(0, False)
    pictures = {
        "a": photo,
        "moved": np.concatenate([photo[:, MOVED:], photo[:, -MOVED:]], 1),
        "blue": coloured(3, False, edge=SIZE[0]),
        "yellow": coloured(4, True, edge=SIZE[0]),
    }
    with StoreWriter(folder / "feats.zarr", model, [RECIPE]) as writer:
        for name, pixels in pictures.items():
            Image.fromarray(pixels).save(folder / f"{name}.png")
            opened = open_photo(folder / f"{name}.png")
            assert writer.claim(opened)
            writer.write(shiftless.extract(model, opened, [RECIPE]))
    return str(folder / "feats.zarr")


def chromium_or_skip() -> str:
    """Return the path of an installed browser; skip the test where there is none, or no Playwright to drive it."""
    pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
    pytest.importorskip("uvicorn", reason='needs the extra "app", which `make venv` installs')
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium: `make browser` as root, or apt-get install chromium")
    return found


@contextmanager
def served(explorer: Any) -> Iterator[str]:
    """Serve an explorer on a free port of this machine for a while: its address."""
    import uvicorn

    from shiftless.explore.app import create_app
    from shiftless.explore.serve import address, bound

    with bound("127.0.0.1", 0) as opened:
        server = uvicorn.Server(uvicorn.Config(create_app(explorer), log_level="error", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield address("127.0.0.1", opened.getsockname()[1])
        server.should_exit = True
        thread.join(timeout=10)


class Visitor:
    """A person at a page of the explorer; `requests` and `complaints` are what the browser logged."""

    def __init__(self, browser: Any, where: str, tab: str = "match", **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 1000}, **context})
        self.context.set_default_timeout(WHOLE_TIME)
        self.page = self.context.new_page()
        self.where = where
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.goto(f"{where}#{tab}")
        self.page.wait_for_selector("body[data-ready=true]")

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def leave(self) -> None:
        """Close the page, and check that it complained of nothing and asked nobody else."""
        self.context.close()
        assert self.complaints == [], self.complaints
        assert len(self.requests) > 5
        assert [one for one in self.requests if not one.startswith((self.where, f"blob:{self.where}", "data:"))] == []

    def at(self, testid: str) -> Any:
        return self.page.get_by_test_id(testid)

    def photo(self, number: int) -> None:
        """Choose a photo in the strip."""
        self.at(f"photo-{number}").get_by_role("button").click()

    def to_screen(self, view: str, x: float, y: float) -> tuple[float, float]:
        """Where a place of the photo that a view shows lies in the window, from how far the view is zoomed."""
        canvas = self.at(f"{view}-canvas")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        scale, left, top = (float(canvas.get_attribute(f"data-{one}")) for one in ("scale", "left", "top"))
        return box["x"] + left + x * scale, box["y"] + top + y * scale

    def shown(self, view: str) -> None:
        """Wait until a view has drawn its photo."""
        self.page.wait_for_selector(f"[data-testid={view}-canvas][data-scale]")

    def until(self, script: str, given: Any = None) -> None:
        """Wait until a JavaScript function of `given` is true; the page's policy refuses Playwright's own wait."""
        end = time.monotonic() + WHOLE_TIME / 1000
        while not self.page.evaluate(script, given):
            assert time.monotonic() < end, f"never true: {script}"
            self.page.wait_for_timeout(20)

    def said(self, words: str) -> None:
        """Wait until the page's status line holds some words."""
        self.until("words => document.getElementById('status').textContent.includes(words)", words)

    def point(self, view: str) -> tuple[float, float]:
        """The point that a view says it shows, in pixels of its photo."""
        figure = self.page.wait_for_selector(f"[data-testid={view}][data-point*=',']")
        x, y = figure.get_attribute("data-point").split(",")
        return float(x), float(y)

    def stroke(self, view: str, *points: tuple[float, float]) -> None:
        """Paint with the mouse, from point to point of the photo."""
        mouse = self.page.mouse
        places = [self.to_screen(view, *point) for point in points]
        mouse.move(*places[0])
        mouse.down()
        for place in places[1:]:
            mouse.move(*place, steps=4)
        mouse.up()

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        for key in keys:
            self.page.keyboard.press(key)

    def tab_to(self, testid: str, back: bool = False) -> list[str]:
        """Press Tab, or Shift+Tab, until an element has the focus: the names of those that had it on the way."""
        passed: list[str] = []
        while not passed or passed[-1] != testid:
            assert len(passed) < 60, f"{testid} is not reached: {passed}"
            self.press("Shift+Tab" if back else "Tab")
            own = "document.activeElement.dataset.testid || document.activeElement.ariaLabel || ''"
            passed.append(self.page.evaluate(own))
        return passed

    def wide(self) -> int:
        """How wide the page is, with what reaches out of the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


def screen(visitor: Visitor, testid: str) -> np.ndarray:
    """What a canvas looks like on the screen: h w 3."""
    return np.array(Image.open(io.BytesIO(visitor.at(f"{testid}-canvas").screenshot())).convert("RGB")).astype(int)


def contrast(first: str, second: str) -> float:
    """The contrast of two colours "rgb(r, g, b)" by WCAG 2.1, 1 to 21."""

    def light(colour: str) -> float:
        parts = [int(one) / 255 for one in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
        return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear))

    low, high = sorted((light(first), light(second)))
    return (high + 0.05) / (low + 0.05)


def png_of(pixels: np.ndarray) -> bytes:
    """Give H W 3 uint8 as the bytes of a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
